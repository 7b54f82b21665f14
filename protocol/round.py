"""One round of a branch as a committee member sees it: which updates came, what became of each, is it time to close.

A round never drops anything silently: every source that was expected or that sent something is either used or
left out with a reason, and a round without its quorum waits and can say for what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from banyan.protocol.messages import Update
from banyan.protocol.records import Record
from banyan.protocol.release import ChildHead, Contribution, LeftOut, Release
from banyan.security.admission import Reason

__all__ = ["Candidate", "Child", "Round", "Status"]


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
    """

    base: Release
    need: int
    deadline: int
    opened: int | None = None
    candidates: dict[str, Candidate] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)

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

    def fresh_children(self) -> list[Child]:
        """Children with a release that this branch has not counted yet, by path."""
        counted = {child.branch: child.height for child in self.base.children}
        fresh = (
            child for child in self.children.values() if child.head.height > counted.get(child.head.branch, 0)
        )
        return sorted(fresh, key=lambda child: child.head.branch)

    def contributions(self, quarantined: Mapping[str, Reason]) -> tuple[Contribution, ...]:
        """Everything admitted, in the order of the keys: what a leader would use now."""
        used = [
            Contribution(author, each.record.id, each.update.blob, each.update.size, b"", 0)
            for author, each in self.candidates.items()
            if each.status is Status.ADMITTED and author not in quarantined
        ]
        counted = {child.branch: child for child in self.base.children}
        for child in self.fresh_children():
            head, before = child.head, counted.get(child.head.branch)
            minus, minus_size = (before.adapter, before.size) if before else (b"", 0)
            used.append(Contribution(head.branch, head.release, head.adapter, head.size, minus, minus_size))
        return tuple(sorted(used, key=lambda each: each.key))

    def count(self, quarantined: Mapping[str, Reason]) -> int:
        """How many :meth:`contributions` there are."""
        admitted = [author for author, each in self.candidates.items() if each.status is Status.ADMITTED]
        return sum(author not in quarantined for author in admitted) + len(self.fresh_children())

    def expected(self) -> set[str]:
        """Who should have a say: the direct members on the roster and the children that ever had one."""
        direct = {seat.member for seat in self.base.roster if seat.speaks_for == self.base.branch}
        return direct | {child.branch for child in self.base.children}

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
        return candidate.reason or Reason.UNAVAILABLE

    def missing(self, quarantined: Mapping[str, Reason]) -> tuple[str, ...]:
        """The expected sources from which nothing has been decided yet."""
        settled = {child.head.branch for child in self.fresh_children()} | quarantined.keys()
        settled |= {a for a, c in self.candidates.items() if c.status in (Status.ADMITTED, Status.REFUSED)}
        return tuple(sorted(self.expected() - settled))

    def ready(self, now: int, quarantined: Mapping[str, Reason]) -> bool:
        """Whether to close: the quorum is there, and everybody has reported or the deadline has passed."""
        if self.opened is None or self.count(quarantined) < self.need:
            return False
        if now >= self.opened + self.deadline:
            return True
        undecided = any(c.status in (Status.FETCHING, Status.INSPECTING) for c in self.candidates.values())
        return not undecided and not self.missing(quarantined)
