"""Geometric median: the point with the smallest sum of distances to the inputs."""

from __future__ import annotations

import numpy as np

from .arithmetic import Matrix, product, total
from .errors import AggregationError
from .points import Points
from .rule import WeightRule


class GeometricMedian(WeightRule):
    """``argmin_v Σᵢ |xᵢ - v|``, found by Weiszfeld's iteration on distances until it stands still.

    Every input pulls with equal force, however far away it is, so up to half of them can be anything.
    Every honest input keeps some weight, so it learns from all of them.

    ``precision``: it stops when the sum of distances falls by less than this share in one step; the vector
    is then within about a millionth of the exact one (three fixed steps, as some do, are up to 11 % off).
    ``steps`` bounds the iteration where inputs lie almost on a line. ``scores``: distance to the result.

    *Condition*: n >= 2f + 1. *Cost*: n²·d multiplications, then O(n²) a step.
    *Papers*: Weiszfeld, 1937; Vardi and Zhang, 2000 (when the iterate meets an input); Pillutla et al.,
    Robust Aggregation for Federated Learning, 2022.

    >>> import numpy as np
    >>> x = np.array([[0, 0], [2, 0], [1, 1], [1, -1], [1e6, 1e6]], np.float32)
    >>> bool(np.abs(GeometricMedian(f=1)(x).vector - [1, 0]).max() < 0.5)
    True
    """

    name = "geometric-median"
    tolerance = 0.5

    def __init__(self, f: int = 0, precision: float = 1e-14, steps: int = 1000) -> None:
        super().__init__(f)
        if not precision > 0 or steps < 1:
            raise AggregationError("precision must be above zero and steps at least one")
        self.precision, self.steps = precision, steps

    @property
    def minimum_n(self) -> int:
        return 2 * self.f + 1

    def weigh(self, points: Points) -> tuple[Matrix, Matrix | None]:
        geometry = points.geometry
        squared, kept = geometry.drawn_in(points.n)
        weights = weiszfeld(squared, self.precision, self.steps)
        distances = np.sqrt(to_mixture(squared, weights))
        return geometry.let_go(weights, kept), distances


def weiszfeld(squared: Matrix, precision: float, steps: int) -> Matrix:
    """Weights (n,) of the geometric median of n points with these squared distances (n, n)."""
    n = len(squared)
    best = int(np.argmin(np.add.reduce(np.sqrt(squared), axis=0)))
    if _is_median(best, squared):
        alone: Matrix = np.eye(n)[best]
        return alone
    weights: Matrix = np.full(n, 1 / n)
    cost = np.inf
    for _ in range(steps):
        distances = np.sqrt(to_mixture(squared, weights))
        now = total(distances)
        if now >= cost * (1 - precision):
            break
        cost = now
        pull = 1 / np.maximum(distances, 1e-12 * cost / n)
        weights = pull / total(pull)
    return weights


def _is_median(k: int, squared: Matrix) -> bool:
    """Whether point k is the geometric median: the unit vectors from it to the points elsewhere add up to
    no more than the number of points that lie on it (Vardi and Zhang, 2000)."""
    distances = np.sqrt(squared[k])
    elsewhere = distances > 0
    if not elsewhere.any():
        return True
    inner = 0.5 * ((squared[k][:, None] + squared[k][None, :]) - squared)[np.ix_(elsewhere, elsewhere)]
    units = 1 / distances[elsewhere]
    pull = total(product(inner, units) * units)
    here = len(distances) - np.count_nonzero(elsewhere)
    return bool(pull <= here * here)


def to_mixture(squared: Matrix, weights: Matrix) -> Matrix:
    """Squared distances (p,) from p points to the mixture of them with ``weights`` (p,), summing to one."""
    towards = product(squared, weights)
    return np.maximum(towards - 0.5 * total(towards * weights), 0.0)
