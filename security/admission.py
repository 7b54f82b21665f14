"""Admission: may this update be counted, and how far.

A chain of small checks, cheapest first, in the order of :class:`Reason`: the announcement against what the
node already knows, then the blob against the announcement. Each refusal has one code and one sentence. A long
update is not refused but shortened (:func:`clip_factors`): honest norms vary, and a bound relative to the
round's median is one that a minority cannot move far.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from banyan.security.errors import Refused
from banyan.security.quick import quick

_CHUNK: Final = (
    1 << 20
)  # values decoded at once: bounds memory at a few megabytes, whatever the adapter's size


class Reason(StrEnum):
    """Why an update was left out of a release. The value is the stable code, ``sentence`` is for people."""

    TOO_LARGE = "too-large"
    HASH_MISMATCH = "hash-mismatch"
    MALFORMED = "malformed"
    WRONG_SPEC = "wrong-spec"
    WRONG_BASE = "wrong-base"
    NON_FINITE = "non-finite"
    ZERO_NORM = "zero-norm"
    STALE_BASE = "stale-base"
    STALE_STATE = "stale-state"
    UNKNOWN_BASE = "unknown-base"
    NOT_A_MEMBER = "not-a-member"
    REVOKED = "revoked"
    QUARANTINED = "quarantined"
    DUPLICATE = "duplicate"
    EQUIVOCATION = "equivocation"
    FALSE_RELEASE = "false-release"
    ROUND_CLOSED = "round-closed"
    UNAVAILABLE = "unavailable"
    MISSING = "missing"
    GUEST_LIMIT = "guest-limit"
    TOO_FEW = "too-few"
    NOT_LIFTED = "not-lifted"
    WRONG_SEASON = "wrong-season"

    @property
    def sentence(self) -> str:
        """What happened, in one sentence about the update."""
        return _SENTENCES[self]


_SENTENCES: Final = {
    Reason.TOO_LARGE: "It is larger than this network allows.",
    Reason.HASH_MISMATCH: "Its bytes are not those that were announced.",
    Reason.MALFORMED: "It could not be read: it is not a well-formed update.",
    Reason.WRONG_SPEC: "It was made for another adapter than this network's.",
    Reason.WRONG_BASE: "It starts from another release than its announcement says.",
    Reason.NON_FINITE: "It contains numbers that are infinite or not numbers.",
    Reason.ZERO_NORM: "It changes nothing.",
    Reason.STALE_BASE: "It starts from a release that is too old.",
    Reason.STALE_STATE: "It is too many steps behind.",
    Reason.UNKNOWN_BASE: "It starts from a release that this branch never had.",
    Reason.NOT_A_MEMBER: "Its author is not a member of this branch.",
    Reason.REVOKED: "Its author's membership was revoked.",
    Reason.QUARANTINED: "Its author was caught signing two contradictory statements.",
    Reason.DUPLICATE: "The same update was already counted.",
    Reason.EQUIVOCATION: "Its author signed two different updates for one round.",
    Reason.FALSE_RELEASE: "Its author led a round and proposed sums that the signed updates do not give.",
    Reason.ROUND_CLOSED: "It came after its round had closed.",
    Reason.UNAVAILABLE: "It was announced, but nobody could deliver it in time.",
    Reason.MISSING: "None was seen before the round closed.",
    Reason.GUEST_LIMIT: "Its author is a guest, and as many guests as are allowed are here already.",
    Reason.TOO_FEW: "Too few others reported for the rule to be safe.",
    Reason.NOT_LIFTED: "The branch above lifts at another time: its policy asks for more.",
    Reason.WRONG_SEASON: "It was made in another season than the branch is in.",
}


class UpdateRefused(Refused):
    """An update that will not be counted; ``reason`` is the value of a :class:`Reason`."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.value, f"The update was refused. {reason.sentence}", detail)
        self.args = (reason, detail)


@quick
@dataclass(frozen=True, slots=True)
class Measurement:
    """What :func:`inspect_blob` found: the float64 Euclidean norm, the base release and the size in bytes."""

    norm: float
    base: bytes
    size: int


class Spec(Protocol):
    """What of :class:`banyan.security.charter.AdapterSpec` a measurement needs."""

    @property
    def dimension(self) -> int: ...

    @property
    def rank(self) -> int: ...


class Vector(Protocol):
    """An encoded delta: ``size`` numbers, decoded piece by piece."""

    @property
    def size(self) -> int: ...

    def decode(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]: ...


class Delta(Protocol):
    """A strictly decoded delta blob."""

    @property
    def base(self) -> bytes: ...

    @property
    def vector(self) -> Vector: ...

    @property
    def rank(self) -> int:
        """How many columns of every matrix it has."""


class Decode(Protocol):
    """The strict decoder of delta blobs; a ``Refused`` or ``ValueError`` of it means that the blob is at
    fault."""

    def __call__(self, data: bytes, spec: Spec, /) -> Delta: ...


# --------------------------------------------------------------------- the announcement, before any download


def check_size(announced: int, limit: int) -> None:
    """``announced`` bytes within ``limit``; raises :class:`UpdateRefused` (``too-large``)."""
    if not 0 < announced <= limit:
        raise UpdateRefused(Reason.TOO_LARGE, f"It announces {announced} bytes; the limit is {limit}")


def check_base(base: bytes, lineage: Sequence[bytes], staleness: int) -> None:
    """``base`` among the newest ``staleness + 1`` of ``lineage``, the branch's releases from the head
    backwards."""
    if base not in lineage:
        raise UpdateRefused(Reason.UNKNOWN_BASE)
    behind = lineage.index(base)
    if behind > staleness:
        raise UpdateRefused(Reason.STALE_BASE, f"It is {behind} behind the head; {staleness} is allowed")


def check_author(
    author: str, *, members: Collection[str], revoked: Collection[str], quarantined: Collection[str]
) -> None:
    """``author`` a member of the branch in good standing."""
    if author in revoked:
        raise UpdateRefused(Reason.REVOKED)
    if author not in members:
        raise UpdateRefused(Reason.NOT_A_MEMBER)
    if author in quarantined:
        raise UpdateRefused(Reason.QUARANTINED)


def check_single(digest: bytes, previous: bytes | None) -> None:
    """The author's only update in its round; ``previous`` is the digest of the one already seen, if any."""
    if previous is not None:
        raise UpdateRefused(Reason.DUPLICATE if previous == digest else Reason.EQUIVOCATION)


def check_announcement(
    *,
    author: str,
    size: int,
    digest: bytes,
    base: bytes,
    limit: int,
    lineage: Sequence[bytes],
    staleness: int,
    members: Collection[str],
    revoked: Collection[str] = frozenset(),
    quarantined: Collection[str] = frozenset(),
    previous: bytes | None = None,
    closed: bool = False,
) -> None:
    """All that can be judged of an update before its blob is fetched. Raises :class:`UpdateRefused`.

    ``size`` and ``digest`` are the announced blob's, ``base`` the release that it starts from; the rest is
    what this node knows: ``limit`` bytes a blob, the branch's ``lineage`` from the head backwards, who is a
    member, revoked or quarantined, the digest of the author's ``previous`` update for the same round, and
    whether the round is closed.
    """
    check_size(size, limit)
    check_base(base, lineage, staleness)
    check_author(author, members=members, revoked=revoked, quarantined=quarantined)
    check_single(digest, previous)
    if closed:
        raise UpdateRefused(Reason.ROUND_CLOSED)


# ------------------------------------------------------------------------------------------ the blob itself


def check_hash(data: bytes, digest: bytes) -> None:
    """``data`` is what was announced; raises :class:`UpdateRefused` (``hash-mismatch``)."""
    if hashlib.sha256(data).digest() != digest:
        raise UpdateRefused(Reason.HASH_MISMATCH)


def inspect_blob(
    data: bytes, *, spec: Spec, expected_base: bytes | None = None, decode: Decode
) -> Measurement:
    """Decode ``data`` strictly and measure it, a piece at a time.

    Without ``expected_base`` the base is reported and not judged. ``decode`` is injected because the format
    belongs to the protocol. Raises :class:`UpdateRefused`: ``malformed``, ``wrong-spec`` (also when
    ``decode`` refuses with that reason), ``wrong-base``, ``non-finite`` or ``zero-norm``.
    """
    delta = _decoded(data, spec, decode)
    wanted = spec.dimension // spec.rank * delta.rank
    if delta.vector.size != wanted or not 0 < delta.rank <= spec.rank:
        raise UpdateRefused(
            Reason.WRONG_SPEC, f"It has {delta.vector.size} numbers where the adapter has {wanted}"
        )
    if expected_base is not None and delta.base != expected_base:
        raise UpdateRefused(Reason.WRONG_BASE)
    length = norm(delta.vector)
    if not math.isfinite(length):
        raise UpdateRefused(Reason.NON_FINITE)
    if length == 0.0:
        raise UpdateRefused(Reason.ZERO_NORM)
    return Measurement(length, delta.base, len(data))


def _decoded(data: bytes, spec: Spec, decode: Decode) -> Delta:
    try:
        return decode(data, spec)
    except UpdateRefused:
        raise
    except Refused as error:
        reason = next((reason for reason in Reason if reason == error.reason), Reason.MALFORMED)
        raise UpdateRefused(reason, error.what) from error
    except ValueError as error:
        raise UpdateRefused(Reason.MALFORMED, str(error)) from error


def norm(vector: Vector) -> float:
    """The Euclidean norm in float64, the same on every machine; NaN or infinite if any number is.

    Squares of float32 cannot overflow float64. ``np.add.reduce`` sums in an order of its own that hangs on
    neither thread count nor BLAS.
    """
    parts = []
    for start in range(0, vector.size, _CHUNK):
        values = vector.decode(start, min(start + _CHUNK, vector.size)).astype(np.float64)
        parts.append(float(np.add.reduce(np.square(values, out=values))))
    return math.sqrt(math.fsum(parts)) if all(map(math.isfinite, parts)) else math.inf


def clip_factors(norms: Sequence[float], clip: float) -> list[float]:
    """For each of a round's ``norms`` the factor in (0, 1] that shortens it to at most ``clip`` times their
    median.

    The median (of an even number, the mean of the middle two) cannot be moved beyond honest norms by a
    minority. Pure float64 in a fixed order: every machine gets the same bits. Raises ValueError for a norm
    that is negative or not finite.
    """
    if not all(math.isfinite(norm) and norm >= 0 for norm in norms):
        raise ValueError("norms must be finite and not negative")
    if not norms:
        return []
    ranked = sorted(norms)
    middle = len(ranked) // 2
    median = ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2
    bound = clip * median
    return [1.0 if norm <= bound else bound / norm for norm in norms]
