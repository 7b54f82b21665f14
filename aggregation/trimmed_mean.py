"""Trimmed mean: in every column, drop the f largest and the f smallest values and average the rest."""

from __future__ import annotations

from functools import lru_cache

from .column_program import ColumnProgram, Draft
from .rule import ColumnRule
from .sorting_network import sort


class TrimmedMean(ColumnRule):
    """The mean of each column without its f largest and f smallest values.

    ``(1/(n - 2f)) Σ_{k=f+1}^{n-f} x₍ₖ₎`` with x₍₁₎ <= ... <= x₍ₙ₎ the sorted column.

    *Condition*: n >= 2f + 1. *Cost*: one pass; a pruned sorting network, O(n log² n) comparisons a column.
    *Paper*: Yin et al., Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, 2018.

    >>> import numpy as np
    >>> TrimmedMean(f=1)(np.array([[1], [2], [6], [9], [-50]], np.float32)).vector
    array([3.], dtype=float32)
    """

    name = "trimmed-mean"
    tolerance = 0.5

    @property
    def minimum_n(self) -> int:
        return 2 * self.f + 1

    def program(self, n: int) -> ColumnProgram:
        return trimmed(n, self.f)


@lru_cache(maxsize=64)
def trimmed(n: int, f: int) -> ColumnProgram:
    """The mean of n values without the f largest and the f smallest."""
    draft, kept = Draft(n), slice(f, n - f)
    middle = sort(draft, draft.inputs, together=range(n)[kept])[kept]
    return draft.finish(draft.combine(middle, scale=1 / len(middle)))
