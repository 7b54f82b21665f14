"""Whether the branches have stopped gaining under the A of their season, so that a fresh one is due.

Each member looks back at the loss on its own held-out rows and says by how much it fell over the charter's ``patience``
releases (:class:`Memory`). It is the same rows at both ends, so members need not be alike to be compared. A release
keeps what a majority of the members that it counts said (:func:`progress_of`): with more than 2 f of them, f of whom
lie or keep silent, the honest are a majority where they agree, and the liars never are.

A branch with others below it stands as most of these do (:func:`standing_among`); its committee certifies that by a
release that counts nothing (:func:`restated`), so that the branch above need look no further down than one level. Where
the topmost branch of a base model *asks*, its committee turns it to the next season (:mod:`banyan.protocol.season`),
and the branches below follow.

A branch that has gained nothing in its season does not ask for another one: it is not A that limits it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median
from typing import Annotated, Final

from banyan.protocol.messages import Update
from banyan.protocol.release import (
    STANDING,
    Progress,
    Release,
    SeasonNumber,
    Standing,
    counting_nothing,
)
from banyan.security import canonical
from banyan.security.canonical import CanonicalError
from banyan.security.charter import Charter
from banyan.security.quick import quick
from banyan.security.schema import Between, Length, SchemaError, from_plain, to_bytes

__all__ = [
    "Memory",
    "is_news",
    "is_restated",
    "progress_of",
    "restated",
    "standing_among",
    "standing_flaw",
    "standing_of",
]

MOST_SAID: Final = 1e6
"""The most that is said of a fall, either way."""

MEMORY_BYTES: Final = 65_536
"""Room on disk for what a member remembers."""


@quick
@dataclass(frozen=True, slots=True)
class Memory:
    """What a member remembers of the loss on its own held-out rows: at which heights of ``season`` it was what, the
    oldest first."""

    season: SeasonNumber = 0
    heights: Annotated[tuple[Annotated[int, Between(0, 2**40)], ...], Length(0, 2_000)] = ()
    losses: Annotated[tuple[float, ...], Length(0, 2_000)] = ()

    def after(self, season: int, height: int, loss: float, patience: int) -> Memory:
        """The memory once the head at ``height`` has been measured. Of what is older than ``patience`` releases the
        newest is enough."""
        known = zip(self.heights, self.losses, strict=True) if season == self.season else ()
        earlier = [each for each in known if each[0] < height]
        past = [each for each in earlier if each[0] <= height - patience][-1:]
        recent = [each for each in earlier if each[0] > height - patience]
        heights, losses = zip(*past, *recent, (height, loss), strict=True)
        return Memory(season, heights, losses)

    def fall(self, patience: int) -> float | None:
        """By how much the loss fell over the newest ``patience`` releases or somewhat more; None where nothing is
        remembered from before them."""
        if not self.heights or self.heights[0] > self.heights[-1] - patience:
            return None
        fell = self.losses[0] - self.losses[-1]
        return min(max(fell, -MOST_SAID), MOST_SAID) if math.isfinite(fell) else None

    def encode(self) -> bytes:
        """The memory as it is kept on disk."""
        return to_bytes(self)

    @classmethod
    def decode(cls, data: bytes) -> Memory:
        """The memory that :meth:`encode` wrote; an empty one where ``data`` is something else."""
        try:
            memory = from_plain(cls, canonical.decode(data, max_bytes=MEMORY_BYTES, floats=True))
        except (CanonicalError, SchemaError):
            return cls()
        ordered = list(memory.heights) == sorted(set(memory.heights))
        return memory if ordered and len(memory.heights) == len(memory.losses) else cls()


def progress_of(base: Release, members: Iterable[Update], charter: Charter) -> Progress | None:
    """What the release after ``base`` says of its members' gains, which counts these updates of ``members``, no
    guest's: what is known already where they say too little."""
    policy = charter.season
    if policy.policy == "manual":
        return None
    said = [update.fell for update in members]
    falls = [fell for fell in said if fell is not None]
    gaining = sum(fell > policy.tolerance for fell in falls)
    most = max(gaining, len(falls) - gaining)
    if most <= charter.round.f or 2 * most <= len(said):
        return base.progress
    gains = gaining == most
    earlier = base.progress is not None and base.progress.gained
    return Progress(median(falls), len(falls), gains, gains or earlier)


def standing_of(release: Release) -> Standing:
    """How the branch of ``release`` stands, as far as the release says."""
    return release.standing or _own_standing(release)


def _own_standing(release: Release) -> Standing:
    """How it stands by what its own members say."""
    if release.progress is None:
        return ""
    if release.progress.gains:
        return "gains"
    return "asks" if release.progress.gained else "rests"


def standing_among(head: Release, below: Iterable[Release], time: int, charter: Charter) -> Standing:
    """How the branch of ``head`` stands at ``time`` (ms) with the branches right below it, whose heads are ``below``:
    empty where nobody has anything to say.

    Its own members are one voice. A branch below that says nothing, or is in an earlier season, gains; one in a later
    season asks; one that has been silent for longer than a lift would count it has no voice. Of the voices all but the
    charter's ``share`` must have stopped gaining, whatever ``transfer.f`` of them say; of these more than
    ``transfer.f`` must ask.
    """
    policy, f = charter.season, charter.transfer.f
    own = _own_standing(head)
    voices: list[Standing] = [own] if own else []
    for each in below:
        if each.time < time - charter.transfer.staleness:
            continue
        if each.season != head.season:
            voices.append("asks" if each.season > head.season else "gains")
        else:
            voices.append(standing_of(each) or "gains")
    if policy.policy == "manual" or not voices:
        return ""
    asked = min(math.ceil(policy.share * len(voices)), len(voices) - f)
    if sum(each != "gains" for each in voices) < max(asked, f + 1):
        return "gains"
    return "asks" if sum(each == "asks" for each in voices) > f else "rests"


def is_restated(release: Release) -> bool:
    """Whether ``release`` says how its branch stands, and nothing else."""
    return release.rule == STANDING


def restated(base: Release, standing: Standing, time: int) -> Release:
    """The release that follows ``base`` and says that its branch stands so, made at ``time`` (ms)."""
    return replace(counting_nothing(base, STANDING, time), standing=standing)


def is_news(standing: Standing, base: Release) -> bool:
    """Whether a release after ``base`` has to say that its branch stands so. Who says nothing gains."""
    return standing not in ("", standing_of(base) or "gains")


def standing_flaw(release: Release, base: Release) -> tuple[str, str] | None:
    """What is wrong with ``release``, which follows ``base`` and begins no season, as to how its branch stands: a
    reason and a sentence."""
    if is_restated(release):
        said = release.standing
        if not is_news(said, base) or release != restated(base, said, release.time):
            return (
                "wrong-standing",
                "The proposal says how its branch stands and does not leave all else as it was",
            )
        return None
    if release.standing != base.standing:
        return "wrong-standing", "The proposal changes how its branch stands in passing"
    if release.progress != base.progress and all(each.is_child or each.guest for each in release.used):
        return "wrong-progress", "The proposal says that members gain and counts none"
    return None
