"""How branches open: the root hears of all who wait, and from few."""

from __future__ import annotations

from dataclasses import replace

import pytest

from banyan.protocol.messages import Opening
from banyan.simulations.device import Device
from banyan.simulations.world import World, fast_preset


def founded(members: int, silent: int = 0) -> tuple[World, int]:
    """A network whose root works on ``/law``, once ``/medical`` is open, and how many messages those of ``/medical``
    have sent to the root until then. The first ``silent`` of them never send it any."""
    policies = fast_preset(rule="median", f=1, min_updates=3)
    world = World(5, {"/": 0, "/law": 4, "/medical": members}, policies, fast_signatures=True)
    root = world.charter.roots[0]
    inside = [device.name for device in world.devices.values() if device.settings.branch == "/medical"]
    told = 0
    deliver = world.deliver

    def overhear(sender: str, receiver: str, data: bytes) -> None:
        nonlocal told
        if sender in inside and receiver == root:
            if sender in inside[:silent]:
                return
            told += 1
        deliver(sender, receiver, data)

    world.deliver = overhear  # type: ignore[method-assign]
    world.start()
    opened = lambda: all(world.devices[name].height("/medical") >= 0 for name in inside)  # noqa: E731
    assert world.run(until=opened, limit=60_000)
    return world, told


def test_a_branch_of_many_members_says_no_more_to_the_root_than_one_of_few() -> None:
    _, few = founded(8)
    _, many = founded(40)
    assert many <= 2 * few


def test_everybody_who_waited_is_on_the_first_roster() -> None:
    world, _ = founded(20)
    peer = world.devices[world.charter.roots[0]].peer
    assert peer is not None
    first = peer.branches["/medical"].chain.at(0)
    assert first is not None
    waited = {d.name for d in world.devices.values() if d.settings.branch == "/medical"}
    assert first.members == waited


@pytest.mark.parametrize("silent", [3, 6])
def test_members_who_tell_the_root_nothing_cannot_keep_a_branch_closed(silent: int) -> None:
    founded(8, silent)


def test_a_branch_asks_the_root_for_as_long_as_one_above_it_is_not_open() -> None:
    policies = fast_preset(rule="median", f=1, min_updates=3)
    world = World(3, {"/": 0, "/arts": 2, "/law": 4}, policies, fast_signatures=True)
    root, deliver = world.charter.roots[0], world.deliver
    inside = [device for device in world.devices.values() if device.settings.branch == "/law"]
    asked: list[int] = []

    def overhear(sender: str, receiver: str, data: bytes) -> None:
        if world.devices[sender] in inside and receiver == root and world.reader.open(data).kind == "summary":
            asked.append(world.clock.now)
        deliver(sender, receiver, data)

    world.start()
    assert world.run(until=lambda: all(device.height("/law") >= 0 for device in inside), limit=60_000)
    world.deliver = overhear  # type: ignore[method-assign]
    interval, since = policies.gossip.sync_interval, world.clock.now
    world.run(limit=10 * interval)
    assert all(device.height("/") < 0 for device in inside), "one child is too few"
    assert len({(time - since) // (2 * interval) for time in asked}) >= 4


def gathered(seed: int = 5) -> tuple[World, list[Device]]:
    """Forty who wait on ``/medical``, all switched on within a virtual second."""
    policies = fast_preset(rule="median", f=1, min_updates=3)
    slow = replace(
        policies.gossip, sync_interval=20_000, presence_interval=100_000, presence_lifetime=500_000
    )
    world = World(
        seed, {"/": 0, "/law": 4, "/medical": 40}, replace(policies, gossip=slow), fast_signatures=True
    )
    inside = [device for device in world.devices.values() if device.settings.branch == "/medical"]
    world.start()
    return world, inside


@pytest.mark.parametrize("seed", range(3))
def test_those_who_wait_together_know_each_other_within_a_sync_interval(seed: int) -> None:
    """They once compared once an interval each, and a branch was opened with two of three of those who waited."""
    world, inside = gathered(seed)
    world.run(limit=20_000)
    known = [len(device.peer.members.live(world.clock.now, "/medical")) for device in inside if device.peer]
    assert sum(known) / len(known) > 38
    root = world.devices[world.charter.roots[0]].peer
    assert root is not None
    assert world.run(until=lambda: root.branches["/medical"].chain.head is not None, limit=40_000)
    first = root.branches["/medical"].chain.at(0)
    assert first is not None
    assert len(first.members) == 40


def test_newcomers_make_nobody_compare_more_often_once_the_branch_is_open() -> None:
    world, inside = gathered()
    root = world.charter.roots[0]
    assert world.run(until=lambda: all(device.height("/medical") >= 0 for device in inside), limit=60_000)
    peer = inside[0].peer
    assert peer is not None
    assert peer.founding.soon("/medical") is None
    founder = world.devices[root].peer
    assert founder is not None
    assert founder.founding.soon("/law") is None


def test_a_branch_above_that_is_not_open_keeps_no_one_but_the_spokesman_busy() -> None:
    """Every node once compared with another in every interval, for as long as the root branch was not open."""
    policies = fast_preset(rule="median", f=1, min_updates=3)
    world = World(3, {"/": 0, "/arts": 2, "/law": 12}, policies, fast_signatures=True)
    root, deliver = world.charter.roots[0], world.deliver
    inside = [device for device in world.devices.values() if device.settings.branch == "/law"]
    asked: list[str] = []

    def overhear(sender: str, receiver: str, data: bytes) -> None:
        if world.devices[sender] in inside and world.reader.open(data).kind == "summary":
            asked.append("root" if receiver == root else "other")
        deliver(sender, receiver, data)

    for device in inside:
        device.settings = replace(device.settings, target_height=2)
    world.start()
    assert world.run(until=lambda: all(device.height("/law") >= 2 for device in inside), limit=60_000)
    interval = policies.gossip.sync_interval
    world.run(limit=8 * interval)
    world.deliver = overhear  # type: ignore[method-assign]
    world.run(limit=16 * interval)
    assert all(device.height("/") < 0 for device in inside), "one child is too few"
    assert asked.count("root") >= 8
    assert asked.count("other") <= 12 * 16 * 4 // 3 / 3


@pytest.mark.parametrize("seed", range(3))
def test_a_branch_that_missed_the_opening_above_it_hears_of_it_from_its_spokesman(seed: int) -> None:
    """Whoever misses nothing else compares in every fourth interval only; the spokesman brings the opening to all."""
    policies = fast_preset(rule="median", f=1, min_updates=3)
    transfer = replace(policies.transfer, min_children=1)
    world = World(
        seed, {"/": 0, "/arts": 4, "/law": 24}, replace(policies, transfer=transfer), fast_signatures=True
    )
    inside = [device for device in world.devices.values() if device.settings.branch == "/law"]
    outside = [device.name for device in world.devices.values() if device not in inside]
    root, deliver = world.charter.roots[0], world.deliver

    def lose(sender: str, receiver: str, data: bytes) -> None:
        """All that comes from outside but the root's answers, and what it pushes of the branch itself."""
        if world.devices[receiver] in inside and sender in outside:
            said = world.reader.open(data)
            body = world.reader.record(said).body if said.kind == "opening" else None
            if sender != root or (isinstance(body, Opening) and body.release.branch == "/"):
                return
        deliver(sender, receiver, data)

    world.deliver = lose  # type: ignore[method-assign]
    world.start()
    assert world.run(until=lambda: any(device.height("/") >= 0 for device in inside), limit=120_000)
    interval = policies.gossip.sync_interval
    assert world.run(until=lambda: all(device.height("/") >= 0 for device in inside), limit=interval // 6)


def test_a_root_that_lost_its_disk_does_not_open_again_what_others_say_is_open() -> None:
    """It met enough members before the opening itself had come to it, and signed a second one."""
    policies = fast_preset(rule="median", f=1, min_updates=3)
    world = World(5, {"/": 6}, policies, fast_signatures=True)
    root, deliver = world.devices[world.charter.roots[0]], world.deliver
    world.start()
    assert world.run(until=lambda: world.agreed("/", 1))
    first = root.peer and root.peer.branches["/"].chain.at(0)

    def keep_releases(sender: str, receiver: str, data: bytes) -> None:
        """The root hears who is there, and of releases only that there are some."""
        if receiver != root.name or world.reader.open(data).kind in ("summary", "presence"):
            deliver(sender, receiver, data)

    root.crash()
    root.lose_disk()
    world.deliver = keep_releases  # type: ignore[method-assign]
    root.start()
    peer = root.peer
    interval = policies.gossip.sync_interval
    assert not world.run(until=lambda: root.height("/") >= 0, limit=4 * interval)
    assert peer.founding.gathered("/") >= 3
    world.deliver = deliver  # type: ignore[method-assign]
    assert world.run(until=lambda: root.height("/") >= 0, limit=4 * interval)
    assert first is not None and next(peer.branches["/"].chain.releases()) == first


def test_whoever_says_that_a_closed_branch_is_open_keeps_it_closed_for_four_intervals_at_most() -> None:
    policies = fast_preset(rule="median", f=1, min_updates=3)
    world = World(5, {"/": 6}, policies, fast_signatures=True)
    root, interval = world.devices[world.charter.roots[0]], policies.gossip.sync_interval
    world.start()
    assert world.run(until=lambda: root.peer is not None and root.peer.founding.gathered("/") >= 6)
    peer = root.peer
    assert peer is not None
    since = world.clock.now

    def is_open() -> bool:
        peer.told_open("/")  # over and over
        return root.height("/") >= 0

    assert world.run(until=is_open, limit=6 * interval)
    assert world.clock.now - since >= 4 * interval
