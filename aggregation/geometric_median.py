"""Geometric median: the point with the smallest sum of distances to the inputs."""

from __future__ import annotations

from typing import Final

import numpy as np

from .arithmetic import Matrix, product, total
from .errors import AggregationError
from .geometry import Geometry
from .rule import Points, WeightRule

FAR: Final = 2.0**20
"""Points further than this many median distances are drawn in to it. A far point pulls on the geometric
median with its direction alone, so that changes the result by less than a millionth, and it keeps the
squares of near and far distances within the digits of one float64."""


class GeometricMedian(WeightRule):
    """``argmin_v Σᵢ |xᵢ - v|``, found by Weiszfeld's iteration on distances until it stands still.

    Every input pulls with equal force, however far away it is, so up to half of them can be anything.
    With some weight left to every input it learns from all of them; the default among rules that need no
    trusted centre.

    ``tolerance``: it stops when the sum of distances falls by less than this share in one step; the vector
    is then within about its square root of the exact one (three fixed steps, as some do, are up to 11 %
    off). ``steps`` bounds the iteration where inputs lie on a line.

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
        squared, drawn = drawn_in(geometry)
        weights, distances = weiszfeld(squared, self.precision, self.steps)
        return undrawn(weights, drawn, geometry.centre), distances


def drawn_in(geometry: Geometry) -> tuple[Matrix, Matrix]:
    return geometry.squared, np.ones(len(geometry.squared))


def undrawn(weights: Matrix, drawn: Matrix, centre: int) -> Matrix:
    return weights


def weiszfeld(squared: Matrix, precision: float, steps: int) -> tuple[Matrix, Matrix]:
    """Weights (n,) of the geometric median of points with these squared distances (n, n), and the
    distance of each point to it."""
    n = len(squared)
    weights = np.full(n, 1 / n)
    floor = np.sqrt(np.median(squared)) * 1e-9
    cost = np.inf
    for _ in range(steps):
        distances = np.sqrt(to_mixture(squared, weights))
        now = total(distances)
        if not now < cost * (1 - precision):
            break
        cost = now
        pull = 1 / np.maximum(distances, max(floor, 1e-300))
        weights = pull / total(pull)
    return weights, distances


def to_mixture(squared: Matrix, weights: Matrix) -> Matrix:
    """Squared distances (n,) from n points to the mixture of them with ``weights`` (n,), summing to one."""
    towards = product(squared, weights)
    return np.maximum(towards - 0.5 * total(towards * weights), 0.0)
