"""Sums whose bits do not depend on the machine.

A BLAS adds in an order of its own, with fused multiply-adds where the processor has them, so the last
bits of ``a @ b`` differ between libraries, thread counts and processors. Where a rule *chooses* between
inputs, the last bit can decide; so the small matrices of a rule (n by n) are multiplied here, by
elementwise products and sums in index order, each of them one correctly rounded IEEE operation.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Matrix: TypeAlias = npt.NDArray[np.float64]


def product(a: Matrix, b: Matrix) -> Matrix:
    """``a @ b`` in float64 for a of shape (m, k) and b of shape (k,) or (k, p), summed in the order of k."""
    total = np.zeros((len(a), *b.shape[1:]), np.float64)
    for k in range(a.shape[1]):
        column = a[:, k]
        total += np.multiply.outer(column, b[k]) if b.ndim > 1 else column * b[k]
    return total


def total(values: Matrix) -> float:
    """The sum of a vector (n,), from first to last."""
    return float(np.cumsum(values)[-1]) if len(values) else 0.0
