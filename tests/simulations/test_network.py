"""How long things take from one node to another."""

from __future__ import annotations

from banyan.simulations.network import Conditions, Network


def test_different_regions_lie_apart_by_so_much_and_one_region_does_not() -> None:
    network = Network(Conditions(latency=(10, 20), apart=100), seed=1)
    for node, region in (("a", "/x"), ("b", "/x"), ("c", "/y")):
        network.settle(node, region)
    near = [network.travel("a", "b") for _ in range(200)]
    far = [network.travel("a", "c") for _ in range(200)]
    assert (min(near), max(near)) == (10, 20)
    assert (min(far), max(far)) == (110, 120)
    assert (network.least(apart=False), network.least(apart=True)) == (10, 110)
