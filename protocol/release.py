"""Releases: the signed history of a branch, and who may write its next page.

A release names its parent release, every update it used, every one it left out and why, what came of them, and
the *roster*: the members from whom the next round's committee is drawn. Everything in it but the sums is a pure
function of the parent release and the two lists, so anyone can recompute it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final

from banyan.security import canonical
from banyan.security.admission import Reason
from banyan.security.charter import CommitteePolicy
from banyan.security.schema import Between, Length, to_plain

__all__ = [
    "EXPELLING",
    "ChildHead",
    "Contribution",
    "LeftOut",
    "Release",
    "Seat",
    "committee_of",
    "guest_rank",
    "next_children",
    "next_roster",
    "opening",
]

Digest32 = Annotated[bytes, Length(32, 32)]
OptionalDigest = Annotated[bytes, Length(0, 32)]
OptionalSize = Annotated[int, Between(0, 2**40)]
Name = Annotated[str, Length(1, 200)]
Height = Annotated[int, Between(0, 2**40)]

EXPELLING: Final = frozenset(
    {Reason.EQUIVOCATION.value, Reason.FALSE_RELEASE.value, Reason.QUARANTINED.value, Reason.REVOKED.value}
)
"""Reasons that cost a member its seat at once. Nobody co-signs one of them without seeing the proof."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """One vote that was counted.

    A member's: ``source`` is its node id, ``key`` its update record, ``blob`` the delta. A child branch's:
    ``source`` is the path, ``key`` its certified release, and its delta is ``blob - minus``, the change of
    the child's adapter since the parent last counted it. ``guest``: nobody vouches for the member
    (:func:`~banyan.security.credential.is_guest`), so its vote gives it no seat.
    """

    source: Name
    key: Digest32
    blob: Digest32
    size: OptionalSize
    minus: OptionalDigest
    minus_size: OptionalSize
    guest: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One vote that was not counted, and the :class:`~banyan.security.admission.Reason` code why."""

    source: Name
    reason: Annotated[str, Length(1, 40)]


@dataclass(frozen=True, slots=True)
class Seat:
    """A member on the roster, and the last height at which it, or the child branch it speaks for, contributed.

    ``speaks_for`` is the path of a child branch, or the branch's own for a direct member.
    """

    member: Annotated[str, Length(1, 80)]
    seen: Height
    speaks_for: Name


@dataclass(frozen=True, slots=True)
class ChildHead:
    """The release of a child branch that this branch has counted last."""

    branch: Name
    height: Height
    release: Digest32
    adapter: Digest32
    size: OptionalSize


@dataclass(frozen=True)
class Release:
    """One version of a branch's adapter. Its digest is the SHA-256 of its canonical encoding.

    ``change`` is the float32 delta blob of the aggregate, ``adapter`` the float32 blob of the adapter after it;
    both are empty at height 0, the opening. ``narrowed_to``, if above 0, says that only so many columns of B moved, the
    first, since too few of the inputs trained the others.
    """

    branch: Name
    height: Height
    parent: OptionalDigest
    rule: Annotated[str, Length(0, 80)]
    f: Annotated[int, Between(0, 1000)]
    used: Annotated[tuple[Contribution, ...], Length(0, 192)]
    left_out: Annotated[tuple[LeftOut, ...], Length(0, 192)]
    change: OptionalDigest
    change_size: OptionalSize
    adapter: OptionalDigest
    adapter_size: OptionalSize
    roster: Annotated[tuple[Seat, ...], Length(1, 192)]
    children: Annotated[tuple[ChildHead, ...], Length(0, 64)]
    time: Annotated[int, Between(0, 2**53)]
    narrowed_to: Annotated[int, Between(0, 1_023)] = 0

    @cached_property
    def encoded(self) -> bytes:
        """The canonical encoding."""
        return canonical.encode(to_plain(self))

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the canonical encoding: the release's name."""
        return hashlib.sha256(self.encoded).digest()

    @cached_property
    def memo(self) -> dict[object, Any]:
        """What was derived from this release and need not be derived again, by what it depends on besides."""
        return {}

    @cached_property
    def members(self) -> frozenset[str]:
        """Everyone who has a seat on the roster."""
        return frozenset(seat.member for seat in self.roster)


def opening(branch: str, seats: Iterable[Seat], time: int) -> Release:
    """Height 0 of ``branch``: a roster and nothing learned yet."""
    roster = tuple(sorted(seats, key=lambda seat: seat.member))
    return Release(branch, 0, b"", "", 0, (), (), b"", 0, b"", 0, roster, (), time)


def committee_of(release: Release, policy: CommitteePolicy) -> tuple[str, ...]:
    """Who closes the round after ``release``, in the order in which they lead.

    Highest-random-weight (rendezvous) hashing (Thaler and Ravishankar, 1998) over the roster, keyed by the updates
    that the release used: nobody knows the next committee before they are all in, everyone computes the same one
    from them, and a leader cannot shop for a friendly one by varying what is its own to choose. Pinned members of
    the charter come first. When ``memory`` rounds pass without a contribution a member has lost its seat
    (:func:`next_roster`), so the roster holds live members only.
    """
    known: tuple[str, ...] | None = release.memo.get(policy)
    if known is not None:
        return known
    drawn_by = [release.branch, release.height, [each.key for each in release.used]]
    key = hashlib.sha256(canonical.encode(drawn_by)).digest()
    members = release.members
    pinned = [member for member in policy.pinned if member in members][: policy.size]
    drawn = sorted(
        members.difference(pinned), key=lambda member: hashlib.sha256(key + member.encode()).digest()
    )
    committee = release.memo[policy] = (*pinned, *drawn)[: policy.size]
    return committee


def guest_rank(base: Release, guest: str) -> bytes:
    """Orders the guests who want a turn in the round after ``base``, the smallest first: rendezvous hashing (Thaler and
    Ravishankar, 1998) by a digest that nobody could know when the round before was still open."""
    return hashlib.sha256(base.digest + guest.encode()).digest()


def next_roster(
    parent: Release,
    used: Sequence[Contribution],
    left_out: Sequence[LeftOut],
    delegates: Mapping[str, str],
    policy: CommitteePolicy,
) -> tuple[Seat, ...]:
    """The roster after a round: contributors and their delegates in, the expelled and the long silent out. Guests who
    contributed take no seat.

    ``delegates`` maps the committee members of the child branches that contributed to the path for which they
    speak. At most 192 seats: the most recently seen, then in the order of their names.
    """
    height = parent.height + 1
    seats = {seat.member: seat for seat in parent.roster}
    for member, child in delegates.items():
        seats[member] = Seat(member, height, child)
    for item in used:
        if not item.guest and not item.source.startswith("/"):
            seats[item.source] = Seat(item.source, height, parent.branch)
    for gone in left_out:
        if gone.reason in EXPELLING:
            seats.pop(gone.source, None)
    live = [seat for seat in seats.values() if height - seat.seen < policy.memory]
    live.sort(key=lambda seat: (-seat.seen, seat.member))
    return tuple(sorted(live[:192], key=lambda seat: seat.member))


def next_children(parent: Release, counted: Iterable[ChildHead]) -> tuple[ChildHead, ...]:
    """The children's heads after a round that counted ``counted``."""
    heads = {child.branch: child for child in parent.children}
    heads.update({child.branch: child for child in counted})
    return tuple(heads[branch] for branch in sorted(heads))
