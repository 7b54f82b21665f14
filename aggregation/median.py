"""Median: the middle value of every column."""

from __future__ import annotations

from functools import lru_cache

from .column_program import ColumnProgram, Draft
from .rule import ColumnRule
from .sorting_network import sort


class Median(ColumnRule):
    """The coordinate-wise median: of an even number of inputs, the mean of the two middle values.

    *Condition*: n >= 2f + 1. *Cost*: one pass; a pruned sorting network, O(n log² n) comparisons a column.
    *Paper*: Yin et al., Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, 2018.

    >>> import numpy as np
    >>> Median(f=1)(np.array([[1], [2], [4], [50]], np.float32)).vector
    array([3.], dtype=float32)
    """

    name = "median"
    tolerance = 0.5

    @property
    def minimum_n(self) -> int:
        return 2 * self.f + 1

    def program(self, n: int) -> ColumnProgram:
        return middle(n)


@lru_cache(maxsize=64)
def middle(n: int) -> ColumnProgram:
    """The median of n values."""
    draft, ranks = Draft(n), sorted({(n - 1) // 2, n // 2})
    ranked = sort(draft, draft.inputs, together=ranks)
    # Halved before they are added: the sum of two floats may leave their range.
    return draft.finish(draft.combine([ranked[rank] for rank in ranks], [1 / len(ranks)] * len(ranks)))
