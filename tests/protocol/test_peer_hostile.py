"""Whatever a peer sends, the core neither raises nor forgets to count."""

from __future__ import annotations

import random

import pytest

from banyan.protocol.effects import Effect, Emit, MessageReceived, Send, TimerFired
from banyan.protocol.events import MessageRefused
from banyan.protocol.messages import (
    Accusation,
    Bundle,
    Inventory,
    Opening,
    Presence,
    Proposal,
    Summary,
    TopicSummary,
    Vote,
    Want,
    body_of,
)
from banyan.protocol.peer import Peer
from banyan.protocol.release import Seat, opening
from banyan.security.credential import root_credential
from banyan.security.envelope import Envelope, seal
from banyan.security.evidence import Evidence
from banyan.security.identity import Identity, Signer
from banyan.simulations.device import Device
from banyan.simulations.world import World

STRANGER = Identity.from_seed(b"s" * 32)


@pytest.fixture(scope="module")
def overheard() -> tuple[World, Device, list[bytes]]:
    """A member of a running network, and everything that was said in it."""
    world = World(11, {"/": 6})
    heard: list[bytes] = []
    deliver = world.deliver
    world.deliver = lambda a, b, data: (heard.append(data), deliver(a, b, data))[1]  # type: ignore[method-assign]
    world.start()
    assert world.run(until=lambda: world.agreed("/", 2))
    return world, next(iter(world.devices.values())), heard


def feed(device: Device, sender: str, data: bytes, now: int) -> list[Effect]:
    peer = device.peer
    assert peer is not None
    return peer.handle(MessageReceived(sender, data), now)


def refusals(peer: Peer) -> int:
    return sum(peer.refusals.values())


def test_random_truncated_and_mutated_messages_are_refused_and_counted(
    overheard: tuple[World, Device, list[bytes]],
) -> None:
    world, device, heard = overheard
    assert device.peer is not None
    rng = random.Random(1)
    height = device.height("/")
    for number in range(2_000):
        data = bytearray(rng.choice(heard))
        if number % 3 == 0:
            data = bytearray(rng.randbytes(rng.randrange(300)))
        elif number % 3 == 1:
            del data[rng.randrange(len(data)) :]
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        before = refusals(device.peer)
        effects = feed(device, STRANGER.node_id, bytes(data), world.clock.now)
        assert refusals(device.peer) == before + 1
        assert [e for e in effects if isinstance(e, Emit) and isinstance(e.event, MessageRefused)]
        assert not [e for e in effects if isinstance(e, Send)]
    assert device.height("/") == height


def test_messages_heard_before_change_nothing(overheard: tuple[World, Device, list[bytes]]) -> None:
    world, device, heard = overheard
    assert device.peer is not None
    head = device.head("/")
    for data in heard:
        feed(device, STRANGER.node_id, data, world.clock.now)
    assert device.head("/") == head
    assert not device.peer.quarantined


@pytest.mark.parametrize(
    "message",
    [
        Summary(()),
        Inventory("/", 0, 255, ()),
        Want("/", (), 0),
        Bundle((b"x",)),
    ],
)
def test_a_stranger_gets_no_answer(overheard: tuple[World, Device, list[bytes]], message: object) -> None:
    world, device, _ = overheard
    assert device.peer is not None
    kind, body = body_of(message)
    network = world.charter.network_id
    now = world.clock.now
    data = seal(STRANGER, network=network, kind=kind, seq=now, time=now, body=body).data
    effects = feed(device, STRANGER.node_id, data, now)
    assert not [e for e in effects if isinstance(e, Send)]
    assert device.peer.refusals["stranger"]


def test_a_stranger_that_was_asked_may_bring_records_for_a_while_and_ask_nothing(
    overheard: tuple[World, Device, list[bytes]],
) -> None:
    world, device, _ = overheard
    peer, asked = device.peer, Identity.from_seed(b"a" * 32)
    assert peer is not None

    def refused(message: object, later: int) -> set[str]:
        kind, body = body_of(message)
        now = world.clock.now + later
        data = seal(asked, network=world.charter.network_id, kind=kind, seq=now, time=now, body=body).data
        return {e.event.reason for e in feed(device, asked.node_id, data, now) if isinstance(e, Emit)}

    brought = Bundle((b"x",))
    assert refused(brought, 0) == {"stranger"}
    peer.compare_with(asked.node_id)
    assert refused(brought, 1) == {"malformed"}, "the record, not the bundle"
    assert refused(Want("/", (), 0), 2) == {"stranger"}
    assert refused(brought, 1 + world.charter.gossip.sync_interval) == {"stranger"}


def asks(world: World, shown: bytes, now: int) -> bytes:
    """A stranger's summary, which says that it holds nothing of ``/``, with ``shown`` for its presence."""
    kind, body = body_of(Summary((TopicSummary("/", bytes(8), 0, b""),), shown))
    return seal(STRANGER, network=world.charter.network_id, kind=kind, seq=now, time=now, body=body).data


def test_who_shows_its_presence_with_its_question_is_answered_at_once(
    overheard: tuple[World, Device, list[bytes]],
) -> None:
    """Of two messages the question could arrive first, and half of all first questions were refused."""
    world, device, _ = overheard
    peer = woken(device)
    now = world.clock.now + 10_000
    root = world.devices[world.charter.roots[0]]
    credential = root_credential(root.signer, world.charter, now, STRANGER.node_id)
    kind, body = body_of(Presence("/", credential, ()))
    shown = seal(STRANGER, network=world.charter.network_id, kind=kind, seq=1, time=now, body=body).data
    effects = peer.handle(MessageReceived(STRANGER.node_id, asks(world, shown, now)), now)
    assert [e for e in effects if isinstance(e, Send) and e.to == (STRANGER.node_id,)]
    assert peer.members.get(STRANGER.node_id) is not None
    assert not peer.refusals


def test_the_presence_of_another_node_introduces_nobody(
    overheard: tuple[World, Device, list[bytes]],
) -> None:
    world, device, heard = overheard
    peer, now = woken(device), world.clock.now + 20_000
    other = next(data for data in heard if peer.open_envelope(data).kind == "presence")
    for number, shown in enumerate((other, heard[-1], b"x" * 600)):
        effects = peer.handle(
            MessageReceived(STRANGER.node_id, asks(world, shown, now + number)), now + number
        )
        assert not [e for e in effects if isinstance(e, Send)]
    assert sum(peer.refusals.values()) == 3
    assert not peer.is_member(STRANGER.node_id)


def woken(device: Device) -> Peer:
    """The device's core as it would come back from its disk."""
    world = device.world
    peer = Peer(world.charter, device.signer, device.settings, random.Random(1), world.verifier)
    peer.restore(list(device.records.values()), dict(device.state))
    return peer


def test_a_forwarded_control_message_is_refused(overheard: tuple[World, Device, list[bytes]]) -> None:
    world, device, _ = overheard
    assert device.peer is not None
    other = list(world.devices.values())[1]
    kind, body = body_of(Summary(()))
    now = world.clock.now
    data = seal(other.signer, network=world.charter.network_id, kind=kind, seq=now, time=now, body=body).data
    feed(device, STRANGER.node_id, data, now)
    assert device.peer.refusals["forwarded"]


@pytest.mark.parametrize("branch", ["net", "/#", "/@", "nowhere", "//"])
def test_a_record_of_a_branch_that_cannot_be_is_of_no_concern(
    overheard: tuple[World, Device, list[bytes]], branch: str
) -> None:
    """Such names once passed for topics: a stranger's opening raised, a member's presence never ended."""
    world, device, _ = overheard
    member = list(world.devices.values())[1]
    assert device.peer is not None
    now = world.clock.now
    messages = [
        (STRANGER, Opening(opening(branch, [Seat(STRANGER.node_id, 0, branch)], now))),
        (member.signer, Presence(branch, member.settings.credential, ())),
    ]
    for number, (signer, message) in enumerate(messages):
        kind, body = body_of(message)
        data = seal(
            signer, network=world.charter.network_id, kind=kind, seq=now + number, time=now, body=body
        ).data
        assert feed(device, signer.node_id, data, now) == []
    assert device.peer.handle(TimerFired("sync"), now)


def test_an_accusation_of_a_key_that_is_no_member_is_not_kept(
    overheard: tuple[World, Device, list[bytes]],
) -> None:
    """Anybody can make a key and have it contradict itself: every node would keep and pass on any number of these."""
    world, device, _ = overheard
    assert device.peer is not None
    network, now = world.charter.network_id, world.clock.now

    def sealed(signer: Signer, message: object, seq: int) -> Envelope:
        kind, body = body_of(message)
        return seal(signer, network=network, kind=kind, seq=seq, time=now, body=body)

    member = list(world.devices.values())[2].signer
    for culprit, kept in ((Identity.from_seed(b"k" * 32), False), (member, True)):
        twice = [sealed(culprit, Vote("/", 99, 0, "prevote", value, ""), 1) for value in (b"", bytes(32))]
        accusation = Accusation(culprit.node_id, Evidence.of(*twice))
        effects = feed(device, STRANGER.node_id, sealed(STRANGER, accusation, 1).data, now)
        assert bool(effects) is kept
        assert (culprit.node_id in device.peer.quarantined) is kept


def test_a_record_too_long_for_a_bundle_is_not_kept(overheard: tuple[World, Device, list[bytes]]) -> None:
    """One of these in a topic made every answer of sync end at it, so that latecomers missed all that came after."""
    world, device, _ = overheard
    assert device.peer is not None
    network, now = world.charter.network_id, world.clock.now
    culprit = list(world.devices.values())[3].signer
    head = device.peer.branches["/"].chain.head
    assert head is not None

    def proposal(valid_view: int) -> Envelope:
        kind, body = body_of(Proposal("/", 99, 0, valid_view, (b"x" * 1024,) * 29, head))
        return seal(culprit, network=network, kind=kind, seq=1, time=now, body=body)

    kind, body = body_of(Accusation(culprit.node_id, Evidence.of(proposal(-1), proposal(0))))
    data = seal(STRANGER, network=network, kind=kind, seq=1, time=now, body=body).data
    assert 63_488 < len(data) <= 65_536
    feed(device, STRANGER.node_id, data, now)
    assert device.peer.refusals["too-long"] == 1
    assert culprit.node_id not in device.peer.quarantined
