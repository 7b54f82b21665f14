"""MeaMed: in every column, the mean of the n - f values closest to the median."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .rows import Float32s
from .rule import ColumnRule, Kernel
from .sorting_network import Sorter
from .trimmed_mean import average


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

    def kernel(self, n: int) -> Kernel:
        return closest_to_median(n, n - self.f)


def closest_to_median(n: int, kept: int) -> Kernel:
    """The mean of each column's ``kept`` values closest to its median.

    In a sorted column they stand side by side, from some place s on. The window starts at s = 0 and moves
    up while the value it would gain is closer to the median than the one it would lose.
    """
    sort = Sorter(n, ordered=range(n))
    low, high = (n - 1) // 2, n // 2
    share, half = np.float32(1 / kept), np.float32(0.5)

    def mean_of_closest(views: Sequence[Float32s], out: Float32s) -> None:
        ranked = sort(views)
        middle = ranked[low] if low == high else ranked[low] * half + ranked[high] * half
        twice = middle + middle
        window = ranked[:kept]
        for gained, lost in zip(ranked[kept:], ranked, strict=False):
            np.copyto(window[0], gained, where=lost + gained < twice)
            window.append(window.pop(0))
        average(window, share, out)

    return mean_of_closest
