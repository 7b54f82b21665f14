"""Points known by how far they are from each other: what most rules decide on.

Everything a rule chooses or iterates happens on these n by n matrices, in O(n²) or O(n³) float64 operations
in a fixed order, without touching the inputs again. ``banyan.aggregation.distances`` measures them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .arithmetic import Matrix, product, total

FAR: Final = 2.0**20
"""How many median distances from the centre are very far."""


@dataclass(frozen=True)
class Geometry:
    """Points known by their mutual distances.

    ``squared``: (p, p) float64, symmetric, zero diagonal. ``inner``: (p, p) float64, inner products of the
    points as seen from ``centre``, one of them that lies among the others.
    """

    squared: Matrix
    inner: Matrix
    centre: int

    def first(self, n: int) -> Geometry:
        """The geometry of the first n points, among which the centre is."""
        return Geometry(self.squared[:n, :n], self.inner[:n, :n], self.centre)

    def _lengths(self, steps: Matrix) -> Matrix:
        """Squared lengths (m,) of the vectors ``steps @ points``; each row of ``steps`` (m, p) sums to zero.

        From distances, which are exact between near points, or from inner products, which are exact for a
        small share of a very far one, whichever loses less to cancellation.
        """
        lengths, magnitude = -0.5 * _form(steps, self.squared), 0.5 * _form(np.abs(steps), self.squared)
        doubtful = np.flatnonzero(lengths < 1e-4 * magnitude)
        if len(doubtful):
            some = steps[doubtful]
            better = _form(np.abs(some), np.abs(self.inner)) < magnitude[doubtful]
            lengths[doubtful[better]] = _form(some[better], self.inner)
        return lengths

    def drawn_in(self, n: int) -> tuple[Matrix, Matrix]:
        """Squared distances (p, p) after very far points are drawn in towards the centre, and the share
        (p,) of its distance that each one keeps: 1 for all but the very far.

        Rules that iterate on distances need near and far ones within the digits of one float64. Points
        beyond :data:`FAR` times the median distance of the first n (the others being references that
        never count as far) are drawn in to it: clipping and medians feel their direction alone, so the
        result changes by less than a millionth.
        """
        lengths = np.diagonal(self.inner)
        typical = max(float(np.median(lengths[:n])), *lengths[n:].tolist(), 0.0)
        far = lengths > FAR * FAR * typical
        kept = np.ones(len(lengths))
        kept[far] = FAR * np.sqrt(typical / lengths[far])
        if not far.any():
            return self.squared, kept
        inner = self.inner * np.multiply.outer(kept, kept)
        lengths = np.diagonal(inner)
        drawn = np.maximum(lengths[:, None] + lengths[None, :] - 2 * inner, 0.0)
        either = far[:, None] | far[None, :]
        squared = np.where(either, drawn, self.squared)
        np.fill_diagonal(squared, 0.0)
        return squared, kept

    def let_go(self, weights: Matrix, kept: Matrix) -> Matrix:
        """Weights (p,) over drawn-in points as weights over the points themselves."""
        released = weights * kept
        released[self.centre] += total(weights * (1 - kept))
        return released

    def mixed(self, weights: Matrix, n: int) -> Geometry:
        """The geometry of the points ``weights @ points``; each row of ``weights`` (k, p) sums to one.
        The first n of them may become the centre.

        Distances follow from differences of weights, so points with equal weights stay at distance zero.
        """
        k = len(weights)
        first, second = np.triu_indices(k, 1)
        squared = np.zeros((k, k))
        squared[first, second] = np.maximum(self._lengths(weights[first] - weights[second]), 0.0)
        squared += squared.T
        centre = medoid(squared[:n, :n])
        shift = weights - weights[centre]
        inner = product(product(shift, self.inner), np.ascontiguousarray(shift.T))
        return Geometry(squared, inner, centre)


def _form(steps: Matrix, matrix: Matrix) -> Matrix:
    """``sᵀ matrix s`` for each row s of ``steps`` (m, p): (m,)."""
    return np.ascontiguousarray(np.cumsum(product(steps, matrix) * steps, axis=1)[:, -1])


def around_medoid(squared: Matrix, n: int) -> Geometry:
    """The geometry of points with these squared distances, seen from the medoid of the first n."""
    centre = medoid(squared[:n, :n])
    to_centre = squared[centre]
    inner = 0.5 * ((to_centre[:, None] + to_centre[None, :]) - squared)
    return Geometry(squared, inner, centre)


def medoid(squared: Matrix) -> int:
    """The point whose median distance to all points is smallest (the first of equals)."""
    return int(np.argmin(np.partition(squared, len(squared) // 2, axis=1)[:, len(squared) // 2]))
