"""A device is pinned to a release of its branch: it uses that model, and goes on taking part as before."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from banyan.protocol.effects import Command, PutState
from banyan.protocol.events import PinFailed, ReleasePinned, ReleaseUnpinned, UpdatePublished
from banyan.protocol.peer import Peer
from banyan.security.errors import Refused
from banyan.simulations.device import Device
from banyan.simulations.world import World, fast_preset


def grown() -> World:
    """Two levels, both some releases old."""
    world = World(4, {"/": 5, "/en": 5}, fast_preset(f=1))
    world.start()
    assert world.run(until=lambda: world.agreed("/", 5) and world.agreed("/en", 5))
    return world


@pytest.fixture
def world() -> World:
    return grown()


@pytest.fixture(scope="module")
def still() -> World:
    """One for questions that change nothing of it."""
    return grown()


def learner(world: World, branch: str = "/en") -> Device:
    return next(device for device in world.devices.values() if device.settings.branch == branch)


def told(device: Device, kind: type) -> list:
    return [event for event in device.events if isinstance(event, kind)]


def check_out(world: World, device: Device, revision: str | None) -> None:
    device.handle(Command("checkout", {"release": revision}))
    world.run(limit=200)


def core(device: Device) -> Peer:
    assert device.peer is not None
    return device.peer


def woken(device: Device, branch: str) -> Peer:
    settings = replace(device.settings, branch=branch)
    peer = Peer(device.world.charter, device.signer, settings, random.Random(1), device.world.verifier)
    peer.restore(list(device.records.values()), dict(device.state))
    return peer


def test_a_pinned_device_uses_that_model_and_still_learns_with_the_others(world: World) -> None:
    device = learner(world)
    release = core(device).lineage.find("/en@3")
    model = [each.adapter for each in core(device).lineage.path_of(release)]
    check_out(world, device, "/en@3")
    assert told(device, ReleasePinned) == [ReleasePinned("/en", 3, release.digest.hex())]
    assert list(core(device).model) == model
    assert len(model) == 2  # the root's adapter as it was then, and the branch's own
    updates, goal = len(told(device, UpdatePublished)), device.height("/en") + 5
    assert world.run(until=lambda: world.agreed("/en", goal) and world.agreed("/", 9))
    assert list(core(device).model) == model
    assert len(told(device, UpdatePublished)) >= updates + 3
    newest = told(device, UpdatePublished)[-1]
    assert newest.height >= goal  # it trained from the head
    check_out(world, device, None)
    assert len(told(device, ReleaseUnpinned)) == 1
    assert core(device).model[-1] == core(device).lineage.find("/en").adapter


def test_the_path_is_pinned_as_it_stood_while_the_release_was_the_head(still: World) -> None:
    peer = core(learner(still))
    for height in range(1, peer.branches["/en"].chain.height):
        above, own = peer.lineage.path_of(peer.lineage.find(f"/en@{height}"))
        following = peer.lineage.find(f"/en@{height + 1}")
        after = peer.branches["/"].chain.at(above.height + 1)
        assert own.height == height
        assert above.time < following.time
        assert after is None or after.time >= following.time
    assert peer.lineage.path_of(peer.lineage.find("/en")) == peer.lineage.heads("/en")


def test_a_pin_survives_a_restart_and_a_disk_that_lost_the_blobs(world: World) -> None:
    device, other = [d for d in world.devices.values() if d.settings.branch == "/en"][:2]
    for each in (device, other):
        check_out(world, each, "/en@3")
    model = core(device).model
    device.crash()
    for digest in model:
        del device.blobs.data[digest]
    device.start()
    assert core(device).model == model
    assert core(device).pin.status()["missing"]  # type: ignore[index]
    assert world.run(until=lambda: set(model) <= device.blobs.data.keys())
    assert world.run(until=lambda: not core(device).pin.status()["missing"])  # type: ignore[index]
    assert len(told(device, ReleasePinned)) == 1  # it is no news


def test_the_blobs_of_a_pinned_release_are_kept_and_go_when_it_is_let_go(world: World) -> None:
    device = learner(world)
    check_out(world, device, "/en@3")
    model = set(core(device).model)
    assert world.run(until=lambda: world.agreed("/en", 12) and world.agreed("/", 12))
    device.collect_garbage()
    assert model <= device.blobs.data.keys()
    check_out(world, device, None)
    device.collect_garbage()
    assert not model & device.blobs.data.keys()


def test_a_release_whose_blobs_nobody_has_is_not_pinned_and_what_is_used_stays(world: World) -> None:
    device = learner(world)
    assert world.run(until=lambda: world.agreed("/en", 9) and world.agreed("/", 9))
    for each in world.devices.values():
        each.collect_garbage()
    before = core(device).model
    check_out(world, device, "/en@2")
    world.run(until=lambda: bool(told(device, PinFailed)))
    (failed,) = told(device, PinFailed)
    assert (failed.branch, failed.height) == ("/en", 2)
    assert "cannot be fetched" in failed.why
    assert core(device).pin.status() is None
    assert not core(device).pin.keep()
    assert "pin" not in device.state
    assert before


def test_one_that_is_pinned_brings_an_old_release_back_to_another(world: World) -> None:
    keeper, other = [d for d in world.devices.values() if d.settings.branch == "/en"][:2]
    check_out(world, keeper, "/en@3")
    assert world.run(until=lambda: world.agreed("/en", 12) and world.agreed("/", 12))
    for each in world.devices.values():
        each.collect_garbage()
    check_out(world, other, "/en@3")
    assert world.run(until=lambda: bool(told(other, ReleasePinned)))
    np.testing.assert_array_equal(keeper.own_model(), other.own_model())


@pytest.mark.parametrize(
    ("revision", "reason"),
    [
        ("/en@99", "unknown-release"),
        ("abcdef0123", "unknown-release"),
        ("/@2", "other-branch"),
        ("?", "bad-revision"),
    ],
)
def test_what_is_no_release_of_the_devices_branch_is_not_pinned(
    still: World, revision: str, reason: str
) -> None:
    peer = core(learner(still))
    with pytest.raises(Refused) as caught:
        peer.handle(Command("checkout", {"release": revision}), still.clock.now)
    assert caught.value.reason == reason
    assert peer.pin.status() is None


def test_a_pin_waits_while_the_device_works_on_another_branch(world: World) -> None:
    device = learner(world)
    check_out(world, device, "/en@3")
    elsewhere, back = woken(device, "/"), woken(device, "/en")
    assert elsewhere.pin.status() is None
    assert elsewhere.model == tuple(head.adapter for head in elsewhere.lineage.heads("/"))
    assert back.model == core(device).model


def test_a_device_can_be_pinned_to_the_opening_which_is_what_its_parents_know(world: World) -> None:
    device = learner(world)
    check_out(world, device, "/en@0")
    assert core(device).pin.status()["height"] == 0  # type: ignore[index]
    assert all(digest for digest in core(device).model)


def test_the_second_of_two_wishes_counts(world: World) -> None:
    device = learner(world)
    device.handle(Command("checkout", {"release": "/en@3"}))
    device.handle(Command("checkout", {"release": "/en@4"}))
    world.run(limit=200)
    assert [event.height for event in told(device, ReleasePinned)] == [4]


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x81\xa5parts\x91\x01", b"\x00" * 9_000])
def test_a_pin_on_disk_that_cannot_be_read_is_none(still: World, data: bytes) -> None:
    device = learner(still)
    device.state["pin"] = data
    assert woken(device, "/en").pin.status() is None


def test_letting_go_where_nothing_is_pinned_is_no_news(still: World) -> None:
    device = learner(still)
    effects = core(device).handle(Command("checkout", {"release": None}), still.clock.now)
    assert [type(effect) for effect in effects] == [PutState]
