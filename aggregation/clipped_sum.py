"""CS+: step towards every neighbour, the 2f farthest of them clipped to the next one's distance."""

from __future__ import annotations

import numpy as np

from .arithmetic import Matrix
from .mixing import MixingRule, Surroundings, clipped


class ClippedSum(MixingRule):
    """``x + 1/(n+1) Σⱼ clip(xⱼ - x, τ)`` with the radius τ at the (2f + 1)-th largest distance.

    Where f neighbours lie, the other f clipped ones are honest: the worst that clipping does to them is
    about what the liars can do. Its breakdown is the best known for sparse graphs (honest connectivity
    μ₂ > 2f). With 2f neighbours or fewer the radius is zero and the node keeps to itself.

    *Condition*: n >= 2f neighbours. *Cost*: two passes, n·d multiplications.
    *Paper*: Gaucher, Dieuleveut and Hendrikx, Unified Breakdown Analysis for Byzantine Robust Gossip, 2025
    (CS₊-RG).

    >>> import numpy as np
    >>> x = np.array([[1], [2], [3], [90]], np.float32)
    >>> ClippedSum(f=1)(np.zeros(1, np.float32), x).vector.round(2)
    array([1.4], dtype=float32)
    """

    name = "cs+"

    def weigh(self, around: Surroundings) -> Matrix:
        n = len(around.distances)
        ascending = np.sort(around.distances)
        radius = np.inf if not self.f else float(ascending[n - 2 * self.f - 1]) if n > 2 * self.f else 0.0
        return clipped(around.distances, radius) / (n + 1)
