"""How far the inputs are from each other: the n by n matrix that most rules decide on.

Squared distances are computed in one pass over the inputs, and everything a rule chooses or iterates
happens on them afterwards, in O(n²) or O(n³) float64 operations, without touching the inputs again.

**Integer codes** (all inputs int8 or int4 in the same blocks): exact. The inner products of two blocks of
codes are integers below 2**24, so a float32 matrix product holds them exactly on any BLAS with any number
of threads; they meet their scales in float64, in the order of the blocks. Every machine gets the same bits,
hence makes the same choices.

**Float32**: rows are centred on one of them before the products, because ``|x|² + |y|² - 2xy`` loses all
its digits when rows differ little from each other and a lot from zero (at differences of 1e-3 of the norm
its relative error is 0.9, and Krum picks another row 8 times of 10). The centre is the medoid of a sample
of columns, since one huge row from an attacker would spoil a mean. The centre is checked, not trusted:
pairs that are much closer to each other than to it are measured again around one of their own, so every
distance has a relative error below 1e-5 whatever the centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from .arithmetic import Matrix, product, total
from .encoding import TOP, EncodedVector
from .rows import Float32s, Row, Rows

Booleans: TypeAlias = npt.NDArray[np.bool_]
Integers: TypeAlias = npt.NDArray[np.int_]

FAR: Final = 2.0**20
"""How many median distances from the centre are very far."""

_EXACT: Final = 1 << 24
"""Integers up to here are exact in float32."""

_NEAR: Final = 1 / 16
"""A pair is measured again when its squared distance is this small beside those to the centre."""

_SAFE: Final = (1e-24, 1e30)
"""Squared lengths within which float32 products neither underflow nor overflow."""

SMALL_PRODUCT: Final = 1 << 18
"""Multiplications in one matrix product below which no BLAS we know starts threads, so that the number of
threads cannot change a bit."""


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


def measure(points: Sequence[Row], rows: Rows) -> Geometry:
    """The geometry of ``points``: the rows, in their order, and possibly some reference rows after them.

    Raises :class:`banyan.aggregation.errors.NotFinite` where an input holds NaN or an infinity.
    """
    if rows.integer_block and all(isinstance(point, EncodedVector) for point in points):
        return _measure_codes([p for p in points if isinstance(p, EncodedVector)], rows)
    return _measure_floats(points, rows)


def lengths_from(point: Row, rows: Rows) -> Matrix:
    """Squared distances (n,) of the rows from one point, by direct differences: one pass, O(n·d).

    Exact for rows and point in integer codes; raises :class:`NotFinite` like :func:`measure`.
    """
    if rows.integer_block and isinstance(point, EncodedVector):
        return np.ascontiguousarray(measure([*rows.rows, point], rows).squared[-1, :-1])
    lengths = _lengths_from(point, rows, np.dtype(np.float32))
    if not _safe(lengths, False):
        rows.refuse_nonfinite()
        lengths = _lengths_from(point, rows, np.dtype(np.float64))
    return lengths


def _lengths_from(point: Row, rows: Rows, dtype: np.dtype[Any]) -> Matrix:
    piece, n = 1024, rows.n
    width = rows.width(piece)
    apart = np.zeros(width, dtype)
    lengths = np.zeros(n)
    for start, stop, views in rows.blocks(width, [*rows.rows, point]):
        used = -(-(stop - start) // piece) * piece
        apart[stop - start : used] = 0
        middle = views[n].astype(dtype, copy=False)
        for i, view in enumerate(views[:n]):
            with np.errstate(over="ignore", invalid="ignore"):  # found by the caller, who then takes float64
                np.subtract(view, middle, out=apart[: stop - start])
                table = apart[:used].reshape(-1, piece)
                lengths[i] += float(np.add.reduce(np.vecdot(table, table), dtype=np.float64))
    return lengths


# ------------------------------------------------------------------------------------------ integer codes


def _measure_codes(points: Sequence[EncodedVector], rows: Rows) -> Geometry:
    block, p = rows.integer_block, len(points)
    codec = points[0].codec
    piece = min(block, _exact_columns(TOP[codec]))
    per_step = max(1, rows.width(block) // block)
    squared = np.zeros((p, p))
    width = per_step * block
    codes = np.zeros((p, width), np.float32)
    for start in range(0, rows.d, width):
        stop = min(rows.d, start + width)
        blocks = -(-(stop - start) // block)
        codes[:, stop - start :] = 0
        for row, space in zip(points, codes, strict=True):
            row.integers(start, stop, space[: stop - start])
        first = start // block
        scales = np.array([_scales(row)[first : first + blocks] for row in points], np.float64).T
        table = codes[:, : blocks * block].reshape(p, blocks, block // piece, piece)
        whole = table.transpose(1, 2, 0, 3)
        # Integers below 2**24 each, so their float64 sums are exact too.
        exact = np.add.reduce((whole @ whole.swapaxes(-1, -2)).astype(np.float64), axis=1)
        inner = exact * (scales[:, :, None] * scales[:, None, :])
        norms = np.einsum("bii->bi", inner)
        # Summed as distances, block by block: blocks in which two rows agree add exactly nothing.
        squared += np.add.reduce((norms[:, :, None] + norms[:, None, :]) - 2 * inner, axis=0)
    np.fill_diagonal(squared, 0.0)
    squared = np.maximum(squared, 0.0)
    return _around_medoid(squared, rows.n)


def _scales(row: EncodedVector) -> Float32s:
    assert row.scales is not None  # integer codecs have scales
    return row.scales


def _exact_columns(top: int) -> int:
    """The largest power of two of columns whose integer inner product is exact in float32."""
    return 1 << ((_EXACT // (top * top)).bit_length() - 1)


def _around_medoid(squared: Matrix, n: int) -> Geometry:
    centre = medoid(squared[:n, :n])
    to_centre = squared[centre]
    inner = 0.5 * ((to_centre[:, None] + to_centre[None, :]) - squared)
    return Geometry(squared, inner, centre)


def medoid(squared: Matrix) -> int:
    """The point whose median distance to all points is smallest (the first of equals)."""
    return int(np.argmin(np.partition(squared, len(squared) // 2, axis=1)[:, len(squared) // 2]))


# ------------------------------------------------------------------------------------------------ float32


def _measure_floats(points: Sequence[Row], rows: Rows) -> Geometry:
    p = len(points)
    twin = [*rows.twin, *range(rows.n, p)]
    centre = twin[medoid(_sampled(points, rows)[: rows.n, : rows.n])]
    twins = np.array(twin)
    inner = _inner_products(points, centre, rows, twins == centre)
    lengths = np.diagonal(inner)
    squared = (lengths[:, None] + lengths[None, :]) - 2 * inner
    same = np.equal.outer(twins, twins)
    squared[same] = 0.0
    near = (squared < _NEAR * (lengths[:, None] + lengths[None, :])) & ~same
    near[centre] = near[:, centre] = False
    _measure_again(squared, near, points, rows, twins)
    return Geometry(np.maximum(squared, 0.0), inner, centre)


def _sampled(points: Sequence[Row], rows: Rows) -> Matrix:
    """Squared distances over some 1,024 columns spread over the rows, by direct differences."""
    starts = np.unique(np.linspace(0, max(0, rows.d - 128), 8).astype(int))
    pieces = []
    for start in starts:
        stop = min(rows.d, int(start) + 128)
        pieces.append(
            np.stack(
                [p.decode(start, stop) if isinstance(p, EncodedVector) else p[start:stop] for p in points]
            )
        )
    sample = np.concatenate(pieces, axis=1).astype(np.float64)
    sample[~np.isfinite(sample)] = np.finfo(np.float32).max  # refused with its index in the full pass
    return np.array([np.add.reduce((sample - row) ** 2, axis=1) for row in sample])


def _measure_again(
    squared: Matrix, near: Booleans, points: Sequence[Row], rows: Rows, twins: Integers
) -> None:
    """Measure clusters of near pairs around one of their own, which it leaves; the rest is done in turn."""
    while near.any():
        hub = int(np.argmax(near.sum(axis=1)))
        cluster = [hub, *np.flatnonzero(near[hub]).tolist()]
        same = twins[cluster] == twins[hub]
        inner = _inner_products([points[i] for i in cluster], 0, rows, same)
        lengths = np.diagonal(inner)
        again = (lengths[:, None] + lengths[None, :]) - 2 * inner
        good = (again >= _NEAR * (lengths[:, None] + lengths[None, :])) & near[np.ix_(cluster, cluster)]
        good[0] = good[:, 0] = True
        np.fill_diagonal(good, False)
        for a, b in np.argwhere(good):
            i, j = cluster[a], cluster[b]
            squared[i, j] = max(again[a, b], 0.0)
            near[i, j] = False


def _inner_products(points: Sequence[Row], centre: int, rows: Rows, same_as_centre: Booleans) -> Matrix:
    """Inner products (p, p) of the points less point ``centre``: float32 products summed in float64, or
    float64 throughout where squares leave the range of float32."""
    inner = _products(points, centre, rows, np.dtype(np.float32))
    if _safe(np.diagonal(inner), same_as_centre):
        return inner
    rows.refuse_nonfinite()
    return _products(points, centre, rows, np.dtype(np.float64))


def _safe(lengths: Matrix, known_zero: Booleans | bool) -> bool:
    low, high = _SAFE
    return bool(np.all((lengths > low) & (lengths < high) | (known_zero & (lengths == 0))))


def _products(points: Sequence[Row], centre: int, rows: Rows, dtype: np.dtype[Any]) -> Matrix:
    p = len(points)
    # Small products, so that the number of threads cannot change a bit.
    piece = 1 << max(4, min(10, (SMALL_PRODUCT // (p * p)).bit_length() - 1))
    width = rows.width(piece)
    apart = np.zeros((p, width), dtype)
    inner = np.zeros((p, p))
    for start, stop, views in rows.blocks(width, points):
        used = -(-(stop - start) // piece) * piece
        apart[:, stop - start : used] = 0
        middle = views[centre].astype(dtype, copy=False)
        for view, space in zip(views, apart, strict=True):
            np.subtract(view, middle, out=space[: stop - start])
        table = apart[:, :used].reshape(p, used // piece, piece).transpose(1, 0, 2)
        with np.errstate(over="ignore", invalid="ignore"):  # found by the caller, who then takes float64
            inner += np.add.reduce(table @ table.swapaxes(1, 2), axis=0, dtype=np.float64)
    return 0.5 * (inner + inner.T)
