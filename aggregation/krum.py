"""Krum and Multi-Krum: trust the inputs that have the closest neighbours."""

from __future__ import annotations

import numpy as np

from .arithmetic import Matrix
from .errors import AggregationError
from .points import Points
from .rule import WeightRule


def krum_scores(squared: Matrix, f: int) -> Matrix:
    """For each point the sum of its squared distances to its n - f - 2 nearest others (n,).

    ``squared``: (n, n) with a zero diagonal. At least one neighbour counts.
    """
    n = len(squared)
    nearest = np.sort(squared, axis=1)[:, : 1 + max(1, n - f - 2)]  # the first is its distance to itself
    scores: Matrix = np.cumsum(nearest, axis=1)[:, -1]
    return scores


class Krum(WeightRule):
    """The one input that is closest to its n - f - 2 nearest others.

    ``argminᵢ Σ_{j ∈ N(i)} |xᵢ - xⱼ|²`` with N(i) the n - f - 2 nearest other inputs; among equals, the
    first by content. Uses one input and throws the others away: safe against gross attacks, slow to
    learn, and poor where honest inputs differ a lot.

    *Condition*: n >= 2f + 3. *Cost*: n²·d multiplications. ``scores``: the sums above.
    *Paper*: Blanchard et al., Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent, 2017.

    >>> import numpy as np
    >>> x = np.array([[1.0], [1.1], [0.9], [1.05], [50.0]], np.float32)
    >>> Krum(f=1)(x).left_out
    (0, 1, 2, 4)
    """

    name = "krum"
    tolerance = 0.5

    @property
    def minimum_n(self) -> int:
        return 2 * self.f + 3

    def weigh(self, points: Points) -> tuple[Matrix, Matrix | None]:
        scores = krum_scores(points.geometry.squared, self.f)
        weights = np.zeros(points.n)
        weights[np.argmin(scores)] = 1
        return weights, scores


class MultiKrum(WeightRule):
    """The mean of the m inputs with the lowest Krum scores, by default m = n - f.

    Between Krum (m = 1) and the mean (m = n). With m = n - f it keeps as many inputs as are honest.

    *Condition*: n >= 2f + 3, 1 <= m <= n - f. *Cost*: n²·d multiplications. ``scores``: as Krum's.
    *Paper*: Blanchard et al., 2017; m = n - f as in Damaskinos et al., AggregaThor, 2019.

    >>> import numpy as np
    >>> x = np.array([[1.0], [2.0], [3.0], [4.0], [50.0]], np.float32)
    >>> result = MultiKrum(f=1)(x)
    >>> result.vector, result.left_out
    (array([2.5], dtype=float32), (4,))
    """

    name = "multi-krum"
    tolerance = 0.5

    def __init__(self, f: int = 0, m: int | None = None) -> None:
        super().__init__(f)
        if m is not None and m < 1:
            raise AggregationError(f"Multi-Krum averages at least one input, not m = {m}")
        self.m = m

    @property
    def minimum_n(self) -> int:
        return max(2 * self.f + 3, (self.m or 0) + self.f)

    def weigh(self, points: Points) -> tuple[Matrix, Matrix | None]:
        m = points.n - self.f if self.m is None else self.m
        scores = krum_scores(points.geometry.squared, self.f)
        weights = np.zeros(points.n)
        weights[np.argsort(scores, kind="stable")[:m]] = 1 / m
        return weights, scores
