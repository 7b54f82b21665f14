"""Mishaps happen when and to whom they should, and the network gets over them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from banyan.protocol.events import UpdatePublished
from banyan.security.credential import root_credential
from banyan.simulations.run import Run, run_scenario
from banyan.simulations.scenario import Scenario, parse
from banyan.simulations.world import World, fast_preset


def scenario(*faults: dict[str, Any], **changes: Any) -> Scenario:
    whole = {
        "name": "mishaps",
        "about": "Six devices to which something happens",
        "tree": {"/": 6},
        "rounds": 6,
        "limit": 600,
        "policies": {"round": {"rule": "geometric-median", "f": 1, "min_updates": 3}},
        "faults": list(faults),
    }
    return parse(whole | changes, "mishaps")


def told(run: Run) -> list[str]:
    return [what for _, what in run.faults]


def test_a_cut_heals_and_both_sides_agree_again() -> None:
    record = run_scenario(scenario({"kind": "partition", "at": [4, 5], "lasts": [8, 9], "share": 0.5}), 1)
    assert [what.split(":")[0] for _, what in record.faults] == ["cut", "healed"]
    assert record.finished and not record.violations


def test_a_branch_can_be_cut_off() -> None:
    run = Run(
        scenario(
            {"kind": "partition", "at": [1, 1], "lasts": [50, 50], "branch": "/en"}, tree={"/": 4, "/en": 3}
        ),
        1,
    )
    run.world.start()
    run.world.run(limit=2_000)
    inside = [d.name for d in run.world.devices.values() if d.settings.branch == "/en"]
    outside = [d.name for d in run.world.devices.values() if d.settings.branch == "/"]
    assert run.world.network.reaches(*inside[:2])
    assert not run.world.network.reaches(inside[0], outside[0])


def test_who_crashes_comes_back_with_its_disk_or_without() -> None:
    crashes = {"kind": "crashes", "count": 2, "between": [3, 8], "down": [1, 2]}
    record = run_scenario(scenario(crashes, crashes | {"count": 1, "disk_lost": True}), 2)
    assert sum(node.crashes for node in record.nodes) == 3
    assert sum("with an empty disk" in what for _, what in record.faults) == 1
    assert record.finished and not record.violations


def test_latecomers_come_and_the_departed_stay_away() -> None:
    record = run_scenario(
        scenario(
            {"kind": "latecomers", "count": 1, "between": [6, 7]},
            {"kind": "departures", "count": 1, "between": [8, 9]},
        ),
        3,
    )
    words = [what.split(" ", 1)[1] for _, what in record.faults]
    assert words == ["joins", "leaves and says so"]
    assert record.finished and not record.violations


def test_slow_devices_and_wrong_clocks_do_not_stop_a_round() -> None:
    record = run_scenario(
        scenario({"kind": "slow", "share": 0.3, "factor": 5}, {"kind": "skew", "share": 0.5, "by": 10}), 4
    )
    assert record.finished and not record.violations


def test_a_time_of_loss_is_survived() -> None:
    record = run_scenario(scenario({"kind": "lossy", "at": [4, 5], "lasts": [5, 6], "loss": 0.9}), 5)
    assert record.finished and not record.violations


def test_a_revoked_device_is_used_no_more() -> None:
    record = run_scenario(scenario({"kind": "revocations", "count": 1, "between": [5, 6]}), 6)
    (gone,) = [what.split(" ")[0] for _, what in record.faults]
    last = max(record.releases, key=lambda release: release.height)
    assert gone not in last.used
    assert record.finished and not record.violations


@pytest.mark.parametrize("new", [True, False])
def test_who_comes_with_an_empty_disk_waits_unless_it_was_no_member_when_the_round_began(new: bool) -> None:
    world = World(3, {"/": 6}, fast_preset(rule="median", f=1, min_updates=3))
    *early, late = world.devices.values()
    early[0].train_time = 8_000  # rounds last long enough to come in between
    world.start(early)
    assert world.run(until=lambda: early[1].height("/") == 2)
    world.run(limit=1_000)
    came, root = world.clock.now, next(iter(world.devices.values())).signer
    if new:
        credential = root_credential(root, world.charter, came, late.name)
        late.settings = replace(late.settings, credential=credential)
    late.start()
    assert world.run(until=lambda: any(isinstance(each, UpdatePublished) for each in late.events))
    waited = world.clock.now - came
    assert (waited < 3_000) == new
    assert late.head("/") and not early[1].peer.quarantined  # type: ignore[union-attr]
