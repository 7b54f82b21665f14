"""Distances of integer codes: exact, so that every machine makes the same choices.

The inner products of two blocks of codes are integers below 2**24, so a float32 product holds them exactly
on any BLAS with any number of threads. They meet their scales in float64, in the order of the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from .encoding import TOP, EncodedVector
from .geometry import Geometry, around_medoid
from .inner_products import gram
from .rows import Float32s, Rows

_EXACT: Final = 1 << 24
"""Integers up to here are exact in float32."""


def measure_codes(points: Sequence[EncodedVector], rows: Rows) -> Geometry:
    """The geometry of points in one integer codec with the same blocks."""
    block, p = rows.integer_block, len(points)
    piece = min(block, _exact_columns(TOP[points[0].codec]))
    width = rows.width(block)
    codes = np.zeros((p, width), np.float32)
    squared = np.zeros((p, p))
    for start, stop in rows.spans(width, points):
        blocks = -(-(stop - start) // block)
        codes[:, stop - start :] = 0
        for row, space in zip(points, codes, strict=True):
            row.integers(start, stop, space[: stop - start])
        exact = gram(codes[:, : blocks * block].reshape(p, -1, piece)).astype(np.float64)
        # Integers in float64: exact sums of exact products.
        exact = np.add.reduce(exact.reshape(blocks, block // piece, p, p), axis=1)
        scales = np.array([_scales(row, start // block, blocks) for row in points], np.float64).T
        inner = exact * (scales[:, :, None] * scales[:, None, :])
        norms = np.einsum("bii->bi", inner)
        # Summed as distances, block by block: blocks in which two rows agree add exactly nothing.
        squared += np.add.reduce((norms[:, :, None] + norms[:, None, :]) - 2 * inner, axis=0)
    np.fill_diagonal(squared, 0.0)
    return around_medoid(np.maximum(squared, 0.0), rows.n)


def _scales(row: EncodedVector, first: int, blocks: int) -> Float32s:
    assert row.scales is not None  # integer codecs have scales
    return row.scales[first : first + blocks]


def _exact_columns(top: int) -> int:
    """The largest power of two of columns whose integer inner product is exact in float32."""
    return 1 << ((_EXACT // (top * top)).bit_length() - 1)
