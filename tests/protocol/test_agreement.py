"""The agreement of one height: safe under any schedule with f liars, live once messages arrive."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banyan.protocol.agreement import (
    NOTHING,
    Agreement,
    Ask,
    Cast,
    Decided,
    Move,
    Propose,
    TimeOut,
    ViewStarted,
    faults_of,
    quorum_of,
)

GOOD = b"good"


class Table:
    """A committee around a table: every move of a member becomes mail or a timer, delivered in seeded order."""

    def __init__(self, members: int, liars: int, seed: int, loss: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self.names = [f"m{number}" for number in range(members)]
        self.liars = set(self.names[:liars])
        self.loss = loss
        self.members = {n: Agreement(self.names, n, 1000) for n in self.names if n not in self.liars}
        self.mail: list[Callable[[], None]] = []
        self.lost: list[Callable[[], None]] = []
        self.timers: list[Callable[[], None]] = []
        self.decided: dict[str, bytes] = {}
        self.said: dict[tuple[str, str, int], bytes] = {}

    def start(self) -> None:
        for name, member in self.members.items():
            self.act(name, member.start())

    def act(self, name: str, moves: list[Move]) -> None:
        member = self.members[name]
        for move in moves:
            match move:
                case Propose(view=view, value=value, valid_view=valid_view):
                    proposed = value if value is not None else b"from " + name.encode()
                    backers = member.voted("prevote", valid_view, proposed)
                    self.broadcast(lambda m, b=backers, p=proposed, vv=valid_view: self.prove(m, vv, b, p))
                    self.broadcast(lambda m, v=view, p=proposed, vv=valid_view: m.proposal(v, p, vv))
                case Cast(phase=phase, view=view, value=value):
                    key = (name, phase, view)
                    assert self.said.setdefault(key, value) == value, "signed two values for one view"
                    self.broadcast(lambda m, p=phase, v=view, n=name, x=value: m.vote(p, v, n, x))
                case Ask(value=value):
                    problem = "" if value.startswith((b"from ", GOOD)) else "invalid"
                    self.mail.append(
                        lambda n=name, x=value, p=problem: self.feed(n, lambda m: m.verdict(x, p))
                    )
                case TimeOut(view=view, step=step):
                    self.timers.append(
                        lambda n=name, v=view, s=step: self.feed(n, lambda m: m.timed_out(v, s))
                    )
                case Decided(value=value):
                    self.decided[name] = value
                case ViewStarted():
                    assert member.view >= 0

    def feed(self, name: str, event: Callable[[Agreement], list[Move]]) -> None:
        self.act(name, event(self.members[name]))

    def broadcast(self, event: Callable[[Agreement], list[Move]]) -> None:
        for name in self.members:
            box = self.lost if self.rng.random() < self.loss else self.mail
            box.append(lambda n=name: self.feed(n, event))

    def prove(self, member: Agreement, view: int, backers: list[str], value: bytes) -> list[Move]:
        """The signatures that travel with a proposal."""
        return [move for name in backers for move in member.vote("prevote", view, name, value)]

    def lie(self) -> None:
        """A liar says something random to somebody random, as the leader or as a voter."""
        liar, name = self.rng.choice(sorted(self.liars)), self.rng.choice(sorted(self.members))
        view = self.rng.randrange(4)
        value = self.rng.choice([NOTHING, GOOD, b"bad", *(b"from " + n.encode() for n in self.names)])
        phase = self.rng.choice(["prevote", "precommit"])
        if self.rng.random() < 0.3 and self.names[view % len(self.names)] == liar:
            self.feed(name, lambda m: m.proposal(view, value or GOOD, self.rng.randrange(-1, view + 1)))
        else:
            self.feed(name, lambda m: m.vote(phase, view, liar, value))

    def run(self, steps: int, impatience: float = 0.05) -> None:
        """Deliver mail in random order; a timer may fire while there is mail with probability ``impatience``."""
        for _ in range(steps):
            if self.liars and self.rng.random() < 0.2:
                self.lie()
            early = self.rng.random() < impatience
            queue = self.timers if self.timers and (early or not self.mail) else self.mail
            if queue:
                queue.pop(self.rng.randrange(len(queue)))()
            if len(self.decided) == len(self.members):
                return

    def recover(self) -> None:
        """From now on nothing is lost, and what was lost arrives after all."""
        self.loss = 0.0
        self.mail += self.lost
        self.lost.clear()


@pytest.mark.parametrize(
    ("members", "faults", "quorum"),
    [(1, 0, 1), (2, 0, 2), (3, 0, 2), (4, 1, 3), (5, 1, 4), (6, 1, 4), (7, 2, 5), (10, 3, 7)],
)
def test_a_quorum_is_the_least_whose_pairs_share_an_honest_member(
    members: int, faults: int, quorum: int
) -> None:
    assert faults_of(members) == faults
    assert quorum_of(members) == quorum
    assert 2 * quorum - members > faults
    assert quorum <= members - faults


@pytest.mark.parametrize("members", [1, 2, 3, 4, 7])
def test_an_honest_committee_decides_on_its_first_leaders_proposal(members: int) -> None:
    table = Table(members, 0, seed=1)
    table.start()
    table.run(10_000, impatience=0)
    assert set(table.decided.values()) == {b"from m0"}
    assert len(table.decided) == members


def test_a_silent_leader_costs_one_view() -> None:
    table = Table(4, 1, seed=2)
    table.lie = lambda: None  # type: ignore[method-assign]
    table.start()
    table.run(10_000, impatience=0)
    assert set(table.decided.values()) == {b"from m1"}


def test_a_leader_whose_proposal_is_invalid_is_passed_over() -> None:
    names = ["a", "b", "c", "d"]
    member = Agreement(names, "b", 1000)
    member.start()
    assert Ask(0, b"bad") in member.proposal(0, b"bad", -1)
    assert Cast("prevote", 0, NOTHING, "wrong sums") in member.verdict(b"bad", "wrong sums")


@given(seed=st.integers(0, 2**32), members=st.integers(4, 8), loss=st.sampled_from([0.0, 0.1, 0.4]))
@settings(max_examples=150, deadline=None)
def test_no_schedule_and_no_f_liars_make_two_members_decide_differently(
    seed: int, members: int, loss: float
) -> None:
    table = Table(members, faults_of(members), seed, loss)
    table.start()
    table.run(2_000)
    assert len(set(table.decided.values())) <= 1


@given(seed=st.integers(0, 2**32), members=st.integers(4, 7))
@settings(max_examples=50, deadline=None)
def test_once_messages_arrive_every_honest_member_decides(seed: int, members: int) -> None:
    table = Table(members, faults_of(members), seed, loss=0.5)
    table.start()
    table.run(300)
    table.recover()
    table.run(20_000, impatience=0)
    assert len(table.decided) == len(table.members)
    assert len(set(table.decided.values())) == 1


def test_a_member_that_restarts_remembers_its_lock_and_never_contradicts_itself() -> None:
    names = ["a", "b", "c", "d"]
    before = Agreement(names, "d", 1000)
    before.start()
    before.proposal(0, GOOD, -1)
    before.verdict(GOOD, "")
    before.vote("prevote", 0, "a", GOOD)
    assert Cast("precommit", 0, GOOD) in before.vote("prevote", 0, "b", GOOD)

    after = Agreement(names, "d", 1000)
    after.recall("prevote", 0, GOOD)
    after.recall("precommit", 0, GOOD)
    after.resume()
    for member in "abc":
        after.vote("precommit", 0, member, NOTHING)
    after.timed_out(0, "precommit")
    assert after.view == 1
    after.proposal(1, b"from b", -1)
    assert Cast("prevote", 1, NOTHING, "locked on another release") in after.verdict(b"from b", "")


def test_what_a_quorum_backed_is_accepted_by_one_that_could_not_find_it_valid_itself() -> None:
    """Of four, one lies: it helps lock one member and falls silent. If another had found the release wanting, say
    because the liar was proved a cheat in the meantime, the three could once never agree on anything."""
    names = ["liar", "locked", "other", "late"]
    late = Agreement(names, "late", 1000)
    late.start()
    late.proposal(0, GOOD, -1)
    said = [move for move in late.verdict(GOOD, "quarantined") if isinstance(move, Cast)]
    assert [(cast.phase, cast.value) for cast in said] == [("prevote", NOTHING)]
    late.timed_out(0, "precommit")
    for backer in names[:3]:
        late.vote("prevote", 0, backer, GOOD)
    said = [move for move in late.proposal(1, GOOD, 0) if isinstance(move, Cast)]
    assert [(cast.phase, cast.value) for cast in said] == [("prevote", GOOD)]
    late.vote("prevote", 1, "locked", GOOD)
    said = [move for move in late.vote("prevote", 1, "other", GOOD) if isinstance(move, Cast)]
    assert [(cast.phase, cast.value) for cast in said] == [("precommit", GOOD)]


def test_a_member_that_may_have_forgotten_its_votes_listens_until_it_speaks_again() -> None:
    """It counts the others' votes, signs nothing, and keeps to the vote of its own that comes back."""
    names = ["a", "b", "c", "d"]
    member = Agreement(names, "b", 1000, is_mute=True)
    assert member.start() == []
    assert member.proposal(0, GOOD, -1) == []
    assert member.vote("prevote", 0, "b", NOTHING) == [], "what it had said"
    assert [*member.vote("prevote", 1, "c", NOTHING), *member.vote("prevote", 1, "d", NOTHING)] == []
    assert member.timed_out(0, "propose") == []
    moves = member.speak()
    assert not member.is_mute and member.speak() == []
    assert ViewStarted(1, "b") in moves, "where the others are"
    assert not [move for move in moves if isinstance(move, Cast) and move.view == 0]


def test_a_member_that_only_listens_still_hears_what_the_others_decide() -> None:
    member = Agreement(["a", "b", "c", "d"], "b", 1000, is_mute=True)
    member.proposal(0, GOOD, -1)
    moves = [move for name in ("a", "c", "d") for move in member.vote("precommit", 0, name, GOOD)]
    assert moves == [Decided(0, GOOD)]


def test_a_vote_that_has_come_back_is_not_cast_again_for_another_value() -> None:
    member = Agreement(["a", "b", "c", "d"], "b", 1000, is_mute=True)
    member.vote("prevote", 0, "b", NOTHING)
    member.speak()
    member.start()
    member.proposal(0, GOOD, -1)
    assert not [move for move in member.verdict(GOOD, "") if isinstance(move, Cast)]
