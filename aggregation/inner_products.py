"""Inner products of a few long rows, in pieces.

Pieces keep each product small: below the size at which a BLAS starts threads, whose number would change the
last bits of a sum, and for integer codes below what float32 holds exactly.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

SMALL_PRODUCT: Final = 1 << 18
"""Multiplications in one matrix product below which no BLAS we know starts threads."""

_FEW: Final = 12
"""Up to so many rows, n²/2 dot products are faster than a matrix product (5 times at n = 5; measured)."""


def piece_for(p: int) -> int:
    """Columns of one piece of p rows: a power of two from 16 to 1,024."""
    return 1 << max(4, min(10, (SMALL_PRODUCT // (p * p)).bit_length() - 1))


def gram(table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Inner products (pieces, p, p) of p rows in pieces of w columns, given as (p, pieces, w)."""
    p, pieces = table.shape[:2]
    if p > _FEW:
        upright = table.transpose(1, 0, 2)
        product: npt.NDArray[Any] = upright @ upright.swapaxes(1, 2)
        return product
    inner = np.empty((pieces, p, p), table.dtype)
    for i in range(p):
        inner[:, i, i:] = inner[:, i:, i] = np.vecdot(table[i], table[i:]).T
    return inner
