"""What those may do whom nobody vouches for: contribute as far as the rule survives them, and never decide."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from banyan.protocol.audit import Audit
from banyan.protocol.branch import Branch
from banyan.protocol.closing import Closing
from banyan.protocol.effects import (
    Aggregated,
    DropRecords,
    Effect,
    Emit,
    Inspected,
    MessageReceived,
    Send,
    TimerFired,
)
from banyan.protocol.events import UpdateLeftOut
from banyan.protocol.gossip import GUEST_MESSAGES
from banyan.protocol.judgement import Open, Problem, judge
from banyan.protocol.members import GUESTS
from banyan.protocol.messages import Accusation, Presence, State, Update, Want, body_of
from banyan.protocol.neighbourhood import Neighbourhood
from banyan.protocol.peer import Peer
from banyan.protocol.records import Record
from banyan.protocol.release import Contribution, LeftOut, Release, committee_of, guest_rank, next_roster
from banyan.protocol.round import ROOM, TURNS, Round, Status
from banyan.security.admission import Reason
from banyan.security.credential import is_guest, root_credential, self_credential
from banyan.security.envelope import seal
from banyan.security.errors import Refused
from banyan.simulations.signatures import FastSigner
from banyan.simulations.world import World, fast_preset

F = 2


def guest(number: int) -> FastSigner:
    return FastSigner(hashlib.sha256(f"guest {number}".encode()).digest())


class Running:
    """A member of an open network of seven, in its first round, and what guests say to it."""

    def __init__(self, seed: int = 1) -> None:
        policies = fast_preset(rule="geometric-median", f=F, min_updates=5)
        self.world = World(seed, {"/": 7}, policies, admission="open", fast_signatures=True)
        self.world.start()
        devices = list(self.world.devices.values())
        assert self.world.run(until=lambda: all(device.height("/") == 0 for device in devices))
        self.device = devices[0]
        self._seq = 0

    @property
    def peer(self) -> Peer:
        assert self.device.peer is not None
        return self.device.peer

    @property
    def branch(self) -> Branch:
        return self.peer.branches["/"]

    @property
    def round(self) -> Round:
        assert self.branch.round is not None
        return self.branch.round

    @property
    def closing(self) -> Closing:
        assert self.branch.closing is not None
        return self.branch.closing

    def sealed(self, signer: FastSigner, message: object) -> bytes:
        kind, body = body_of(message)
        self._seq += 1
        charter = self.world.charter
        return seal(
            signer, network=charter.network_id, kind=kind, seq=self._seq, time=self.world.clock.now, body=body,
            max_bytes=charter.limits.message_bytes,
        ).data  # fmt: skip

    def presence(self, signer: FastSigner, branch: str = "/") -> bytes:
        credential = self_credential(signer, self.world.charter, self.world.clock.now)
        return self.sealed(signer, Presence(branch, credential, ()))

    def update(self, signer: FastSigner, blob: bytes = b"\1" * 32) -> bytes:
        credential = self_credential(signer, self.world.charter, self.world.clock.now)
        base = self.round.base.digest
        return self.sealed(signer, Update("/", 1, base, blob, 100, credential, None, None))

    def hear(self, data: bytes) -> list[Effect]:
        return self.peer.handle(MessageReceived("somebody", data), self.world.clock.now)

    def admit(self, numbers: Sequence[int]) -> list[str]:
        """Have guests' updates admitted; their names in the order of their turns."""
        signers = [guest(number) for number in numbers]
        for number, signer in zip(numbers, signers, strict=True):
            blob = hashlib.sha256(str(number).encode()).digest()
            self.hear(self.update(signer, blob))
            self.peer.handle(Inspected(blob, None, 1.0, self.round.base.digest), self.world.clock.now)
        return sorted((s.node_id for s in signers), key=lambda name: guest_rank(self.round.base, name))

    def admit_members(self) -> None:
        assert self.world.run(until=lambda: self.count(guests=False) == 7)

    def count(self, *, guests: bool) -> int:
        candidates = self.round.candidates.values() if self.branch.round else ()
        return sum(each.guest is guests and each.status is Status.ADMITTED for each in candidates)

    def verdict(self, release: Release) -> Problem | Open | None:
        charter = self.world.charter
        return judge(release, self.round, charter, {}, lambda digest: None, self.world.clock.now)


@pytest.fixture(scope="module")
def crowded() -> Running:
    """A round with everybody's update and those of five guests, about to be closed."""
    running = Running()
    running.admit(range(5))
    running.admit_members()
    return running


# ------------------------------------------------------------------------------------ who is one


def test_a_root_and_whom_it_vouches_for_are_no_guests_and_who_vouches_for_itself_is_one() -> None:
    world = World(1, {"/": 5}, admission="open", fast_signatures=True)
    charter = world.charter
    root = world.devices[charter.roots[0]].signer
    assert not is_guest(root_credential(root, charter, 1), charter)
    assert not is_guest(root_credential(root, charter, 1, guest(1).node_id), charter)
    assert is_guest(self_credential(guest(1), charter, 1), charter)


def test_a_guest_that_contributes_takes_no_seat(crowded: Running) -> None:
    base, policy = crowded.round.base, crowded.world.charter.committee
    vote = Contribution("newcomer", bytes(32), bytes(32), 1, b"", 0)
    assert "newcomer" in {seat.member for seat in next_roster(base, [vote], [], {}, policy)}
    roster = next_roster(base, [replace(vote, guest=True)], [], {}, policy)
    assert "newcomer" not in {seat.member for seat in roster}


# ------------------------------------------------------------------------------------ what is counted


def test_a_leader_counts_f_guests_by_a_rank_that_follows_from_the_release_before(crowded: Running) -> None:
    draft = crowded.closing.draft()
    counted = [each.source for each in draft.used if each.guest]
    turns = [each.author for each in crowded.round.guests_here()]
    assert sorted(counted) == sorted(turns[:F])
    assert {LeftOut(name, Reason.GUEST_LIMIT.value) for name in turns[F:]} <= set(draft.left_out)
    assert draft.members == set(crowded.world.devices)
    assert crowded.round.count({}) == len(draft.used) == 7 + F
    assert crowded.verdict(draft) is None


def test_the_turns_of_guests_are_others_after_every_release(crowded: Running) -> None:
    base = crowded.round.base
    names = [guest(number).node_id for number in range(20)]
    first = {min(names, key=lambda name: guest_rank(replace(base, time=time), name)) for time in range(1, 40)}
    assert len(first) > 10


def counting(draft: Release, extra: Contribution, running: Running) -> Release:
    used = tuple(sorted((*draft.used, extra), key=lambda each: each.key))
    left_out = tuple(each for each in draft.left_out if each.source != extra.source)
    policy = running.world.charter.committee
    roster = next_roster(running.round.base, used, left_out, {}, policy)
    return replace(draft, used=used, left_out=left_out, roster=roster)


def vote_of(running: Running, turn: int, *, flagged: bool) -> Contribution:
    candidate = running.round.guests_here()[turn]
    update = candidate.update
    return Contribution(candidate.author, candidate.record.id, update.blob, update.size, b"", 0, flagged)


def test_a_leader_that_counts_one_guest_more_is_refused(crowded: Running) -> None:
    proposal = counting(crowded.closing.draft(), vote_of(crowded, F, flagged=True), crowded)
    found = crowded.verdict(proposal)
    assert isinstance(found, Problem)
    assert found.reason == "too-many-guests"


def test_a_leader_that_passes_a_guest_off_as_a_member_is_refused(crowded: Running) -> None:
    proposal = counting(crowded.closing.draft(), vote_of(crowded, F, flagged=False), crowded)
    found = crowded.verdict(proposal)
    assert isinstance(found, Problem)
    assert found.reason == "hidden-guest"


def test_a_leader_that_passes_a_member_off_as_a_guest_is_refused(crowded: Running) -> None:
    draft = crowded.closing.draft()
    used = tuple(replace(each, guest=each.guest or each.source == crowded.device.name) for each in draft.used)
    used = tuple(each for each in used if not each.guest or each.source == crowded.device.name)
    found = crowded.verdict(replace(draft, used=used))
    assert isinstance(found, Problem)
    assert found.reason == "hidden-guest"


def test_guests_that_are_left_out_are_no_censorship_and_members_are(crowded: Running) -> None:
    draft = crowded.closing.draft()

    def without(leave: Callable[[Contribution], bool]) -> Release:
        gone = [each.source for each in draft.used if leave(each)]
        used = tuple(each for each in draft.used if not leave(each))
        left_out = (*draft.left_out, *(LeftOut(name, "missing") for name in gone))
        policy = crowded.world.charter.committee
        roster = next_roster(crowded.round.base, used, left_out, {}, policy)
        return replace(draft, used=used, left_out=left_out, roster=roster)

    assert crowded.verdict(without(lambda each: each.guest)) is None
    three = sorted(crowded.world.devices)[: F + 1]
    crowded.round.need = 4
    found = crowded.verdict(without(lambda each: each.source in three))
    crowded.round.need = crowded.branch.need
    assert isinstance(found, Problem)
    assert found.reason == "censored"


def test_an_audit_finds_a_hidden_guest_and_one_too_many(crowded: Running) -> None:
    base, charter = crowded.round.base, crowded.world.charter
    draft = crowded.closing.draft()
    record = crowded.round.guests_here()[F].record
    honest = counting(draft, vote_of(crowded, F, flagged=True), crowded)
    hidden = counting(draft, vote_of(crowded, F, flagged=False), crowded)
    Audit(honest, base, charter, lambda *_: None).take(record)
    with pytest.raises(Refused, match="misquotes"):
        Audit(hidden, base, charter, lambda *_: None).take(record)
    sums = Aggregated("/", 1, bytes(32), bytes(32), 1, bytes(32), 1, None, agrees=True)
    assert "guests" in Audit(honest, base, charter, lambda *_: None).problem(sums)
    assert "guests" not in Audit(draft, base, charter, lambda *_: None).problem(sums)


def test_the_quorum_counts_no_more_than_f_guests_and_no_round_waits_for_one() -> None:
    running = Running()
    running.admit(range(8))
    assert running.round.count({}) == F
    assert not running.round.ready(running.world.clock.now + 10**6, {})
    running.hear(running.update(guest(8)))
    running.admit_members()
    assert running.round.ready(running.world.clock.now, {}), "the last guest's blob has not come"
    assert guest(8).node_id not in running.round.missing({}, running.world.clock.now)


def test_after_a_view_that_came_to_nothing_guests_are_counted_only_where_the_quorum_lacks_them(
    crowded: Running,
) -> None:
    now = crowded.world.clock.now
    assert not [each for each in crowded.round.contributions({}, now, spare_guests=True) if each.guest]
    crowded.round.need = 8
    spared = crowded.round.contributions({}, now, spare_guests=True)
    crowded.round.need = crowded.branch.need
    assert sum(each.guest for each in spared) == 1


# ------------------------------------------------------------------------------------ what is held


def test_only_the_guests_whose_turn_comes_first_are_held_and_the_others_are_told_of() -> None:
    running = Running()
    effects = [effect for n in range(40) for effect in running.hear(running.update(guest(n)))]
    names = [guest(n).node_id for n in range(40)]
    first = sorted(names, key=lambda name: guest_rank(running.round.base, name))[: ROOM * F]
    assert [each.author for each in running.round.guests_here()] == first
    told = [e.event for e in effects if isinstance(e, Emit) and isinstance(e.event, UpdateLeftOut)]
    assert {event.reason for event in told} == {"guest-limit"}
    assert {event.author for event in told} == set(names) - set(first)
    held = [
        r for r in running.peer.records.all() if isinstance(r.body, Update) and r.envelope.author in names
    ]
    assert len(held) == ROOM * F
    assert any(isinstance(effect, DropRecords) for effect in effects)
    assert running.peer.refusals["guest-limit"] > 0


def test_a_crowd_that_comes_in_the_worst_order_has_few_blobs_brought() -> None:
    running = Running()
    rank = lambda signer: guest_rank(running.round.base, signer.node_id)  # noqa: E731
    for signer in sorted((guest(n) for n in range(300)), key=rank, reverse=True):
        running.hear(running.update(signer))
    assert running.round.turns == TURNS
    assert len(running.round.guests_here()) == ROOM * F


def test_a_guest_that_a_proposal_counts_is_brought_into_a_full_house_and_in_the_place_of_its_other_update() -> (
    None
):
    """Else a leader and a crowd together, or one guest that contradicts itself, could hold up every round."""
    running = Running()
    two_faced, late = guest(0), guest(1)
    running.hear(running.update(two_faced, b"\1" * 32))
    other = running.update(two_faced, b"\2" * 32)
    running.hear(other)
    assert running.peer.refusals["equivocation"] == 1
    assert two_faced.node_id not in running.peer.quarantined
    assert not [r for r in running.peer.records.all() if isinstance(r.body, Accusation)]
    running.admit_members()
    running.round.turns = TURNS
    shown = running.update(late)
    running.hear(shown)
    assert late.node_id not in running.round.candidates
    reader = running.peer
    records: list[Record] = [reader.read(shown), reader.read(other)]
    draft = running.closing.draft()
    for record in records:
        assert isinstance(record.body, Update)
        vote = Contribution(record.envelope.author, record.id, record.body.blob, 100, b"", 0, guest=True)
        draft = counting(draft, vote, running)
    assert isinstance(running.verdict(draft), Open)
    running.closing._proposed[draft.digest] = draft
    for data in (shown, other):
        running.hear(data)
    assert all(running.round.find(record.id) for record in records)


def test_what_a_proposal_counts_stays_for_judges_and_auditors_whoever_comes_after() -> None:
    running = Running()
    last_first = sorted(
        range(40), key=lambda number: guest_rank(running.round.base, guest(number).node_id), reverse=True
    )
    running.admit(last_first[:4])
    running.admit_members()
    draft = running.closing.draft()
    running.closing._proposed[draft.digest] = draft
    for number in last_first[4:]:
        running.hear(running.update(guest(number)))
    counted = [each for each in draft.used if each.guest]
    assert len(counted) == F
    assert all(each.key in running.peer.records for each in counted)
    assert len(running.round.guests_here()) == ROOM * F


def test_a_proposal_that_counts_too_many_guests_keeps_no_place_for_them(crowded: Running) -> None:
    assert not crowded.closing.proposed_guests
    proposal = counting(crowded.closing.draft(), vote_of(crowded, F, flagged=True), crowded)
    crowded.closing._proposed[proposal.digest] = proposal
    assert not crowded.closing.proposed_guests
    del crowded.closing._proposed[proposal.digest]


def test_ten_thousand_guests_leave_no_more_than_a_full_house_behind_and_no_member_out() -> None:
    running = Running()
    peer, now = running.peer, running.world.clock.now
    before = len(list(peer.records.all()))
    members = {member.node for member in peer.members}
    for number in range(10_000):
        running.hear(running.presence(guest(number)))
    assert peer.refusals["guest-limit"] == 10_000 - GUESTS
    assert {member.node for member in peer.members if not member.guest} == members
    assert sum(member.guest for member in peer.members) == GUESTS
    assert len(list(peer.records.all())) == before + GUESTS
    assert len(peer.members.shown) <= len(running.world.devices)
    assert len(peer.members._met) <= len(running.world.devices)
    peer.handle(TimerFired("sync"), now + 60_000)
    assert not [member for member in peer.members if member.guest], "who says nothing more makes room"
    assert len(list(peer.records.all())) <= before


def test_a_guest_that_asks_on_and_on_is_answered_so_often_and_no_more() -> None:
    running = Running()
    signer = guest(1)
    running.hear(running.presence(signer))
    answered = 0
    for _ in range(3 * GUEST_MESSAGES):
        data = running.sealed(signer, Want("/", (), -1))
        effects = running.peer.handle(MessageReceived(signer.node_id, data), running.world.clock.now)
        answered += any(isinstance(effect, Send) for effect in effects)
    assert answered == GUEST_MESSAGES
    assert running.peer.refusals["guest-limit"] == 2 * GUEST_MESSAGES


def test_a_guest_of_a_branch_that_does_not_exist_is_refused() -> None:
    running = Running()
    signer = guest(1)
    data = running.presence(signer, "/nowhere")
    running.peer.handle(MessageReceived(signer.node_id, data), running.world.clock.now)
    assert running.peer.refusals["unknown-branch"] == 1


def test_at_most_half_of_the_neighbours_in_gossip_are_guests() -> None:
    running = Running()
    for number in range(GUESTS):
        running.hear(running.presence(guest(number)))
    fanout = running.world.charter.gossip.fanout
    for _ in range(50):
        drawn = running.peer.gossip.followers.some("/")
        assert len(drawn) == fanout
        assert sum(running.peer.members.is_guest(node) for node in drawn) <= fanout // 2


def test_a_crowd_cannot_put_off_the_opening_of_a_branch_nor_be_its_roster() -> None:
    policies = fast_preset(rule="geometric-median", f=F, min_updates=5)
    world = World(3, {"/": 12}, policies, admission="open", guests=9, fast_signatures=True)
    world.start()
    root = world.devices[world.charter.roots[0]]
    assert world.run(until=lambda: root.height("/") >= 0)
    assert root.peer is not None
    head = root.peer.branches["/"].chain.at(0)
    assert head is not None
    vouched = {d.name for d in world.devices.values() if not is_guest(d.settings.credential, world.charter)}
    assert head.members == vouched
    assert set(committee_of(head, world.charter.committee)) <= vouched


def test_at_most_f_of_those_whose_models_a_node_mixes_are_guests() -> None:
    policies = fast_preset(coordination="gossip")
    world = World(2, {"/": 12}, policies, admission="open", guests=7, fast_signatures=True)
    world.start()
    devices = list(world.devices.values())
    assert world.run(until=lambda: all(device.steps() >= 2 for device in devices))
    for device in devices:
        assert device.peer is not None
        near: Neighbourhood = device.peer.mixer.neighbourhood
        states: list[State] = [offer.state for offer in near._offers.values()]
        guests = [state for state in states if is_guest(state.credential, world.charter)]
        assert len(guests) <= world.charter.mixing.f
        assert len(states) > len(guests)
