"""How branches open: the root hears of all who wait, and from few."""

from __future__ import annotations

import pytest

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
