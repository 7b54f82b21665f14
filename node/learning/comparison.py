"""How far two adapters are apart, as a whole and in each target matrix. Numpy only.

A's rows are orthonormal, so the norm of a difference in B is the norm of the difference in the weights, over the
adapter's scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from banyan.node.learning.layout import Layout, Vector


@dataclass(frozen=True, slots=True)
class Distance:
    """Euclidean norms of two vectors and of ``second - first``, and the cosine of the angle between them (None where
    one of them is zero)."""

    first: float
    second: float
    difference: float
    cosine: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The distance of two adapters, and that of each target matrix's B by the matrix's name."""

    whole: Distance
    tensors: dict[str, Distance]


def compare(first: Vector, second: Vector, layout: Layout) -> Comparison:
    """Compare two adapters (float32, :class:`Layout` order); sums are taken in float64.

    Raises :class:`AdapterError` where one has another length.
    """
    ours, theirs = layout.split(first), layout.split(second)
    sums = {name: _sums(ours[name], theirs[name]) for name in ours}
    whole = np.sum([*sums.values()], axis=0)
    return Comparison(_distance(whole), {name: _distance(each) for name, each in sums.items()})


def _sums(first: Vector, second: Vector) -> np.ndarray:
    """Squares of both and of their difference, and their product, each summed: float64 ``(4,)``."""
    a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    apart = b - a
    return np.array([a @ a, b @ b, apart @ apart, a @ b])


def _distance(sums: np.ndarray) -> Distance:
    first, second, difference = (math.sqrt(each) for each in sums[:3])
    product = first * second
    cosine = float(np.clip(sums[3] / product, -1, 1)) if product else None
    return Distance(first, second, difference, cosine)
