"""Median: the middle value of every column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .rows import Float32s
from .rule import ColumnRule, Kernel
from .sorting_network import Sorter


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

    def kernel(self, n: int) -> Kernel:
        low, high = (n - 1) // 2, n // 2
        sort = Sorter(n, together={low, high})
        half = np.float32(0.5)

        def middle(views: Sequence[Float32s], out: Float32s) -> None:
            wires = sort(views)
            if low == high:
                out[:] = wires[low]
                return
            # Halved before they are added: the sum of two floats may leave their range.
            np.multiply(wires[low], half, out=out)
            out += wires[high] * half

        return middle
