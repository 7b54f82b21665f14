"""Trimmed mean: in every column, drop the f largest and the f smallest values and average the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .rows import Float32s
from .rule import ColumnRule, Kernel, add_up
from .sorting_network import Sorter


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

    def kernel(self, n: int) -> Kernel:
        kept = slice(self.f, n - self.f)
        sort = Sorter(n, together=range(n)[kept])
        share = np.float32(1 / (n - 2 * self.f))

        def trim(views: Sequence[Float32s], out: Float32s) -> None:
            average(sort(views)[kept], share, out)

        return trim


def average(views: Sequence[Float32s], share: np.float32, out: Float32s) -> None:
    """Write the mean of the rows to ``out``; ``share`` is one over their number."""
    add_up(views, out)
    out *= share
    if not np.isfinite(out).all():  # the sum left float32's range, the mean cannot
        out[:] = sum(view * share for view in views)
