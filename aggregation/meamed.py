"""MeaMed: in every column, the mean of the n - f values closest to the median."""

from __future__ import annotations

from functools import lru_cache

from .column_program import ColumnProgram, Draft
from .rule import ColumnRule
from .sorting_network import sort


class MeaMed(ColumnRule):
    """The mean of each column's n - f values closest to its median; of two equally close, the smaller.

    Keeps f more values than the trimmed mean, and loses less where honest values are skewed.

    *Condition*: n >= 2f + 1. *Cost*: one pass; a sorting network, and f steps to find the closest.
    *Paper*: Xie et al., Generalized Byzantine-tolerant SGD, 2018 (mean-around-median).

    >>> import numpy as np
    >>> MeaMed(f=1)(np.array([[1], [2], [6], [-50]], np.float32)).vector
    array([3.], dtype=float32)
    """

    name = "meamed"
    tolerance = 0.5

    @property
    def minimum_n(self) -> int:
        return 2 * self.f + 1

    def program(self, n: int) -> ColumnProgram:
        return closest_to_median(n, n - self.f)


@lru_cache(maxsize=64)
def closest_to_median(n: int, kept: int) -> ColumnProgram:
    """The mean of the ``kept`` of n values that are closest to their median.

    Of sorted values they stand side by side, from some place s on. The window starts at s = 0 and moves
    up while the value it would gain is closer to the median than the one it would lose.
    """
    draft = Draft(n)
    ranked = sort(draft, draft.inputs)
    twice = draft.combine([ranked[(n - 1) // 2], ranked[n // 2]])
    window = ranked[:kept]
    for gained, lost in zip(ranked[kept:], ranked, strict=False):
        window.append(draft.closer(window.pop(0), gained, lost, twice))
    return draft.finish(draft.combine(window, scale=1 / kept))
