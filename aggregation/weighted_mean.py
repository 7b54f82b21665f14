"""Weighted mean: an average in which somebody trusted says how much each input counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arithmetic import Matrix, total
from .errors import AggregationError
from .points import Points
from .rule import WeightRule


class WeightedMean(WeightRule):
    """``Σ wᵢ xᵢ / Σ wᵢ`` with weights in the order of the inputs; without weights, the mean.

    The weights must come from the charter or from what this node measured itself. A number of examples
    that a member claims is no weight: one claim of a million owns the result. No defence against
    malicious inputs (breakdown 0).

    *Condition*: n >= 1, as many weights as inputs, none negative, not all zero. *Cost*: one pass.
    *Paper*: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, 2017.

    >>> import numpy as np
    >>> WeightedMean(weights=[3, 1])(np.array([[1], [5]], np.float32)).vector
    array([2.], dtype=float32)
    """

    name = "weighted-mean"
    tolerance = 0.0

    def __init__(self, f: int = 0, weights: Sequence[float] | None = None) -> None:
        super().__init__(f)
        self.weights = None if weights is None else np.asarray(weights, np.float64)
        given = self.weights
        if given is not None and not (np.isfinite(given).all() and (given >= 0).all() and given.sum() > 0):
            raise AggregationError("weights must be finite, not negative, and not all zero")

    @property
    def minimum_n(self) -> int:
        return 1

    def weigh(self, points: Points) -> tuple[Matrix, Matrix | None]:
        if self.weights is None:
            return np.full(points.n, 1 / points.n), None
        if points.mix is not None:
            raise AggregationError("weights belong to inputs: put no pre-aggregation before a weighted mean")
        if len(self.weights) != points.n:
            raise AggregationError(f"got {points.n} inputs but {len(self.weights)} weights")
        weights = self.weights[points.rows.order]
        return weights / total(weights), None
