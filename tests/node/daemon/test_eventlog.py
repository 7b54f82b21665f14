"""One list of events: numbered, followed, kept for the store."""

import trio

from banyan.node.daemon.eventlog import EventLog
from banyan.node.daemon.events import NodeStopping, PeerConnectedEvent


def log_of(count, keep=100, last=0):
    log = EventLog(lambda: 7, last, keep)
    for number in range(count):
        log.emit(PeerConnectedEvent(f"peer{number}"))
    return log


def test_places_go_on_from_those_on_disk():
    log = log_of(2, last=40)
    assert [event.position for event in log.after(0, 10)] == [41, 42]
    assert log.after(41, 10)[0].body == {"peer": "peer1"}


def test_events_are_handed_to_the_store_once_and_can_be_given_back():
    log = log_of(3)
    events = log.take_unstored()
    assert log.take_unstored() == []
    log.emit(NodeStopping("test"))
    log.give_back(events)
    assert [event.position for event in log.take_unstored()] == [1, 2, 3, 4]


def test_what_waits_for_a_full_disk_is_bounded():
    log = log_of(500, keep=100)
    assert [event.position for event in log.take_unstored()] == list(range(401, 501))
    assert log.oldest == 401


async def test_every_follower_wakes(autojump_clock):
    log = log_of(1)
    woken = []

    async def follow(name):
        position = 1
        for _ in range(2):
            await log.wait_beyond(position)
            position = log.position
            woken.append((name, position))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, "a")
        nursery.start_soon(follow, "b")
        await trio.sleep(1)
        log.emit(NodeStopping("one"))
        await trio.sleep(1)
        log.emit(NodeStopping("two"))
    assert sorted(woken) == [("a", 2), ("a", 3), ("b", 2), ("b", 3)]
