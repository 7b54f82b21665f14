"""Norm clipping and ARC: shorten the long inputs before the rule, by a bound given or found."""

from __future__ import annotations

import math

import numpy as np

from .arithmetic import Matrix
from .errors import AggregationError
from .points import Points
from .rule import PreAggregation


class NormClipping(PreAggregation):
    """Shorten every input longer than ``radius`` to it: ``x min(1, radius / |x|)``.

    A radius keeps what one input can do in one round below a number that is known beforehand; without one
    it is the median of the lengths, which no minority can set.

    *Condition*: n >= 2f + 1. *Cost*: one pass for the lengths.
    *Paper*: Sun et al., Can You Really Backdoor Federated Learning?, 2019.

    >>> import numpy as np
    >>> from .mean import Mean
    >>> (NormClipping(radius=2.0) >> Mean())(np.array([[1], [9]], np.float32)).vector
    array([1.5], dtype=float32)
    """

    name = "norm-clipping"

    def __init__(self, f: int = 0, radius: float | None = None) -> None:
        super().__init__(f)
        if radius is not None and not radius > 0:
            raise AggregationError(f"the radius must be above zero, not {radius}")
        self.radius = radius

    def mix(self, points: Points) -> Matrix:
        lengths = np.sqrt(points.lengths)
        return clip(lengths, float(np.median(lengths)) if self.radius is None else self.radius, points)


class AdaptiveClipping(PreAggregation):
    """ARC: shorten the ⌊2 (f/n) (n - f)⌋ longest inputs to the length of the next one.

    The radius follows the inputs, and clipping so few of them provably keeps the guarantee of the rule
    that follows, which a fixed radius does not; it helps most while models are far from trained.

    *Condition*: n >= 2f + 1. *Cost*: one pass for the lengths.
    *Paper*: Allouah et al., Adaptive Gradient Clipping for Robust Federated Learning, 2025 (Algorithm 2).

    >>> import numpy as np
    >>> from .mean import Mean
    >>> (AdaptiveClipping(f=1) >> Mean())(np.array([[1], [2], [3], [50]], np.float32)).vector
    array([2.25], dtype=float32)
    """

    name = "arc"

    def mix(self, points: Points) -> Matrix:
        lengths = np.sqrt(points.lengths)
        clipped = math.floor(2 * self.f * (points.n - self.f) / points.n)
        return clip(lengths, float(np.sort(lengths)[points.n - clipped - 1]), points)


def clip(lengths: Matrix, radius: float, points: Points) -> Matrix:
    """Each point as a mixture of itself and the origin that is at most ``radius`` long."""
    n = points.n
    kept = np.minimum(1.0, radius / np.maximum(lengths, 1e-300))
    weights = np.zeros((n, len(points.coordinates())))
    weights[np.arange(n), np.arange(n)] = kept
    weights[:, n] = 1 - kept
    return weights
