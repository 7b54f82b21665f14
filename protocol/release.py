"""Releases: the signed history of a branch, and who may write its next page.

A release names its parent release, every update it used, every one it left out and why, what came of them, and
the *roster*: the members from whom the next round's committee is drawn. Everything in it but the sums is a pure
function of the parent release and the two lists, so anyone can recompute it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from banyan.security import canonical
from banyan.security.admission import Reason
from banyan.security.charter import CommitteePolicy
from banyan.security.model import MOST_SEASONS
from banyan.security.quick import quick
from banyan.security.schema import Between, Length, to_bytes

__all__ = [
    "EXPELLING",
    "STANDING",
    "TURN",
    "UNCHANGED",
    "Attempt",
    "Change",
    "ChildHead",
    "Contribution",
    "Layer",
    "LeftOut",
    "Losses",
    "Progress",
    "Release",
    "Seat",
    "Standing",
    "TrialVote",
    "claims_of",
    "committee_of",
    "counting_nothing",
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
Time = Annotated[int, Between(0, 2**53)]
SeasonNumber = Annotated[int, Between(0, MOST_SEASONS - 1)]
Columns = Annotated[int, Between(0, 1_023)]
Change = Annotated[float, Between(-1e6, 1e6)]
"""By how much a model raises a mean loss; a model that has lost itself is as bad as can be said."""

TURN: Final = "season"
"""The rule of a release that begins a season: it counts nothing and freezes what there is."""

STANDING: Final = "standing"
"""The rule of a release that counts nothing and says how a branch stands, with those below it."""

Standing = Literal["", "gains", "rests", "asks"]
"""Whether a branch still gains under the A of its season; where it does not, ``asks`` says that it did earlier in the
season, so that a fresh A is worth while. Empty where nothing is known."""

UNCHANGED: Final = "unchanged"
"""The rule of a release that takes nothing: all that was tried was refused."""

EXPELLING: Final = frozenset(
    {Reason.EQUIVOCATION.value, Reason.FALSE_RELEASE.value, Reason.QUARANTINED.value, Reason.REVOKED.value}
)
"""Reasons that cost a member its seat at once. Nobody co-signs one of them without seeing the proof."""


@quick
@dataclass(frozen=True, slots=True)
class Contribution:
    """One vote that was counted.

    A member's: ``source`` is its node id, ``key`` its update record, ``blob`` the delta. A child branch's:
    ``source`` is the path, ``key`` its certified release, ``blob`` and ``lifted`` the two parts of that release, either
    of which may be empty. ``guest``: nobody vouches for the member
    (:func:`~banyan.security.credential.is_guest`), so its vote gives it no seat.
    """

    source: Name
    key: Digest32
    blob: OptionalDigest
    size: OptionalSize
    lifted: OptionalDigest
    lifted_size: OptionalSize
    guest: bool = False

    @property
    def is_child(self) -> bool:
        """Whether it is a child branch's."""
        return self.source.startswith("/")


@quick
@dataclass(frozen=True, slots=True)
class LeftOut:
    """One vote that was not counted, and the :class:`~banyan.security.admission.Reason` code why."""

    source: Name
    reason: Annotated[str, Length(1, 40)]


@quick
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


@dataclass(frozen=True, slots=True)
class TrialVote:
    """What one voter said of a model, of the loss on its own rows and on the branch's probe set, and the record in
    which it signed that."""

    voter: Annotated[str, Length(1, 80)]
    record: Digest32
    change: Change | None
    probed: Change | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """Sums of the same contributions by another rule, and the votes by which they were refused. Another rule may need
    more inputs, so ``narrowed_to`` is its own."""

    rule: Annotated[str, Length(0, 80)]
    change: Digest32
    change_size: OptionalSize
    adapter: Digest32
    adapter_size: OptionalSize
    votes: Annotated[tuple[TrialVote, ...], Length(0, 64)]
    narrowed_to: Columns = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """What a branch held when it left a season, in terms of that season's A: its ``adapter`` and what was ``lifted``
    into it, either of which may be empty. It never changes any more."""

    season: SeasonNumber
    adapter: OptionalDigest
    adapter_size: OptionalSize
    lifted: OptionalDigest
    lifted_size: OptionalSize


@dataclass(frozen=True, slots=True)
class Losses:
    """Medians of what the ``updates`` of a release that reported their losses reported."""

    loss_before: float
    loss_after: float
    updates: Annotated[int, Between(1, 1_000)]


@dataclass(frozen=True, slots=True)
class Progress:
    """What a branch's members said last of how far the loss on their own held-out rows fell over the charter's
    ``patience`` releases (:mod:`banyan.protocol.plateau`).

    ``fell`` is the median of what ``members`` of them said; ``gains`` whether a majority said more than the charter's
    tolerance; ``gained`` whether one has at any time of the season.
    """

    fell: Change
    members: Annotated[int, Between(1, 1_000)]
    gains: bool
    gained: bool


@dataclass(frozen=True)
class Release:
    """One version of a branch's adapter. Its digest is the SHA-256 of its canonical encoding.

    What a branch has learned is kept in two float32 blobs: ``adapter``, what its own members taught it, and ``lifted``,
    what was lifted into it from its children, who hold that in adapters of their own. The branch's model is the sum of
    the adapters from where its base model begins down to it and of its ``lifted``
    (:mod:`banyan.protocol.composition`).

    ``change`` is what this release adds to ``adapter``, the aggregate of the members' updates; ``lift`` what it adds to
    ``lifted``, the consensus of the children. Each is empty where nothing of its kind was counted, and not both are but
    at height 0, the opening: that has an ``adapter`` where the branch above had something lifted into it already, which
    the new branch begins with. ``narrowed_to``, if above 0, says that the change moves only so many columns of B, the
    first, since too few of the updates trained the others.

    ``refused`` are the changes that were tried before this one, ``votes`` those on this one. Where all were refused the
    rule is :data:`UNCHANGED`: no change, the adapter of before. A lift is not voted on.

    Both blobs are in terms of the A of the ``season``; ``frozen`` is what the branch held at the end of earlier ones,
    oldest first, and part of its model as well (:mod:`banyan.protocol.season`).

    ``progress`` is what members have last said of how much they gain in this season, ``standing`` how the branch and
    those below it stand, where it has any (:mod:`banyan.protocol.plateau`).
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
    lift: OptionalDigest
    lift_size: OptionalSize
    lifted: OptionalDigest
    lifted_size: OptionalSize
    lifted_at: Time
    """The time of the newest release with a lift, this one included; 0 before the first."""
    roster: Annotated[tuple[Seat, ...], Length(1, 192)]
    children: Annotated[tuple[ChildHead, ...], Length(0, 64)]
    time: Time
    votes: Annotated[tuple[TrialVote, ...], Length(0, 64)] = ()
    refused: Annotated[tuple[Attempt, ...], Length(0, 4)] = ()
    reported: Losses | None = None
    season: SeasonNumber = 0
    frozen: Annotated[tuple[Layer, ...], Length(0, MOST_SEASONS - 1)] = ()
    narrowed_to: Columns = 0
    progress: Progress | None = None
    standing: Standing = ""

    @cached_property
    def encoded(self) -> bytes:
        """The canonical encoding."""
        return to_bytes(self)

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

    @cached_property
    def child_heights(self) -> dict[str, int]:
        """The height at which it, or one before it, has counted each child last, by path; not to be changed."""
        return {child.branch: child.height for child in self.children}

    @cached_property
    def authors(self) -> tuple[str, ...]:
        """Those whose updates it counts."""
        return tuple(each.source for each in self.used if not each.is_child)

    @cached_property
    def current(self) -> tuple[tuple[bytes, int], ...]:
        """What the branch itself adds to its model in this season, with sizes: none, one or both of ``adapter`` and
        ``lifted``."""
        both = ((self.adapter, self.adapter_size), (self.lifted, self.lifted_size))
        return tuple((blob, size) for blob, size in both if blob)

    @cached_property
    def handed_down(self) -> tuple[tuple[bytes, int], ...]:
        """What the branch adds to the models of those below it, with sizes: its adapter of each season."""
        earlier = [(each.adapter, each.adapter_size) for each in self.frozen]
        both = (*earlier, (self.adapter, self.adapter_size))
        return tuple((blob, size) for blob, size in both if blob)

    @property
    def earlier(self) -> tuple[tuple[bytes, int], ...]:
        """What the branch itself has added to its model in earlier seasons, with sizes."""
        pairs = (
            pair
            for each in self.frozen
            for pair in ((each.adapter, each.adapter_size), (each.lifted, each.lifted_size))
        )
        return tuple((blob, size) for blob, size in pairs if blob)

    @cached_property
    def blobs(self) -> tuple[tuple[bytes, int], ...]:
        """What the branch itself adds to its model, with sizes: ``adapter`` and ``lifted`` of each season."""
        return (*self.earlier, *self.current)

    @cached_property
    def steps(self) -> tuple[tuple[bytes, int], ...]:
        """What this release adds to the one before it, with sizes: one or both of ``change`` and ``lift``."""
        both = ((self.change, self.change_size), (self.lift, self.lift_size))
        return tuple((blob, size) for blob, size in both if blob)

    @cached_property
    def vouched(self) -> frozenset[bytes]:
        """The blobs of its model and of its steps, and those of what it vouches for besides."""
        claims = (self, *claims_of(self))
        return frozenset(blob for each in claims for blob, _ in (*each.blobs, *each.steps))

    @cached_property
    def counted(self) -> frozenset[bytes]:
        """The blobs of the contributions that it counts."""
        blobs = (blob for each in self.used for blob in (each.blob, each.lifted))
        return frozenset(blob for blob in blobs if blob)


def claims_of(release: Release) -> tuple[Release, ...]:
    """``release`` as each rule made it whose sums it vouches for, in the order in which they were tried."""
    known: tuple[Release, ...] | None = release.memo.get("claims")
    if known is None:
        attempts = tuple(
            replace(
                release,
                rule=each.rule,
                change=each.change,
                change_size=each.change_size,
                adapter=each.adapter,
                adapter_size=each.adapter_size,
                votes=each.votes,
                narrowed_to=each.narrowed_to,
                refused=release.refused[:number],
            )
            for number, each in enumerate(release.refused)
        )
        own = () if release.rule in (UNCHANGED, TURN, STANDING) else (release,)
        known = release.memo["claims"] = (*attempts, *own)
    return known


def counting_nothing(base: Release, rule: str, time: int) -> Release:
    """The release that follows ``base``, made at ``time`` (ms) by nobody's updates. Nobody gains or loses a seat by it,
    though all of them are a round older."""
    return replace(
        base,
        height=base.height + 1,
        parent=base.digest,
        rule=rule,
        used=(),
        left_out=(),
        change=b"",
        change_size=0,
        lift=b"",
        lift_size=0,
        time=time,
        votes=(),
        refused=(),
        reported=None,
        narrowed_to=0,
    )


def opening(
    branch: str,
    seats: Iterable[Seat],
    time: int,
    adapter: bytes = b"",
    size: int = 0,
    season: int = 0,
    frozen: tuple[Layer, ...] = (),
) -> Release:
    """Height 0 of ``branch``: a roster, and nothing learned yet but the ``adapter`` of ``size`` bytes that holds what
    the branch above had been given by its children until then, and what it had been given in earlier seasons."""
    return Release(
        branch=branch,
        height=0,
        parent=b"",
        rule="",
        f=0,
        used=(),
        left_out=(),
        change=b"",
        change_size=0,
        adapter=adapter,
        adapter_size=size,
        lift=b"",
        lift_size=0,
        lifted=b"",
        lifted_size=0,
        lifted_at=0,
        roster=tuple(sorted(seats, key=lambda seat: seat.member)),
        children=(),
        time=time,
        season=season,
        frozen=frozen,
    )


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
        if not item.guest and not item.is_child:
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
