"""Nearest-neighbour averaging: the mean of one's own vector and those closest to it."""

from __future__ import annotations

import numpy as np

from .arithmetic import Matrix
from .mixing import MixingRule, Surroundings


class NearestNeighborAveraging(MixingRule):
    """The mean of the node's own vector and all neighbours but the f farthest from it.

    Applied to models trained with momentum it is MoNNA.

    *Condition*: n >= 2f neighbours. *Cost*: two passes, n·d multiplications.
    *Paper*: Farhadkhani et al., Robust Collaborative Learning with Linear Gradient Overhead, 2023.

    >>> import numpy as np
    >>> x = np.array([[1], [2], [90]], np.float32)
    >>> mixed = NearestNeighborAveraging(f=1)(np.zeros(1, np.float32), x)
    >>> mixed.vector, mixed.left_out
    (array([1.], dtype=float32), (2,))
    """

    name = "nna"

    def weigh(self, around: Surroundings) -> Matrix:
        n = len(around.distances)
        nearest = np.argsort(around.distances, kind="stable")[: n - self.f]
        weights = np.zeros(n)
        weights[nearest] = 1 / (n - self.f + 1)
        return weights
