"""What a core makes of its own past: restarts in a tree, on another branch, in the middle of a round."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from banyan.protocol.effects import InputEvent, Started
from banyan.protocol.peer import Peer
from banyan.simulations.device import Device
from banyan.simulations.world import World, fast_preset


@pytest.fixture(scope="module")
def tree() -> tuple[World, list[Device]]:
    """A tree of two levels in which the child has been counted by its parent; the devices of the parent."""
    world = World(4, {"/": 5, "/en": 5}, fast_preset(f=1))
    world.start()
    assert world.run(until=lambda: world.agreed("/", 4) and world.agreed("/en", 4))
    return world, [device for device in world.devices.values() if device.settings.branch == "/"]


def woken(device: Device, branch: str = "/", records: list[bytes] | None = None) -> Peer:
    """A new core for ``device`` from its disk."""
    settings = replace(device.settings, branch=branch)
    peer = Peer(device.world.charter, device.signer, settings, random.Random(1), device.world.verifier)
    peer.restore(list(device.records.values()) if records is None else records, dict(device.state))
    return peer


@pytest.mark.parametrize("order", [1, -1])
def test_a_committee_member_that_follows_a_child_comes_back_whatever_the_order_on_its_disk(
    tree: tuple[World, list[Device]], order: int
) -> None:
    """A child's releases were restored before the parent's release for whose sake the child is followed."""
    world, devices = tree
    for device in devices:
        assert device.peer is not None
        records = sorted(device.records.values(), key=lambda data: order * len(data))
        peer = woken(device, records=records)
        peer.handle(Started(), world.clock.now)
        assert peer.branches["/"].chain.head == device.peer.branches["/"].chain.head
        assert not peer.refusals


def test_a_device_that_moves_to_another_branch_leaves_the_old_ones_records_alone(
    tree: tuple[World, list[Device]],
) -> None:
    world, _ = tree
    device = next(d for d in world.devices.values() if d.settings.branch == "/en")
    peer = woken(device, branch="/")
    assert peer.handle(Started(), world.clock.now)
    assert peer.branches["/"].chain.height >= 4
