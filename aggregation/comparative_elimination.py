"""Comparative gradient elimination: leave out the f longest inputs and average the rest."""

from __future__ import annotations

import numpy as np

from .arithmetic import Matrix
from .points import Points
from .rule import WeightRule


class ComparativeElimination(WeightRule):
    """The mean of the n - f inputs of smallest length.

    The cheapest rule that resists inputs of any size, for very many inputs on a weak device: it compares
    lengths only, so an attacker who keeps to a common length may point anywhere with f / n of the whole.

    *Condition*: n >= 2f + 1. *Cost*: two passes, n·d multiplications; ``scores``: the lengths.
    *Paper*: Gupta, Liu and Vaidya, Byzantine Fault-Tolerant Distributed Machine Learning Using Stochastic
    Gradient Descent and Norm-Based Comparative Gradient Elimination, 2021.

    >>> import numpy as np
    >>> ComparativeElimination(f=1)(np.array([[1], [-3], [2], [9]], np.float32)).left_out
    (3,)
    """

    name = "cge"
    tolerance = 0.5

    @property
    def minimum_n(self) -> int:
        return 2 * self.f + 1

    def weigh(self, points: Points) -> tuple[Matrix, Matrix | None]:
        n, kept = points.n, points.n - self.f
        weights = np.zeros(n)
        weights[np.argsort(points.lengths, kind="stable")[:kept]] = 1 / kept
        return weights, np.sqrt(points.lengths)
