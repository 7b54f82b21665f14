"""Centered clipping: step from a trusted centre towards the inputs, none of which may pull further than τ."""

from __future__ import annotations

import numpy as np

from .arithmetic import Matrix, total
from .errors import AggregationError
from .geometric_median import to_mixture
from .points import Points
from .rule import WeightRule


class CenteredClipping(WeightRule):
    """``v ← v + (1/n) Σᵢ (xᵢ - v) min(1, τ / |xᵢ - v|)``, from the centre, ``steps`` times.

    The centre is ``around`` where it is given (such as the previous aggregate), else the origin, which for
    updates means "no change"; both are out of an attacker's reach. ``radius`` τ is by default the median
    distance of the inputs from v in each step: it needs no tuning, follows the scale of the updates, and
    no minority can set it.

    *Condition*: n >= 2f + 1. *Cost*: n²·d multiplications; ``scores``: distance to the result.
    *Paper*: Karimireddy et al., Learning from History for Byzantine Robust Optimization, 2021 (whose τ is
    fixed and whose proof needs f well below n / 2; with the median τ each step is bounded for f < n / 2).

    >>> import numpy as np
    >>> x = np.array([[1.0], [1.0], [1.0], [1.0], [1e9]], np.float32)
    >>> CenteredClipping(f=1)(x).vector < 1.7
    array([ True])
    """

    name = "centered-clipping"
    tolerance = 0.5

    def __init__(self, f: int = 0, radius: float | None = None, steps: int = 3) -> None:
        super().__init__(f)
        if (radius is not None and not radius > 0) or steps < 1:
            raise AggregationError("the radius must be above zero and steps at least one")
        self.radius, self.steps = radius, steps

    @property
    def minimum_n(self) -> int:
        return 2 * self.f + 1

    def weigh(self, points: Points) -> tuple[Matrix, Matrix | None]:
        n, geometry = points.n, points.everything
        squared, kept = geometry.drawn_in(n)
        position = np.zeros(len(squared))
        position[-1] = 1.0  # the origin or, where given, the vector to aggregate around
        for _ in range(self.steps):
            distances = np.sqrt(to_mixture(squared, position))[:n]
            radius = float(np.median(distances)) if self.radius is None else self.radius
            pull = np.minimum(1.0, radius / np.maximum(distances, 1e-300)) / n
            position *= 1 - total(pull)
            position[:n] += pull
        distances = np.sqrt(to_mixture(squared, position))[:n]
        return geometry.let_go(position, kept), distances
