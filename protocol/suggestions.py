"""What the geometry of a branch's updates suggests: that it be split, or that two of its children be merged.

Nothing here is done by itself, and nobody else is told: a node that has closed a round knows where the updates
pointed, and says to its owner what it has seen several rounds running. Members that pull to two ends of one model
would each be served better by a branch of their own; two siblings that have become one model need not be two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from banyan.protocol.effects import Aggregated, Digest, Direction
from banyan.protocol.events import BranchMergeSuggested, BranchSplitSuggested, Event
from banyan.protocol.release import Release

__all__ = ["ROUNDS", "Split", "Suggestions", "distance_of", "split_of"]

ROUNDS: Final = 3
"""Rounds running that must show the same before it is suggested: one round's accident is not."""

GAP: Final = 3
"""Heights that may lie between two rounds that this node has seen: it has not a seat in every round."""

WITHIN: Final = 0.2
"""Mean cosine within either group, at least: they pull together."""

ACROSS: Final = 1 / 3
"""Mean cosine across the groups, at most this share of that within: they do not pull together."""

SILHOUETTE: Final = 0.35
"""Mean silhouette, at least (Rousseeuw, 1987): 'a weak structure' begins at 0.26, 'a reasonable one' at 0.51."""

SAME: Final = 0.9
"""Share of the members seen in two rounds that must stand in the same group in both."""

FEWEST: Final = 4
"""Members seen in two rounds without which they say nothing about each other."""

NEAR: Final = 0.25
"""Two adapters are one if they differ by less than this share of the longer one; their cosine is then above 0.96."""

HELD: Final = 8
"""Computations that wait for their release."""

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Split:
    """Two groups of members that pull apart: mean cosines ``within`` and ``across`` them, and the mean silhouette."""

    groups: tuple[tuple[str, ...], tuple[str, ...]]
    within: float
    across: float
    silhouette: float


def split_of(names: Sequence[str], cosines: Matrix, fewest: int) -> Split | None:
    """The two groups that ``names`` fall into, if they do; ``cosines`` (n, n) are those of their updates.

    2-means on the sphere, by cosines alone: from the two that point farthest apart, everybody goes to the group whose
    members it has the higher mean cosine with, until nobody moves, or whoever does goes to and fro. Groups of fewer
    than ``fewest`` members (more than the liars that a round survives, or a suggestion could be a liar's) are none, nor
    are those that never settle.
    """
    count = len(names)
    if count < 2 * fewest or not _could_split(cosines):
        return None
    one, other = np.unravel_index(np.argmin(cosines), cosines.shape)
    second = cosines[other] > cosines[one]
    second[one], second[other] = False, True
    before = second
    for _ in range(count):
        to_first, to_second = _means(cosines, ~second), _means(cosines, second)
        nearer = to_second > to_first
        if np.count_nonzero(nearer) in (0, count) or any(
            np.array_equal(nearer, was) for was in (second, before)
        ):
            break
        before, second = second, nearer
    else:
        return None
    if not fewest <= np.count_nonzero(second) <= count - fewest:
        return None
    own, others = np.where(second, to_second, to_first), np.where(second, to_first, to_second)
    width = np.maximum(1 - own, 1 - others)
    silhouette = float(np.mean(np.divide(own - others, width, out=np.zeros(count), where=width > 0)))
    within = float(min(own[second].mean(), own[~second].mean()))
    across = float(others.mean())
    if within < WITHIN or across > ACROSS * within or silhouette < SILHOUETTE:
        return None
    groups = (
        tuple(sorted(name for name, far in zip(names, second, strict=True) if not far)),
        tuple(sorted(name for name, far in zip(names, second, strict=True) if far)),
    )
    first, last = sorted(groups)
    return Split((first, last), round(within, 3), round(across, 3), round(silhouette, 3))


def _could_split(cosines: Matrix) -> bool:
    """False where no two groups could be apart, whichever they are: where all pull together, or so few do that no two
    halves could. Most rounds are one or the other, and this is seen at once."""
    count = len(cosines)
    together = np.add.reduce(np.maximum(cosines, 0), axis=None) - np.add.reduce(cosines.diagonal())
    within = (
        count * (count - 2) / 2
    )  # pairs within the groups, in either order, at the fewest: two halves have them
    return bool(cosines.min() <= ACROSS and together >= WITHIN * within)


def _means(cosines: Matrix, group: npt.NDArray[np.bool_]) -> Matrix:
    """Everybody's mean cosine with the members of ``group`` other than itself."""
    sums = cosines @ group - np.where(group, cosines.diagonal(), 0.0)
    return np.asarray(sums / np.maximum(np.count_nonzero(group) - group, 1))


def distance_of(one: float, other: float, cosine: float) -> float:
    """How far two vectors of these norms are apart, as a share of the longer; 1 if either is zero."""
    if not (one > 0 and other > 0):
        return 1.0
    apart = max(0.0, one * one + other * other - 2 * one * other * cosine)
    return float(np.sqrt(apart) / max(one, other))


@dataclass(slots=True)
class _Streak:
    """How often running the same was seen, the last time at ``height``."""

    rounds: int
    height: int
    split: Split | None = None
    cosine: float = 0.0

    def follows(self, height: int) -> bool:
        return height - self.height <= GAP


class Suggestions:
    """What one node has seen of the branches whose rounds it has closed.

    Args:
        liars: the updates of a round that may be lies (the charter's ``f``).
        tell: takes events, once when something begins to be suggested.
    """

    def __init__(self, liars: int, tell: Callable[[Event], None]) -> None:
        self._fewest = max(2, liars + 1)
        self._tell = tell
        self._computed: dict[tuple[str, int], dict[frozenset[Digest], Aggregated]] = {}
        self._splits: dict[str, _Streak] = {}
        self._merges: dict[tuple[str, str], _Streak] = {}

    def computed(self, result: Aggregated) -> None:
        """The updates of a round have been measured; whether they are its release is not decided yet."""
        round_ = self._computed.setdefault((result.branch, result.height), {})
        if len(round_) < HELD:
            round_[frozenset(key for key, _, _ in result.directions)] = result

    def released(self, release: Release) -> None:
        """A branch has moved: what was measured of its round, if this node had a part in it, now counts."""
        round_ = self._computed.pop((release.branch, release.height), {})
        for place in [
            place for place in self._computed if place[0] == release.branch and place[1] < release.height
        ]:
            del self._computed[place]
        if not round_:
            return
        sources = {each.key: each.source for each in release.used}
        for keys, result in round_.items():
            if keys and keys <= sources.keys():
                self._note_directions(release, sources, result.directions)
                break
        for result in round_.values():
            paths = {each.key: each.source for each in release.used if each.is_child}
            if result.heads and all(key in paths for key, _, _ in result.heads):
                self._note_heads(release, paths, result.heads)
                break

    def listing(self) -> list[dict[str, object]]:
        """What is suggested now, JSON-ready."""
        splits: list[dict[str, object]] = [
            {
                "kind": "split",
                "branch": path,
                "rounds": streak.rounds,
                "groups": [list(group) for group in streak.split.groups],
                "within": streak.split.within,
                "across": streak.split.across,
                "silhouette": streak.split.silhouette,
            }
            for path, streak in sorted(self._splits.items())
            if streak.rounds >= ROUNDS and streak.split is not None
        ]
        return splits + [
            {"kind": "merge", "branches": list(pair), "rounds": streak.rounds, "cosine": streak.cosine}
            for pair, streak in sorted(self._merges.items())
            if streak.rounds >= ROUNDS
        ]

    def _note_directions(
        self, release: Release, sources: Mapping[Digest, str], directions: Sequence[Direction]
    ) -> None:
        names = [sources[key] for key, _, _ in directions]
        cosines = np.array([row for _, _, row in directions], dtype=np.float64)
        found, before = split_of(names, cosines, self._fewest), self._splits.pop(release.branch, None)
        if found is None:
            return
        goes_on = before is not None and before.follows(release.height)
        goes_on = (
            goes_on and before is not None and before.split is not None and _is_same(before.split, found)
        )
        rounds = before.rounds + 1 if before is not None and goes_on else 1
        self._splits[release.branch] = _Streak(rounds, release.height, found)
        if rounds == ROUNDS:
            first, second = found.groups
            self._tell(
                BranchSplitSuggested(release.branch, rounds, first, second, found.within, found.across)
            )

    def _note_heads(self, release: Release, paths: Mapping[Digest, str], heads: Sequence[Direction]) -> None:
        for number, (digest, norm, row) in enumerate(heads):
            for place in range(number + 1, len(heads)):
                other, length, _ = heads[place]
                one, two = sorted((paths[digest], paths[other]))
                before = self._merges.pop((one, two), None)
                if distance_of(norm, length, row[place]) > NEAR:
                    continue
                rounds = before.rounds + 1 if before is not None and before.follows(release.height) else 1
                self._merges[one, two] = _Streak(rounds, release.height, cosine=row[place])
                if rounds == ROUNDS:
                    self._tell(BranchMergeSuggested(release.branch, rounds, (one, two), row[place]))


def _is_same(before: Split, now: Split) -> bool:
    """Whether two rounds show the same two groups, among those who took part in both."""
    sides = {name: side for side, group in enumerate(before.groups) for name in group}
    pairs = [(sides[name], side) for side, group in enumerate(now.groups) for name in group if name in sides]
    if len(pairs) < FEWEST:
        return False
    straight = sum(was == side for was, side in pairs)
    return max(straight, len(pairs) - straight) >= SAME * len(pairs)
