"""One round of a branch as a committee member sees it: which updates came, what became of each, is it time to close.

A round never drops anything silently: every source that was expected or that sent something is either used or
left out with a reason, and a round without its quorum waits and can say for what.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from banyan.protocol.messages import Update
from banyan.protocol.records import Record
from banyan.protocol.release import ChildHead, Contribution, LeftOut, Release, guest_rank
from banyan.security.admission import Reason

__all__ = ["Candidate", "Child", "Round", "Status"]

PATIENCE: Final = 3
"""Attempts, a sync interval apart, to bring an announced blob before a round no longer waits for it: a member that
announces updates and serves none would make each last until its deadline. What arrives later still counts."""


ROOM: Final = 4
"""Guests whose updates are held for each one that a round may count: so many of the first may turn out bad."""

MOST_ROOM: Final = 32
"""Guests whose updates are held in all, whatever the charter's ``f``."""

TURNS: Final = 64
"""Guests whose updates are brought in one round at most: blobs cost traffic before anyone can tell what they are."""


class Status(Enum):
    """Where an update stands on its way through admission."""

    FETCHING = "fetching"
    INSPECTING = "inspecting"
    ADMITTED = "admitted"
    REFUSED = "refused"


@dataclass(slots=True)
class Candidate:
    """An announced update of a member, and what this node has found out about it."""

    record: Record
    update: Update
    status: Status = Status.FETCHING
    reason: Reason | None = None
    norm: float = 0.0
    guest: bool = False
    failures: int = 0
    """How often its blob could not be brought from anybody."""

    @property
    def author(self) -> str:
        return self.record.envelope.author

    @property
    def is_awaited(self) -> bool:
        """Whether the round should wait for it: it is on its way, and not withheld."""
        on_the_way = self.status in (Status.FETCHING, Status.INSPECTING)
        return on_the_way and not self.guest and self.failures < PATIENCE


@dataclass(frozen=True, slots=True)
class Child:
    """A child branch's newest certified release, and who may speak for the child at this branch."""

    head: ChildHead
    delegates: tuple[str, ...]


@dataclass(slots=True)
class Round:
    """The round after ``base``.

    Args:
        base: the head that members train from.
        need: the fewest contributions the round closes with.
        deadline: milliseconds from the first admitted update to closing without the missing.
        guests: the most contributions of guests that count: the ``f`` that the rule survives, since all may be one
            person's. So at least ``need - guests`` members take part in every round.
    """

    base: Release
    need: int
    deadline: int
    guests: int = 0
    opened: int | None = None
    candidates: dict[str, Candidate] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    turns: int = 0
    asleep: frozenset[str] = frozenset()
    """Children that nobody works on: no round waits for them."""
    _expected: frozenset[str] | None = None

    @property
    def height(self) -> int:
        return self.base.height + 1

    def find(self, key: bytes) -> Candidate | None:
        """The candidate whose update record has the id ``key``."""
        return next((each for each in self.candidates.values() if each.record.id == key), None)

    def waiting_for_blob(self, blob: bytes) -> list[Candidate]:
        """Candidates that are not decided and hang on ``blob``."""
        undecided = (Status.FETCHING, Status.INSPECTING)
        return [c for c in self.candidates.values() if c.update.blob == blob and c.status in undecided]

    # ------------------------------------------------------------------------------------ guests

    def guests_here(self) -> list[Candidate]:
        """The guests' updates that are held, in the order of their turns."""
        guests = [each for each in self.candidates.values() if each.guest]
        return sorted(guests, key=lambda each: guest_rank(self.base, each.author))

    def has_room_for(self, guest: str) -> bool:
        """Whether to bring the update of one more guest: there is room, or its turn comes before another's."""
        held = self.guests_here()
        if guest in self.candidates:
            return True
        if self.turns >= TURNS or not self._room:
            return False
        last = held[-1].author if len(held) >= self._room else None
        return last is None or guest_rank(self.base, guest) < guest_rank(self.base, last)

    def take(self, candidate: Candidate, proposed: Container[bytes] = ()) -> Candidate | None:
        """Hold one more update. Returns the guest's that has to go for it, never one that is ``proposed``."""
        self.candidates[candidate.author] = candidate
        if not candidate.guest:
            return None
        self.turns += 1
        held = self.guests_here()
        last = [each for each in held if each.record.id not in proposed][-1:]
        if len(held) <= self._room or not last:
            return None
        return self.candidates.pop(last[0].author)

    @property
    def _room(self) -> int:
        return min(ROOM * self.guests, MOST_ROOM)

    # ------------------------------------------------------------------------------------ what would be used

    def fresh_children(self) -> list[Child]:
        """Children with a release that this branch has not counted yet, by path."""
        counted = {child.branch: child.height for child in self.base.children}
        fresh = (
            child for child in self.children.values() if child.head.height > counted.get(child.head.branch, 0)
        )
        return sorted(fresh, key=lambda child: child.head.branch)

    def contributions(
        self, quarantined: Mapping[str, Reason], *, spare_guests: bool = False
    ) -> tuple[Contribution, ...]:
        """Everything admitted, of guests those whose turn it is, in the order of the keys: what a leader would use now.

        With ``spare_guests`` no more guests than the quorum lacks.
        """
        members, guests = self._admitted(quarantined)
        most = self.guests
        if spare_guests:
            most = min(most, max(0, self.need - len(members) - len(self.fresh_children())))
        used = [
            Contribution(each.author, each.record.id, each.update.blob, each.update.size, b"", 0, each.guest)
            for each in (*members, *guests[:most])
        ]
        counted = {child.branch: child for child in self.base.children}
        for child in self.fresh_children():
            head, before = child.head, counted.get(child.head.branch)
            minus, minus_size = (before.adapter, before.size) if before else (b"", 0)
            used.append(Contribution(head.branch, head.release, head.adapter, head.size, minus, minus_size))
        return tuple(sorted(used, key=lambda each: each.key))

    def count(self, quarantined: Mapping[str, Reason]) -> int:
        """How many :meth:`contributions` there are."""
        members, guests = self._admitted(quarantined)
        return len(members) + min(len(guests), self.guests) + len(self.fresh_children())

    def crowded_out(self, quarantined: Mapping[str, Reason]) -> list[Candidate]:
        """The guests whose admitted updates are more than count."""
        return self._admitted(quarantined)[1][self.guests :]

    def _admitted(self, quarantined: Mapping[str, Reason]) -> tuple[list[Candidate], list[Candidate]]:
        """The admitted updates of members, and those of guests in the order of their turns."""
        here = [
            each
            for author, each in self.candidates.items()
            if each.status is Status.ADMITTED and author not in quarantined
        ]
        guests = [each for each in here if each.guest]
        if guests:
            guests.sort(key=lambda each: guest_rank(self.base, each.author))
            here = [each for each in here if not each.guest]
        return here, guests

    def expected(self) -> frozenset[str]:
        """Who should have a say: the direct members on the roster and the children that ever had one."""
        if self._expected is None:
            direct = {seat.member for seat in self.base.roster if seat.speaks_for == self.base.branch}
            self._expected = frozenset(direct | {child.branch for child in self.base.children})
        return self._expected

    def left_out(
        self, used: Iterable[Contribution], quarantined: Mapping[str, Reason]
    ) -> tuple[LeftOut, ...]:
        """Everyone expected, then everyone heard of, who is not used, with the reason."""
        sources, expected = {each.source for each in used}, self.expected()
        rest = sorted(expected - sources) + sorted(self.candidates.keys() - expected - sources)
        return tuple(LeftOut(source, self._why(source, quarantined).value) for source in rest)

    def _why(self, source: str, quarantined: Mapping[str, Reason]) -> Reason:
        if source in quarantined:
            return quarantined[source]
        candidate = self.candidates.get(source)
        if candidate is None:
            return Reason.MISSING
        if candidate.guest and candidate.status is Status.ADMITTED:
            return Reason.GUEST_LIMIT
        return candidate.reason or Reason.UNAVAILABLE

    def missing(self, quarantined: Mapping[str, Reason]) -> tuple[str, ...]:
        """The expected sources from which nothing has been decided yet."""
        settled = {child.head.branch for child in self.fresh_children()} | quarantined.keys()
        settled |= {author for author, each in self.candidates.items() if not each.is_awaited} | self.asleep
        return tuple(sorted(self.expected() - settled))

    def ready(self, now: int, quarantined: Mapping[str, Reason]) -> bool:
        """Whether to close: the quorum is there, and everybody has reported or the deadline has passed. No round
        waits for a guest: a crowd could make every one last until its deadline."""
        if self.opened is None:
            return False
        due = now >= self.opened + self.deadline
        heard = len(self.candidates) + len(self.children) + len(quarantined) + len(self.asleep)
        if not due and heard < len(self.expected()):
            return False  # somebody is missing, whoever it is: this is asked at every update of a round
        if self.count(quarantined) < self.need:
            return False
        if due:
            return True
        awaited = any(each.is_awaited for each in self.candidates.values())
        return not awaited and not self.missing(quarantined)
