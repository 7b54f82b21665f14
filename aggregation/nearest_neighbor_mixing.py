"""Nearest-neighbour mixing: every input is replaced by the mean of those closest to it."""

from __future__ import annotations

import numpy as np

from .arithmetic import Matrix
from .points import Points
from .rule import PreAggregation


class NearestNeighborMixing(PreAggregation):
    """Replace each input by the mean of its n - f nearest inputs, itself among them.

    Honest inputs come closer to each other, so that the rule after it has less variety to confuse with
    malice: with it, the rules reach the best possible order of error, O(f/n) of the honest variance.

    *Condition*: n >= 2f + 1. *Cost*: n²·d multiplications (shared with the rule's own distances), and for
    a column rule n²·d more to form the mixtures.
    *Paper*: Allouah et al., Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity, 2023.

    >>> import numpy as np
    >>> from .krum import MultiKrum
    >>> rule = NearestNeighborMixing(f=1) >> MultiKrum(f=1)
    >>> x = np.array([[1.0], [2.0], [3.0], [4.0], [50.0]], np.float32)
    >>> rule.label, float(rule(x).weights[4])
    ('nnm+multi-krum', 0.0)
    """

    name = "nnm"

    def mix(self, points: Points) -> Matrix:
        n, kept = points.n, points.n - self.f
        nearest = np.argsort(points.geometry.squared, axis=1, kind="stable")[:, :kept]
        weights = np.zeros((n, n))
        np.put_along_axis(weights, nearest, 1 / kept, axis=1)
        return weights
