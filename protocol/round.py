"""One round of a branch as a committee member sees it: which updates came, what became of each, is it time to close.

A round never drops anything silently: every source that was expected or that sent something is either used or
left out with a reason, and a round without its quorum waits and can say for what.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import median
from typing import Final

from banyan.aggregation import build
from banyan.protocol.messages import Update
from banyan.protocol.plateau import progress_of
from banyan.protocol.records import Record
from banyan.protocol.release import (
    ChildHead,
    Contribution,
    LeftOut,
    Losses,
    Progress,
    Release,
    guest_rank,
)
from banyan.protocol.transfer import Due, Measure, Measured, Transfer, Verdict
from banyan.security.admission import Reason
from banyan.security.charter import Charter
from banyan.security.quick import quick

__all__ = ["Candidate", "Child", "Round", "Status", "keys_of", "losses_of", "need_of", "quote"]

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
        return self.status is Status.FETCHING and not self.guest and self.failures < PATIENCE


@quick
@dataclass(frozen=True, slots=True)
class Child:
    """A child branch's newest certified release, and who may speak for the child at this branch."""

    release: Release
    delegates: tuple[str, ...]

    @property
    def head(self) -> ChildHead:
        """How this branch quotes it."""
        memo, release = self.release.memo, self.release
        if "quoted" not in memo:
            memo["quoted"] = ChildHead(release.branch, release.height, release.digest)
        head: ChildHead = memo["quoted"]
        return head


@dataclass(slots=True)
class Round:
    """The round after ``base``.

    Args:
        base: the head that members train from.
        need: the fewest updates of members that are counted.
        transfer: when what the children share is lifted.
        deadline: milliseconds from the first admitted update to closing without the missing.
        guests: the most contributions of guests that count: the ``f`` that the rule survives, since all may be one
            person's. So at least ``need - guests`` members take part in every round.
    """

    base: Release
    need: int
    transfer: Transfer
    deadline: int
    guests: int = 0
    opened: int | None = None
    candidates: dict[str, Candidate] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    measured: dict[frozenset[bytes], Measured] = field(default_factory=dict)
    """What is known of lifts, by the digests of the children's releases."""
    turns: int = 0
    asleep: frozenset[str] = frozenset()
    """Children that nobody works on: no round waits for them."""
    _expected: frozenset[str] | None = None
    _on_blob: dict[bytes, list[Candidate]] = field(default_factory=dict)
    """Candidates by their blobs, some of them let go since."""

    @property
    def height(self) -> int:
        return self.base.height + 1

    def find(self, key: bytes, author: str = "") -> Candidate | None:
        """The candidate whose update record has the id ``key``, whoever's it is; ``author``'s is looked at first."""
        named = self.candidates.get(author)
        if named is not None and named.record.id == key:
            return named
        return next((each for each in self.candidates.values() if each.record.id == key), None)

    def waiting_for_blob(self, blob: bytes) -> list[Candidate]:
        """Candidates that are not decided and hang on ``blob``."""
        here = (each for each in self._on_blob.get(blob, ()) if self.candidates.get(each.author) is each)
        return [each for each in here if each.status is Status.FETCHING]

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
        self._on_blob.setdefault(candidate.update.blob, []).append(candidate)
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

    def fresh_children(self, now: int) -> list[Child]:
        """Those of the :meth:`electorate` with a release that this branch has not counted yet."""
        return [child for child in self.electorate(now) if self.is_new(child)]

    def electorate(self, now: int) -> list[Child]:
        """Every child whose newest release here is of this branch's season and not too old, by path: a lift counts them
        all, those again that have not moved since the last, or whoever is quick could be a majority of two."""
        here = (
            each
            for each in self.children.values()
            if each.release.season == self.base.season and self.transfer.is_recent(each.release.time, now)
        )
        return sorted(here, key=lambda child: child.release.branch)

    def is_new(self, child: Child) -> bool:
        """Whether this branch has not counted the child's release yet."""
        return child.release.height > self.base.child_heights.get(child.release.branch, 0)

    def verdict(self, children: Sequence[Child], time: int, *, judging: bool = False) -> Verdict:
        """Whether a release of ``time`` may lift what ``children`` share; ``judging``: another's."""
        since = time - self.base.lifted_at if self.base.lifted_at else None
        moved = sum(map(self.is_new, children))
        measured = self.measured.get(keys_of(children))
        return self.transfer.verdict(len(children), moved, since, measured, judging=judging)

    def lifts(self, now: int) -> list[Child]:
        """The children that a leader would count now: all, or none while it is not time."""
        children = self.electorate(now)
        return children if isinstance(self.verdict(children, now), Due) else []

    def to_measure(self, now: int, quarantined: Mapping[str, Reason]) -> list[Child]:
        """The children whose lift has to be measured before the round can close."""
        if not self.transfer.measures or len(self.children) < self.transfer.need:
            return []
        if not self._all_reported(now, quarantined):
            return []
        children = self.electorate(now)
        return children if isinstance(self.verdict(children, now), Measure) else []

    def contributions(
        self, quarantined: Mapping[str, Reason], now: int, *, spare_guests: bool = False
    ) -> tuple[Contribution, ...]:
        """What a leader would use now, in the order of the keys: the updates of members, of guests those whose turn it
        is, if they are a quorum; and the children if it is time for a lift.

        With ``spare_guests`` no more guests than the quorum lacks.
        """
        members, guests = self._admitted(quarantined)
        most = min(self.guests, max(0, self.need - len(members))) if spare_guests else self.guests
        counted = [*members, *guests[:most]]
        used = [
            Contribution(each.author, each.record.id, each.update.blob, each.update.size, b"", 0, each.guest)
            for each in (counted if len(counted) >= self.need else ())
        ]
        return tuple(sorted([*used, *map(quote, self.lifts(now))], key=lambda each: each.key))

    def reported(self, used: Iterable[Contribution]) -> Losses | None:
        """What the updates among ``used`` reported."""
        found = (self.find(each.key, each.source) for each in used if not each.is_child)
        return losses_of(candidate.update for candidate in found if candidate is not None)

    def progress(self, used: Iterable[Contribution], charter: Charter) -> Progress | None:
        """What a release that uses these says of how much members gain."""
        members = (each for each in used if not each.is_child and not each.guest)
        found = (self.find(each.key, each.source) for each in members)
        return progress_of(self.base, [each.update for each in found if each is not None], charter)

    def count(self, quarantined: Mapping[str, Reason]) -> int:
        """How many updates of members are admitted, with as many guests as may count."""
        members, guests = self._admitted(quarantined)
        return len(members) + min(len(guests), self.guests)

    def standing(self, quarantined: Mapping[str, Reason], now: int) -> tuple[int, int]:
        """How much of what the round needs is here, and what it needs: updates, or children where nobody works."""
        if self.candidates or any(not source.startswith("/") for source in self.expected()):
            return self.count(quarantined), self.need
        return len(self.fresh_children(now)), self.transfer.need_moved

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
        self, used: Iterable[Contribution], quarantined: Mapping[str, Reason], now: int
    ) -> tuple[LeftOut, ...]:
        """Everyone expected, then everyone heard of, who is not used, with the reason."""
        sources, expected = {each.source for each in used}, self.expected()
        rest = sorted(expected - sources) + sorted(self.candidates.keys() - expected - sources)
        return tuple(LeftOut(source, self._why(source, quarantined, now).value) for source in rest)

    def _why(self, source: str, quarantined: Mapping[str, Reason], now: int) -> Reason:
        if source in quarantined:
            return quarantined[source]
        candidate = self.candidates.get(source)
        if source.startswith("/"):
            fresh = {child.head.branch for child in self.fresh_children(now)}
            return Reason.NOT_LIFTED if source in fresh else Reason.MISSING
        if candidate is None:
            return Reason.MISSING
        if candidate.guest and candidate.status is Status.ADMITTED:
            return Reason.GUEST_LIMIT
        if candidate.status is Status.ADMITTED and self.count(quarantined) < self.need:
            return Reason.TOO_FEW
        return candidate.reason or Reason.UNAVAILABLE

    def missing(self, quarantined: Mapping[str, Reason], now: int) -> tuple[str, ...]:
        """The expected sources from which nothing has been decided yet."""
        settled = {child.head.branch for child in self.fresh_children(now)} | quarantined.keys()
        settled |= {author for author, each in self.candidates.items() if not each.is_awaited} | self.asleep
        return tuple(sorted(self.expected() - settled))

    def ready(self, now: int, quarantined: Mapping[str, Reason]) -> bool:
        """Whether to close: everybody has reported or the deadline has passed, and there is a quorum of members or it
        is time for a lift."""
        if not self._all_reported(now, quarantined):
            return False
        return self.count(quarantined) >= self.need or bool(self.lifts(now))

    def is_idle(self, now: int) -> bool:
        """Whether a season may begin here without losing what members have announced: nothing is on its way to be
        counted, or the deadline has passed."""
        if self.opened is None:
            return not any(each.is_awaited for each in self.candidates.values())
        return now >= self.opened + self.deadline

    def _all_reported(self, now: int, quarantined: Mapping[str, Reason]) -> bool:
        """Whether nobody is waited for any more. No round waits for a guest: a crowd could make every one last until
        its deadline."""
        if self.opened is None:
            return False
        if now >= self.opened + self.deadline:
            return True
        heard = len(self.candidates) + len(self.children) + len(quarantined) + len(self.asleep)
        if heard < len(self.expected()):
            return False  # somebody is missing, whoever it is: this is asked at every update of a round
        if self.count(quarantined) < self.need and len(self.children) < self.transfer.need:
            return False
        awaited = any(each.is_awaited for each in self.candidates.values())
        return not awaited and not self.missing(quarantined, now)


def need_of(charter: Charter) -> int:
    """The fewest updates that a release counts: the charter's quorum and the rule's own minimum. Columns that fewer
    trained stay as they are."""
    policy = charter.round
    return max(policy.min_updates, build(policy.rule, f=policy.f).minimum_n)


def keys_of(children: Iterable[Child]) -> frozenset[bytes]:
    """What names the lift of these children."""
    return frozenset(child.release.digest for child in children)


def quote(child: Child) -> Contribution:
    """A child's release as a vote."""
    release = child.release
    return Contribution(
        release.branch,
        release.digest,
        release.adapter,
        release.adapter_size,
        release.lifted,
        release.lifted_size,
    )


def losses_of(updates: Iterable[Update]) -> Losses | None:
    """The medians of the losses that updates reported; None where none did, or where no median can be told."""
    known = [(update.loss_before, update.loss_after) for update in updates]
    pairs = [(before, after) for before, after in known if before is not None and after is not None]
    if not pairs:
        return None
    before, after = (median(losses) for losses in zip(*pairs, strict=True))
    if not (math.isfinite(before) and math.isfinite(after)):
        return None  # half the sum of two very large lies
    return Losses(before, after, len(pairs))
