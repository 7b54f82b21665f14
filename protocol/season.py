"""Seasons: when one A has given what it can, everybody goes on with a fresh one, and nothing learned is touched.

A branch *turns* by a release of its own: what it holds in the old season's A is frozen, and it begins with nothing in
the new one. No number is computed for that. What is frozen are the very blobs that quorums have signed, so a turn
follows from the release before it to the last byte, and anyone can check it by looking.

A season is opened by a root key (:class:`Season`), network-wide; or by the committee of the topmost branch of a base
model, whose turn is what opens it for the branches below (:mod:`banyan.protocol.plateau`). Each branch turns when it
has closed the round it is in; a branch that missed some goes straight to the newest. Lifts and mixing happen within a
season only: the branches of a path may be in different ones meanwhile, and their models are sums all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from banyan.protocol.release import TURN, Layer, Release, counting_nothing
from banyan.security.model import MOST_SEASONS
from banyan.security.schema import Between

__all__ = ["Season", "gain_of", "is_turn", "season_flaw", "turned"]


@dataclass(frozen=True, slots=True)
class Season:
    """A root key opens the season ``number`` for every branch of the network."""

    number: Annotated[int, Between(1, MOST_SEASONS - 1)]


def is_turn(release: Release) -> bool:
    """Whether ``release`` begins a season."""
    return release.rule == TURN


def turned(base: Release, season: int, time: int) -> Release:
    """The release that follows ``base`` and begins ``season``, made at ``time`` (ms)."""
    held = Layer(base.season, base.adapter, base.adapter_size, base.lifted, base.lifted_size)
    return replace(
        counting_nothing(base, TURN, time),
        adapter=b"",
        adapter_size=0,
        lifted=b"",
        lifted_size=0,
        season=season,
        frozen=(*base.frozen, held) if base.current else base.frozen,
        progress=None,
        standing="",
    )


def season_flaw(release: Release, base: Release) -> tuple[str, str] | None:
    """What is wrong with ``release``, which follows ``base``, as to its season: a reason and a sentence."""
    if not is_turn(release):
        if (release.season, release.frozen) == (base.season, base.frozen):
            return None
        return "wrong-season", "The proposal changes the season, or what is frozen, in passing"
    if not base.season < release.season < MOST_SEASONS:
        return "wrong-season", "The proposal begins a season that is over, or one beyond the last"
    if release != turned(base, release.season, release.time):
        return "wrong-season", "The proposal begins a season and does not leave all else as it was"
    return None


def gain_of(releases: Sequence[Release], rounds: int = 10) -> float | None:
    """By how much the loss that members reported before they trained fell per release, over the newest ``rounds`` of a
    branch's season that reported any. None where fewer than two did.

    Where it comes to nothing the A of the season may be the limit. It is what members say of themselves: enough to look
    at, not to decide by.
    """
    known = [
        (each.height, each.reported.loss_before)
        for each in releases
        if each.season == releases[-1].season and each.reported is not None
    ][-rounds:]
    if len(known) < 2:
        return None
    (first, before), (last, after) = known[0], known[-1]
    return (before - after) / (last - first)
