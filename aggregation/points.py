"""The points a rule sees: the inputs, or mixtures of them after a pre-aggregation.

Mixtures are kept as weights over the inputs and never computed as a whole: their distances follow from
the distances of the inputs, a weighted sum of mixtures is a weighted sum of inputs, and a rule that needs
their columns gets them block by block. So a chain of any length reads the inputs once for the distances
and once for the values.

Beside the n inputs two references may take part: the origin (for updates: "no change"), and a vector the
caller trusts. Weights of a point over inputs and references sum to one, so a clipped input, for instance,
is a mixture of that input and the origin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from .arithmetic import Matrix, product
from .distances import lengths_from, measure
from .geometry import Geometry
from .inner_products import SMALL_PRODUCT
from .rows import Float32s, Row, Rows, finite, origin, read

_COLUMNS = 1 << 16
"""Columns of one block of values: wide, since NumPy's cost per call outweighs the cache here (measured)."""

_STREAM = 1 << 18
"""Columns of one block of a weighted sum, which reads one row after the other beside the one it adds to:
as wide as that fits a second-level cache, since long runs are read fastest (measured: 64 Ki take 1.3 times
as long)."""

_MEMORY = 1 << 24
"""Bytes that one block of all rows may take."""


class Points:
    """n points in canonical order, as weights ``mix`` (n, p) over the p base rows: the inputs, the origin
    and, where the caller gave one, the vector to aggregate around. None: the inputs themselves."""

    def __init__(
        self, rows: Rows, around: Row | None = None, mix: Matrix | None = None, base: Points | None = None
    ) -> None:
        self.rows, self.around, self.mix = rows, around, mix
        self.base = self if base is None else base

    @classmethod
    def measured(cls, rows: Rows, everything: Geometry) -> Points:
        """Points whose distances, to each other and then to the origin, are known already."""
        points = cls(rows)
        points.everything = everything
        return points

    @property
    def n(self) -> int:
        """How many points there are, without the references."""
        return self.rows.n if self.mix is None else len(self.mix)

    @cached_property
    def base_rows(self) -> list[Row]:
        """The inputs, the origin and, where there is one, the vector to aggregate around."""
        return [*self.rows.rows, origin(self.rows), *([] if self.around is None else [self.around])]

    @cached_property
    def geometry(self) -> Geometry:
        """Distances between the n points."""
        if self.mix is None:
            if "everything" in self.__dict__:
                return self.everything.first(self.n)
            return measure(self.rows.rows, self.rows)
        if np.any(self.mix[:, self.rows.n :]):
            return self.base.everything.mixed(self.mix, self.n)
        return self.base.geometry.mixed(np.ascontiguousarray(self.mix[:, : self.rows.n]), self.n)

    @cached_property
    def everything(self) -> Geometry:
        """Distances between the n points, the origin and, where there is one, the vector to aggregate
        around, in this order: the last is the one a rule clips around."""
        if self.mix is None:
            return measure(self.base_rows, self.rows)
        return self.base.everything.mixed(self.coordinates(), self.n)

    @cached_property
    def lengths(self) -> Matrix:
        """Squared lengths (n,) of the points: their squared distances from the origin."""
        if self.mix is not None or "everything" in self.__dict__:
            return np.ascontiguousarray(self.everything.squared[: self.n, self.n])
        return lengths_from(self.base_rows[self.n], self.rows)

    def coordinates(self) -> Matrix:
        """Weights (n + references, p) over the base rows of the points and then of the references."""
        identity = np.eye(len(self.base_rows))
        return identity if self.mix is None else np.vstack([self.mix, identity[self.rows.n :]])

    def mixed(self, weights: Matrix) -> Points:
        """New points ``weights @ points``: (k, n), or (k, n + references) to use those too."""
        mix = product(weights, self.coordinates()[: weights.shape[1]])
        return Points(self.rows, self.around, mix, self.base)

    def shares(self, weights: Matrix) -> Matrix:
        """Weights (n,) or (n + references,) over the points as weights over the base rows (or the first)."""
        if self.mix is None:
            return weights
        used = self.coordinates()[: len(weights)]
        return product(np.ascontiguousarray(used.T), weights)

    def blocks(self) -> Iterator[tuple[int, int, Sequence[Float32s]]]:
        """Yield (start, stop, rows): the n points in columns [start, stop), read only."""
        if self.mix is None:
            yield from self.rows.blocks(self._width(self.n))
            return
        if np.all(np.count_nonzero(self.mix, axis=1) == 1):
            chosen = [self.base_rows[i] for i in self.mix.argmax(axis=1)]
            yield from self.rows.blocks(self._width(self.n), chosen)
            return
        used = np.flatnonzero(self.mix.any(axis=0))
        mix = np.ascontiguousarray(self.mix[:, used], np.float32)
        # Small products, so that the number of threads cannot change a bit.
        piece = max(16, 1 << ((SMALL_PRODUCT // mix.size).bit_length() - 1))
        width = self._width(self.n + len(used)) // piece * piece
        source = np.zeros((len(used), width), np.float32)
        target = np.empty((self.n, width), np.float32)
        chosen = [self.base_rows[i] for i in used]
        for start, stop in self.rows.spans(width, chosen):
            size = stop - start
            for row, space in zip(chosen, source, strict=True):
                view = read(row, start, stop, space)
                if isinstance(row, np.ndarray):  # otherwise it was decoded into its place
                    space[:size] = view
            pieces = -(-size // piece)
            table = source[:, : pieces * piece].reshape(len(used), pieces, piece).transpose(1, 0, 2)
            out = target[:, : pieces * piece].reshape(self.n, pieces, piece).transpose(1, 0, 2)
            np.matmul(mix, table, out=out)
            yield start, stop, list(target[:, :size])

    def _width(self, n: int) -> int:
        return max(1024, min(_COLUMNS, _MEMORY // (4 * n)))

    def combine(self, shares: Matrix) -> Float32s:
        """The vector ``shares @ base rows``, in float32, summed in their canonical order.

        Elementwise products and sums, each correctly rounded, so the same on every machine; equal shares
        are summed first and multiplied once. Where that leaves float32's range it is done in float64.
        """
        used = np.flatnonzero(shares)
        if not len(used):
            return np.zeros(self.rows.d, np.float32)
        base = self.rows.rows if len(shares) == self.rows.n else self.base_rows
        chosen = [base[i] for i in used]
        factors = shares[used].astype(np.float32)
        step = _add_up if np.all(factors == factors[0]) else _weigh_and_add_up
        vector = np.empty(self.rows.d, np.float32)
        width = min(_STREAM, self.rows.d)
        plain = all(isinstance(row, np.ndarray) for row in chosen)
        decoded = np.empty(0 if plain else width, np.float32)
        for start, stop in self.rows.spans(width, chosen):
            views = (read(row, start, stop, decoded) for row in chosen)
            step(views, factors, vector[start:stop])
            if not finite(vector[start:stop]):
                self.rows.refuse_nonfinite()
                views = (read(row, start, stop, decoded) for row in chosen)
                _add_up_wide(views, shares[used], vector[start:stop])
        return vector


def _add_up(views: Iterator[Float32s], factors: Float32s, out: Float32s) -> None:
    """The sum of the rows times the one factor they share."""
    np.copyto(out, next(views))
    for view in views:
        np.add(out, view, out=out)
    np.multiply(out, factors[0], out=out)


def _weigh_and_add_up(views: Iterator[Float32s], factors: Float32s, out: Float32s) -> None:
    np.multiply(next(views), factors[0], out=out)
    term = np.empty_like(out)
    for view, factor in zip(views, factors[1:], strict=True):
        np.multiply(view, factor, out=term)
        np.add(out, term, out=out)


def _add_up_wide(views: Iterator[Float32s], factors: Matrix, out: Float32s) -> None:
    """In float64, where the sum left float32's range, which the result need not."""
    whole = np.zeros(len(out))
    for view, factor in zip(views, factors, strict=True):
        whole += view.astype(np.float64) * factor
    out[:] = whole
