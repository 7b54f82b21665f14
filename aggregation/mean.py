"""Mean: the average of the inputs; what plain federated averaging does, and no defence at all."""

from __future__ import annotations

import numpy as np

from .arithmetic import Matrix
from .evaluation import evaluate
from .points import Points, weighted_sum
from .rule import Aggregate, WeightRule


class Mean(WeightRule):
    """The average of all inputs: ``(1/n) Σ xᵢ``.

    One malicious input moves it anywhere (breakdown 0): kept as the baseline that robust rules are
    compared with, and for networks in which every member is trusted.

    *Condition*: n >= 1; f is accepted and ignored. *Cost*: one pass, n·d additions.
    *Paper*: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, 2017.

    >>> import numpy as np
    >>> Mean()(np.array([[1, 2], [3, 6]], np.float32)).vector
    array([2., 4.], dtype=float32)
    """

    name = "mean"
    tolerance = 0.0

    @property
    def minimum_n(self) -> int:
        return 1

    def weigh(self, points: Points) -> tuple[Matrix, Matrix | None]:
        return np.array([1 / points.n] * points.n), None

    def aggregate(self, points: Points) -> Aggregate:
        if points.mix is not None:
            return super().aggregate(points)
        # Nothing to weigh: for short rows that would take longer than the sum.
        n = points.n
        vector = evaluate(weighted_sum((1 / n,) * n), points.rows)
        return Aggregate(vector, np.full(n, 1 / n))
