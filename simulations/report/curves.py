"""Numbers by round, branch by branch where there are few branches, level by level of the tree where there are many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from banyan.simulations.record import RunRecord

__all__ = ["Curve", "Panel", "accuracies", "latencies", "level", "losses", "panels"]

#: With more branches than this, those of one level share a panel.
MOST_BRANCHES: Final = 6

#: Branch, round, value, and the worst that goes with it.
Point = tuple[str, int, float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """One number by round, and the band around it."""

    rounds: tuple[int, ...]
    middle: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """The curves of one branch or of one level of the tree, by arm.

    ``branches`` counts what is in it. Of one branch, a curve is its value and the band reaches to its worst device;
    of several, it is their median and the band holds the middle eight tenths of them. ``alone`` is what is reached
    without any exchange, None where nobody measured it.
    """

    title: str
    branches: int
    curves: dict[str, Curve]
    alone: float | None = None


def level(branch: str) -> int:
    """How far ``branch`` is from the root: 0 for ``/``."""
    return 0 if branch == "/" else branch.count("/")


def losses(record: RunRecord) -> Iterable[Point]:
    """Held-out loss by release."""
    return ((score.branch, score.height, score.loss, score.worst) for score in record.scores)


def accuracies(record: RunRecord) -> Iterable[Point]:
    """Held-out accuracy by release, where the task has such a notion."""
    return ((s.branch, s.height, s.accuracy, s.accuracy) for s in record.scores if s.accuracy is not None)


def latencies(record: RunRecord) -> Iterable[Point]:
    """Seconds from release to release."""
    return ((r.branch, r.height, r.latency / 1000, r.latency / 1000) for r in record.releases)


def panels(
    records: Sequence[RunRecord],
    points: Callable[[RunRecord], Iterable[Point]],
    alone: dict[str, float] | None = None,
) -> list[Panel]:
    """What ``points`` tells of each arm, in panels, parents first; empty where it tells nothing."""
    arms: dict[str, dict[str, dict[int, tuple[float, float]]]] = {}
    for record in records:
        by_branch = arms.setdefault(record.arm, defaultdict(dict))
        for branch, turn, value, worst in points(record):
            by_branch[branch][turn] = (value, worst)
    branches = sorted({branch for found in arms.values() for branch in found}, key=lambda b: (level(b), b))
    groups: dict[str, list[str]] = defaultdict(list)
    for branch in branches:
        groups[branch if len(branches) <= MOST_BRANCHES else f"level {level(branch)}"].append(branch)
    return [
        Panel(
            title if len(group) == 1 and title in group else _title(title, group),
            len(group),
            {
                arm: _curve([found[branch] for branch in group if branch in found])
                for arm, found in arms.items()
                if any(branch in found for branch in group)
            },
            _mean([alone[branch] for branch in group if branch in alone]) if alone else None,
        )
        for title, group in groups.items()
    ]


def _title(title: str, group: list[str]) -> str:
    return group[0] if len(group) == 1 else f"{title}: {len(group):,} branches"


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _curve(found: list[dict[int, tuple[float, float]]]) -> Curve:
    if len(found) == 1:
        rounds = sorted(found[0])
        values = tuple(found[0][turn][0] for turn in rounds)
        return Curve(tuple(rounds), values, values, tuple(found[0][turn][1] for turn in rounds))
    rounds = sorted({turn for each in found for turn in each})
    table = np.full((len(found), len(rounds)), np.nan)
    for row, each in enumerate(found):
        value = np.nan
        for column, turn in enumerate(rounds):
            value = (
                each[turn][0] if turn in each else value
            )  # a branch that has stopped keeps what it reached
            table[row, column] = value
    begun = [column[~np.isnan(column)] for column in table.T]
    low, middle, high = (
        tuple(float(np.percentile(column, share)) if len(column) else float("nan") for column in begun)
        for share in (10, 50, 90)
    )
    return Curve(tuple(rounds), middle, low, high)
