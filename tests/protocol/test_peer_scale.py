"""What keeps a node's traffic and memory from growing with the network: each rule alone, in a tree of three levels."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from banyan.protocol.effects import (
    DropRecords,
    Effect,
    FetchBlob,
    MessageReceived,
    Send,
    SetTimer,
    TimerFired,
)
from banyan.protocol.messages import CertifiedRelease, Presence, Vote, Want, body_of, read_body
from banyan.protocol.paths import parent_of, path_to
from banyan.protocol.peer import Peer
from banyan.protocol.records import Record, presence_topic
from banyan.security.charter import Preset, TransferPolicy, preset
from banyan.security.credential import root_credential
from banyan.security.envelope import seal
from banyan.security.identity import Identity, Signer
from banyan.security.scope import covers
from banyan.simulations.device import Device
from banyan.simulations.world import World

LEAVES = [f"/{domain}/{leaf}" for domain in "abc" for leaf in "xyz"]


def policies() -> Preset:
    """Three votes close a round, of members or children; a committee has four seats, so that some have none."""
    lan = preset("lan")
    policy = replace(lan.round, rule="trimmed-mean", f=1, min_updates=3)
    transfer = TransferPolicy(policy="every-round", min_children=3)
    return replace(lan, round=policy, transfer=transfer, committee=replace(lan.committee, size=4))


@pytest.fixture(scope="module")
def tree() -> World:
    """Three levels, devices in the leaves only; the root branch has counted its children at least twice."""
    world = World(2, {"/": 0, "/a": 0, "/b": 0, "/c": 0, **dict.fromkeys(LEAVES, 5)}, policies())
    for device in world.devices.values():
        device.train_time = 10_000
    world.start()
    for _ in range(60):
        world.run(limit=5_000)
        if max(device.height("/") for device in world.live()) >= 3:
            return world
    raise AssertionError("the root branch has not moved")


@pytest.fixture(scope="module")
def taught() -> World:
    """Two levels, with members at both: what those of the upper one teach it comes down."""
    world = World(2, {"/": 4, "/a": 8, "/b": 5}, policies())
    world.start()
    assert world.run(until=lambda: world.agreed("/", 4) and world.agreed("/a", 4))
    world.run(limit=5_000)
    return world


def peer_of(device: Device) -> Peer:
    assert device.peer is not None
    return device.peer


def ordinary(world: World) -> list[Device]:
    """Everybody but the charter's first root, which follows every branch."""
    return [device for device in world.devices.values() if device.name not in world.charter.roots]


def sealed(world: World, signer: Signer, message: object, seq: int) -> bytes:
    kind, body = body_of(message)
    now = world.clock.now
    return seal(signer, network=world.charter.network_id, kind=kind, seq=seq, time=now, body=body).data


def test_rounds_run_at_all_three_levels(tree: World) -> None:
    assert all(device.height(device.settings.branch) >= 3 for device in tree.live())
    assert max(device.height("/a") for device in ordinary(tree) if "/a" in peer_of(device).branches) >= 3
    head = max((peer_of(device).branches["/"].chain for device in tree.live()), key=lambda c: c.height).head
    assert head is not None
    assert {each.source for each in head.used} <= {"/a", "/b", "/c"}


def test_a_node_follows_its_own_branches_and_the_children_of_those_where_it_has_a_seat(tree: World) -> None:
    for device in ordinary(tree):
        peer = peer_of(device)
        own = set(path_to(device.settings.branch))
        seats = {path for path in own if peer.branches[path].on_committee}
        children = {
            path for path in tree.charter.branches for seat in seats if path in peer.children_of(seat)
        }
        assert own <= peer.branches.keys() <= own | children
        held = {record.slot[1] for record in peer.records.all() if record.slot[0] == "release"}
        assert held <= peer.branches.keys()


def test_a_seat_that_is_lost_ends_the_following_and_clears_the_disk(tree: World) -> None:
    device = next(d for d in ordinary(tree) if peer_of(d).branches["/"].on_committee)
    peer = woken(device)
    peer.handle(TimerFired("presence"), tree.clock.now)
    followed = peer.branches.keys() - set(path_to(device.settings.branch))
    assert followed & {"/a", "/b", "/c"}
    held = [r.id for path in followed & {"/a", "/b", "/c"} for r in peer.records.of(path)]
    peer.branches["/"].chain.committee = ("somebody else",)
    peer.following.follow_children("/")
    dropped = [e for e in peer.handle(TimerFired("presence"), tree.clock.now) if isinstance(e, DropRecords)]
    assert not peer.branches.keys() & ({"/a", "/b", "/c"} - set(path_to(device.settings.branch)))
    assert {each for effect in dropped for each in effect.records} >= set(held)


def woken(device: Device) -> Peer:
    """The device's core as it would come back from its disk."""
    world = device.world
    peer = Peer(world.charter, device.signer, device.settings, random.Random(1), world.verifier)
    peer.restore(list(device.records.values()), dict(device.state))
    return peer


def test_counted_work_is_a_sign_of_life_and_spares_the_presence(tree: World) -> None:
    device = ordinary(tree)[0]
    peer, now = peer_of(device), tree.clock.now
    counted = peer.members.last_sign(device.name, 0)
    assert now - counted < tree.charter.gossip.presence_lifetime // 2
    quiet = [e for e in peer.handle(TimerFired("presence"), now) if isinstance(e, Send | SetTimer)]
    assert [type(effect) for effect in quiet] == [SetTimer]
    later = counted + tree.charter.gossip.presence_lifetime
    spoken = woken(device).handle(TimerFired("presence"), later)
    assert any(isinstance(effect, Send) for effect in spoken)


def test_everybody_at_work_counts_as_alive_though_nobody_shows_a_presence(tree: World) -> None:
    device = ordinary(tree)[5]
    siblings = {d.name for d in tree.devices.values() if d.settings.branch == device.settings.branch}
    tree.run(limit=tree.charter.gossip.presence_lifetime)
    live = {m.node for m in peer_of(device).members.live(tree.clock.now, device.settings.branch)}
    assert live == siblings
    shown = peer_of(device).records.of(presence_topic(device.settings.branch))
    assert min(r.envelope.time for r in shown) < tree.clock.now - tree.charter.gossip.presence_lifetime


def certified(world: World, path: str) -> Record:
    """The newest release of ``path`` that the parent's own newest release quotes, as somebody holds it."""
    parents = [peer_of(d).branches["/"].chain.head for d in world.live()]
    head = max((each for each in parents if each is not None), key=lambda each: each.height)
    (quoted,) = [each for each in head.children if each.branch == path]
    held = (peer_of(d).records.at("release", path, quoted.height) for d in world.live())
    return next(record for record in held if record is not None)


def newly_seated(world: World) -> Peer:
    """A member of ``/a/x`` that has just got its first seat at the root and knows nothing of ``/b``."""
    device = next(d for d in ordinary(world) if d.settings.branch == "/a/x")
    peer = woken(device)
    newest = max(world.live(), key=lambda each: each.height("/"))
    for record in peer_of(newest).records.of("/"):
        peer.handle(MessageReceived(newest.name, record.envelope.data), world.clock.now)
    peer.branches["/"].chain.committee = (device.name, *peer.branches["/"].chain.committee[1:])
    for child in ("/b", "/c"):
        peer.branches.pop(child, None)
    peer.following.follow_children("/")
    return peer


def test_a_seat_follows_a_child_from_the_release_that_the_parent_quotes(tree: World) -> None:
    peer, record = newly_seated(tree), certified(tree, "/b")
    height = record.slot[2]
    assert isinstance(height, int)
    assert height > 1
    assert peer.following.start_of("/b") == height
    effects = peer.handle(MessageReceived("sender", record.envelope.data), tree.clock.now)
    assert peer.branches["/b"].chain.height == height
    assert record.id not in peer.records, "its committee could not be checked, so it is no proof for others"
    assert not [e for e in effects if isinstance(e, Send) and e.data == record.envelope.data]


def test_a_seat_asks_every_sync_interval_for_the_children_that_it_has_not_heard_of(tree: World) -> None:
    peer, record = newly_seated(tree), certified(tree, "/b")
    assert {"/b", "/c"} <= wanted(peer, tree)
    peer.handle(MessageReceived("sender", record.envelope.data), tree.clock.now)
    still_wanted = wanted(peer, tree)
    assert "/b" not in still_wanted
    assert "/c" in still_wanted


def wanted(peer: Peer, world: World) -> set[str]:
    """The branches below ``/`` whose releases ``peer`` asks delegates of theirs for when its sync is due."""
    effects = peer.handle(TimerFired("sync"), world.clock.now)
    sent = [(effect.to, peer.open_envelope(effect.data)) for effect in effects if isinstance(effect, Send)]
    wants = [(to, read_body(each, Want)) for to, each in sent if each.kind == "want"]
    asked = [(to, want) for to, want in wants if parent_of(want.topic) == "/"]
    head = peer.branches["/"].chain.head
    assert head is not None
    speaks_for = {seat.member: seat.speaks_for for seat in head.roster}
    assert all(speaks_for[node] == want.topic for to, want in asked for node in to)
    return {want.topic for _, want in asked}


def test_a_release_that_the_parent_does_not_quote_begins_nothing(tree: World) -> None:
    peer, record = newly_seated(tree), certified(tree, "/b")
    assert isinstance(record.body, CertifiedRelease)
    forged = replace(record.body, release=replace(record.body.release, adapter=bytes(32)))
    data = sealed(tree, ordinary(tree)[0].signer, forged, 10**15)
    peer.handle(MessageReceived(ordinary(tree)[0].name, data), tree.clock.now)
    assert peer.branches["/b"].chain.head is None


def test_a_quoted_release_with_signatures_on_something_else_is_refused(tree: World) -> None:
    peer, record = newly_seated(tree), certified(tree, "/b")
    assert isinstance(record.body, CertifiedRelease)
    other = certified(tree, "/c").body
    assert isinstance(other, CertifiedRelease)
    data = sealed(tree, ordinary(tree)[0].signer, replace(record.body, certificate=other.certificate), 10**15)
    peer.handle(MessageReceived(ordinary(tree)[0].name, data), tree.clock.now)
    assert peer.refusals["bad-certificate"] == 1
    assert peer.branches["/b"].chain.head is None


def test_an_adapter_from_above_is_asked_of_the_nearest_committee_first(taught: World) -> None:
    below = (d for d in ordinary(taught) if d.settings.branch != "/")
    chosen = (d for d in below if not any(b.on_committee for b in peer_of(d).branches.values()))
    peer = peer_of(next(d for d in chosen if d.name not in peer_of(d).branches["/"].chain.closers))
    leaf = peer.branches[peer._settings.branch].chain
    peer._blobs.clear()
    peer.adapters.fetch("/")
    (first,) = [effect for effect in peer._out if isinstance(effect, FetchBlob)]
    assert set(first.sources) == set(leaf.committee) - {peer.me}
    peer._out.clear()
    peer.adapters.fetch("/", again=True)
    (second,) = [effect for effect in peer._out if isinstance(effect, FetchBlob)]
    assert set(second.sources) > set(peer.branches["/"].chain.closers) | set(first.sources)
    peer._out.clear()


def test_training_does_not_wait_for_the_newest_adapter_from_above(taught: World) -> None:
    device = max(ordinary(taught), key=lambda d: (d.settings.branch == "/a", len(peer_of(d)._blobs)))
    peer = peer_of(device)
    newest = [release.adapter for release in peer.branches["/"].newest()]
    held = [adapter for adapter in newest if peer.has_blob(adapter)]
    assert len(held) > 1
    peer._blobs.discard(held[0])
    assert held[1] in peer.adapters_above(peer.branch)
    peer._blobs.add(held[0])


def test_a_member_of_another_branch_is_no_stranger_once_it_has_shown_itself(tree: World) -> None:
    host = next(d for d in ordinary(tree) if d.settings.branch == "/a/x")
    guest, root = Identity.from_seed(b"g" * 32), tree.devices[tree.charter.roots[0]]
    credential = root_credential(root.signer, tree.charter, tree.clock.now, guest.node_id)
    peer = woken(host)
    presence = sealed(tree, guest, Presence("/c/z", credential, ()), 1)
    peer.handle(MessageReceived(host.name, presence), tree.clock.now)
    assert not peer.is_member(guest.node_id), "only its own word, from itself"
    peer.handle(MessageReceived(guest.node_id, presence), tree.clock.now)
    assert peer.is_member(guest.node_id)
    assert peer.records.at("presence", "/c/z", guest.node_id) is None


def pushed(peer: Peer, record: Record, **options: bool) -> set[str]:
    """To whom ``peer`` pushes ``record`` right now."""
    peer.gossip.push(record, but=(record.envelope.author,), **options)
    to = {node for effect in peer._out if isinstance(effect, Send) for node in effect.to}
    peer._out.clear()
    return to


def reached(world: World, record: Record) -> set[str]:
    """Who has ``record`` after it went from hand to hand and nobody compared anything."""
    heard, waiting = {record.envelope.author}, [record.envelope.author]
    while waiting:
        fresh = pushed(peer_of(world.devices[waiting.pop()]), record) - heard
        heard |= fresh
        waiting += sorted(fresh)
    return heard


def newest(world: World, path: str) -> Record:
    """The newest release of ``path``, under the signature of one who pushes it."""
    held = (peer_of(d).branches[path].chain for d in world.live() if path in peer_of(d).branches)
    chain = max(held, key=lambda chain: chain.height)
    records = (peer_of(d).records.at("release", path, chain.height) for d in world.live())
    return next(r for r in records if r is not None and r.envelope.author in world.devices)


def test_the_first_root_does_not_pass_on_what_happens_in_branches_that_are_not_its_own(tree: World) -> None:
    root = tree.devices[tree.charter.roots[0]]
    peer, record = peer_of(root), newest(tree, "/b/x")
    assert root.settings.branch == "/a/x"
    assert not pushed(peer, record)


@pytest.mark.parametrize("path", ["/a/x", "/b", "/"])
def test_a_release_goes_from_hand_to_hand_to_everybody_at_and_below_its_branch(
    tree: World, path: str
) -> None:
    record = newest(tree, path)
    below = {d.name for d in tree.live() if covers(path, d.settings.branch)}
    assert reached(tree, record) >= below


def test_a_release_costs_about_two_messages_a_member_however_it_spreads(tree: World) -> None:
    record, sent = newest(tree, "/a/x"), 0
    members = [d for d in tree.live() if d.settings.branch == "/a/x" and d.name != record.envelope.author]
    for device in members:
        sent += len(pushed(peer_of(device), record) & {each.name for each in members})
    assert sent <= 2 * len(members)


def test_a_presence_goes_to_the_roster_of_its_branch_and_to_nobody_else(tree: World) -> None:
    device = ordinary(tree)[0]
    peer, path = peer_of(device), device.settings.branch
    shown = peer.records.at("presence", path, peer.me)
    assert shown is not None
    siblings = {d.name for d in tree.live() if d.settings.branch == path}
    assert reached(tree, shown) == siblings


def test_who_follows_a_branch_for_a_seat_keeps_no_account_of_its_members(tree: World) -> None:
    device = next(d for d in ordinary(tree) if peer_of(d).branches["/"].on_committee)
    peer = peer_of(device)
    assert peer.branches.keys() > set(path_to(device.settings.branch))
    kept = {record.slot[1] for record in peer.records.all() if isinstance(record.body, Presence)}
    assert kept == {device.settings.branch}
    assert {topic for topic in peer.following.topics() if topic.endswith("!")} == {
        path + "!" for path in path_to(device.settings.branch)
    }


def test_who_misses_nothing_compares_at_every_fourth_sync_interval_only(tree: World) -> None:
    gossip = peer_of(ordinary(tree)[1]).gossip
    gossip.found_gap()
    compared = [gossip.compare_with_some(settled=True) for _ in range(12)]
    assert compared == [True, True, False, *3 * [True, False, False, False]][:12]
    assert all(gossip.compare_with_some(settled=False) for _ in range(4))
    gossip.compare_with_some(settled=True)
    gossip.found_gap()
    assert gossip.compare_with_some(settled=True)
    peer_of(ordinary(tree)[1])._out.clear()


def test_a_vote_that_comes_when_others_have_decided_is_no_reason_to_compare(tree: World) -> None:
    device = next(
        each for each in ordinary(tree) if peer_of(each).branches[each.settings.branch].on_committee
    )
    peer, path = peer_of(device), device.settings.branch
    chain = peer.branches[path].chain
    voter = tree.devices[next(node for node in chain.committee if node != peer.me)]

    def answers(height: int, seq: int) -> list[Effect]:
        peer.gossip._asked_lately.clear()
        vote = Vote(path, height, 0, "precommit", b"", "")
        return peer.handle(
            MessageReceived(voter.name, sealed(tree, voter.signer, vote, 10**15 + seq)), peer.now
        )

    assert chain.height > 0
    assert not [effect for effect in answers(chain.height, 1) if isinstance(effect, Send)]
    assert [effect for effect in answers(chain.height - 1, 2) if isinstance(effect, Send)]  # it is far behind
    assert [effect for effect in answers(chain.height + 2, 3) if isinstance(effect, Send)]  # or we are


def test_an_update_is_pushed_again_once_its_round_has_lasted_a_sync_interval(tree: World) -> None:
    def announced(device: Device) -> bool:
        peer = peer_of(device)
        return not peer.branches[device.settings.branch].on_committee and peer.learner.update is not None

    assert tree.run(until=lambda: any(map(announced, ordinary(tree))))
    peer = peer_of(next(filter(announced, ordinary(tree))))
    update = peer.learner.update
    assert update is not None
    peer.now = update.envelope.time + tree.charter.gossip.sync_interval - 1
    peer._say_again()
    assert not peer._out
    peer.now += 1
    peer._say_again()
    assert [effect.data for effect in peer._out if isinstance(effect, Send)] == [update.envelope.data]
    peer._out.clear()
