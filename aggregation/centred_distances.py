"""Distances of float32 rows, with five good digits wherever the rows lie.

``|x|² + |y|² - 2xy`` loses all its digits when rows differ little from each other and a lot from zero: at
differences of 1e-3 of the norm its relative error is 0.9, and Krum picks another row 8 times of 10. So
rows are centred on one of them before the products. The centre is the row nearest to the median of a sample
of columns, since one huge row from an attacker would spoil a mean. It is checked, not trusted: pairs that
are much closer to each other than to it are measured again around one of their own, so every distance has
a relative error below 1e-5 whatever the centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from .arithmetic import Matrix
from .compiled import kernels
from .device import accelerator
from .geometry import Geometry
from .inner_products import gram, piece_for
from .rows import Row, Rows, read

Booleans: TypeAlias = npt.NDArray[np.bool_]
Integers: TypeAlias = npt.NDArray[np.int_]

_NEAR: Final = 1 / 16
"""A pair is measured again when its squared distance is this small beside those to the centre."""

_SAFE: Final = (1e-24, 1e30)
"""Squared lengths within which float32 products neither underflow nor overflow."""


def measure_floats(points: Sequence[Row], rows: Rows) -> Geometry:
    """The geometry of points: the rows and then any references, decoded where they are encoded."""
    twins = np.array([*rows.twin, *range(rows.n, len(points))])
    centre = int(twins[_central(rows)])
    inner = _inner_products(points, centre, rows, twins == centre)
    lengths = np.diagonal(inner)
    together = lengths[:, None] + lengths[None, :]
    squared = together - 2 * inner
    same = np.equal.outer(twins, twins)
    squared[same] = 0.0
    near = (squared < _NEAR * together) & ~same
    near[centre] = near[:, centre] = False
    _measure_again(squared, near, points, rows, twins)
    return Geometry(np.maximum(squared, 0.0), inner, centre)


def _central(rows: Rows) -> int:
    """The row nearest to the median, column by column, of 512 columns spread over the rows."""
    width = min(rows.d, 128)
    sample = np.empty((rows.n, 4 * width), np.float32)
    scratch = np.empty(width, np.float32)
    for k in range(4):
        start = (rows.d - width) * k // 3
        for row, space in zip(rows.rows, sample, strict=True):
            space[k * width : (k + 1) * width] = read(row, start, start + width, scratch)
    # Infinities are refused with their index in the full pass.
    away = np.nan_to_num(sample).astype(np.float64)
    away -= np.sort(away, axis=0)[rows.n // 2]
    return int(np.argmin(np.einsum("ij,ij->i", away, away)))


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
    if (device := accelerator(points, rows.d)) is not None:
        return device.inner_products(centre, dtype == np.float64)
    p = len(points)
    inner = np.zeros((p, p))
    if kernels is not None and dtype == np.float32:
        for _, _, views in rows.stretches(rows.width(1024), list(points)):
            kernels.add_inner_products(views, centre, inner)
        return np.triu(inner) + np.triu(inner, 1).T
    piece = piece_for(p)
    width = min(rows.width(piece), -(-rows.d // piece) * piece)
    apart = np.zeros((p, width), dtype)
    for start, stop, views in rows.blocks(width, points):
        used = -(-(stop - start) // piece) * piece
        apart[:, stop - start : used] = 0
        middle = views[centre].astype(dtype, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):  # found by the caller, who then takes float64
            for view, space in zip(views, apart, strict=True):
                np.subtract(view, middle, out=space[: stop - start])
            inner += np.add.reduce(gram(apart[:, :used].reshape(p, -1, piece)), axis=0, dtype=np.float64)
    return 0.5 * (inner + inner.T)


def squared_lengths(points: Sequence[Row], centre: Row, rows: Rows) -> Matrix:
    """Squared distances (p,) of the points from another one, by direct differences: O(p·d)."""
    if (device := accelerator([*points, centre], rows.d)) is not None:
        lengths = device.squared_lengths(len(points))[:-1]
        if not np.isfinite(lengths).all():
            rows.refuse_nonfinite()
        return lengths
    lengths = _lengths_from(points, centre, rows, np.dtype(np.float32))
    if not _safe(lengths, False):
        rows.refuse_nonfinite()
        lengths = _lengths_from(points, centre, rows, np.dtype(np.float64))
    return lengths


def _lengths_from(points: Sequence[Row], centre: Row, rows: Rows, dtype: np.dtype[Any]) -> Matrix:
    piece, p = 1024, len(points)
    width = rows.width(piece)
    apart = np.zeros(width, dtype)
    lengths = np.zeros(p)
    for start, stop, views in rows.blocks(width, [*points, centre]):
        used = -(-(stop - start) // piece) * piece
        apart[stop - start : used] = 0
        middle = views[p].astype(dtype, copy=False)
        for i, view in enumerate(views[:p]):
            with np.errstate(over="ignore", invalid="ignore"):  # found by the caller, who then takes float64
                np.subtract(view, middle, out=apart[: stop - start])
                table = apart[:used].reshape(-1, piece)
                lengths[i] += float(np.add.reduce(np.vecdot(table, table), dtype=np.float64))
    return lengths
