"""What an honest node's own circumstances must never do to its core: too many neighbours, a loss that is no number."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from banyan.protocol.effects import (
    Aggregated,
    JobFailed,
    MessageReceived,
    PutRecord,
    Send,
    Started,
    TimerFired,
    Train,
    Trained,
)
from banyan.protocol.members import Member
from banyan.protocol.messages import Opening, Presence, Update, read_body
from banyan.protocol.peer import Peer
from banyan.protocol.records import Records
from banyan.protocol.release import Seat, opening
from banyan.protocol.sync import Sync
from banyan.security import canonical
from banyan.security.schema import to_plain
from banyan.simulations.device import Device
from banyan.simulations.world import World


def core(device: Device, addresses: tuple[str, ...] = ()) -> Peer:
    settings = replace(device.settings, addresses=addresses)
    return Peer(device.world.charter, device.signer, settings, random.Random(1), device.world.verifier)


def test_a_device_with_many_addresses_tells_some() -> None:
    world = World(1, {"/": 5})
    device = next(iter(world.devices.values()))
    peer = core(device, tuple(f"/ip4/10.0.0.{number}/tcp/1" for number in range(20)))
    peer.handle(Started(), world.clock.now)
    presence = peer.records.at("presence", "/", device.name)
    assert presence is not None
    assert isinstance(presence.body, Presence)
    assert len(presence.body.addresses) == 8


def test_training_that_ends_in_a_loss_that_is_no_number_is_still_an_update() -> None:
    world = World(1, {"/": 5})
    device = next(iter(world.devices.values()))
    peer = core(device)
    release = opening("/", [Seat(name, 0, "/") for name in world.devices], world.clock.now)
    peer._take(peer.publish(Opening(release)))
    (train,) = [e for e in peer.handle(Started(), world.clock.now) if isinstance(e, Train)]
    metrics = {"loss_before": 2.0, "loss_after": math.nan}
    trained = Trained("/", train.height, train.base, bytes(32), 100, None, metrics)
    effects = peer.handle(trained, world.clock.now)
    kept = [peer.open_envelope(e.data) for e in effects if isinstance(e, PutRecord)]
    (update,) = [read_body(each, Update) for each in kept if each.kind == "update"]
    assert (update.loss_before, update.loss_after) == (2.0, None)


def test_who_lost_its_disk_says_nothing_in_a_round_in_which_it_may_have_spoken() -> None:
    """Churn, seed 1: it trained anew for a round that had its update already, and was shut out for equivocation."""
    world = World(1, {"/": 5})
    device, issued = next(iter(world.devices.values())), world.clock.now
    pause, now = world.charter.round.deadline + 2 * world.charter.gossip.sync_interval, issued + 10

    def trains(peer: Peer, opened: int, later: int) -> bool:
        peer._take(
            peer.publish(Opening(opening("/", [Seat(name, 0, "/") for name in world.devices], opened)))
        )
        effects = peer.handle(TimerFired("train"), now + later)
        return any(isinstance(effect, Train) for effect in effects)

    def started(records: list[bytes]) -> Peer:
        peer = core(device)
        peer.restore(records, {})
        peer.handle(Started(), now)
        return peer

    assert not trains(started([]), now - 1, pause - 1)
    assert trains(started([]), now - 1, pause)
    assert trains(started([]), now, 1)
    assert trains(started([]), issued - 1, 1), "it was no member when the round began"
    other = core(device).publish(Presence("/", device.settings.credential, ())).envelope.data
    assert trains(started([other]), now - 1, 1)


def test_the_root_opens_a_branch_that_more_want_than_there_are_seats() -> None:
    world = World(1, {"/": 5})
    device = world.devices[world.charter.roots[0]]
    peer = core(device)
    peer.handle(Started(), world.clock.now)
    for number in range(300):
        peer.members.note(Member(f"m{number}", "/", (), world.clock.now))
    peer.handle(TimerFired("sync"), world.clock.now + 5_000)
    head = peer.branches["/"].chain.head
    assert head is not None
    assert len({seat.member for seat in head.roster}) == len(head.roster) == 192


def test_who_is_a_member_and_a_childs_delegate_gets_one_seat() -> None:
    """An opening with two would be refused by everybody but the root, and the branch could never be opened."""
    world = World(1, {"/": 5, "/en": 5})
    device = world.devices[world.charter.roots[0]]
    peer = core(device)
    peer.handle(Started(), world.clock.now)
    names = [d.name for d in world.devices.values() if d.settings.branch == "/"]
    child = replace(opening("/en", [Seat(name, 1, "/en") for name in names], world.clock.now), height=1)
    peer.branches["/en"].chain.head = child
    for name in names:
        peer.members.note(Member(name, "/", (), world.clock.now))
    peer.handle(TimerFired("sync"), world.clock.now + 5_000)
    head = peer.branches["/"].chain.head
    assert head is not None
    assert sorted(seat.member for seat in head.roster) == sorted(names)


def test_a_parent_that_stands_still_keeps_only_its_childs_newest_adapters() -> None:
    """Every member of the child once kept every adapter the child ever had, on disk, for good."""
    world = World(1, {"/": 5, "/en": 5})
    device = next(d for d in world.devices.values() if d.settings.branch == "/en")
    peer = core(device)
    first = opening("/en", [Seat(device.name, 0, "/en")], world.clock.now)
    for height in range(1, 50):
        peer.branches["/"].child_moved(replace(first, height=height, adapter=bytes([height] * 32)))
    assert peer.keep() == {bytes([height] * 32) for height in range(46, 50)}


def test_the_end_of_a_job_for_a_branch_left_in_the_meantime_is_let_go() -> None:
    world = World(1, {"/": 5})
    peer = core(next(iter(world.devices.values())))
    done = Aggregated("/old", 1, bytes(32), bytes(32), 1, bytes(32), 1, None)
    assert peer.handle(done, world.clock.now) == []
    assert len(peer.handle(JobFailed("aggregate", "/old", 1, "out of memory"), world.clock.now)) == 1


def test_a_node_that_shows_too_many_signs_of_life_does_not_flood_the_network() -> None:
    world = World(21, {"/": 6})
    world.start()
    assert world.run(until=lambda: world.agreed("/", 1))
    loud, *others = world.devices.values()
    assert loud.peer is not None
    passed_on = 0
    for number in range(200):
        presence = Presence("/", loud.settings.credential, (f"/ip4/127.0.0.1/tcp/{number}",))
        heard = MessageReceived(loud.name, loud.peer.gossip.seal(presence).data)
        effects = [
            effect for each in others if each.peer for effect in each.peer.handle(heard, world.clock.now)
        ]
        passed_on += any(isinstance(effect, Send) and effect.data == heard.data for effect in effects)
    assert 1 <= passed_on <= 4


def test_a_node_that_follows_very_many_branches_compares_them_in_several_messages() -> None:
    topics = [f"/b{number}" for number in range(600)]
    sync = Sync(Records(), lambda: topics, lambda branch: None, 65_536)
    summaries = list(sync.summaries())
    assert [t.topic for each in summaries for t in each.topics] == sorted(topics)
    for each in summaries:
        assert len(canonical.encode(to_plain(each))) < 63_000
