"""Where the changes of one round point: their norms and the cosines between them. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from banyan.aggregation import EncodedVector
from banyan.protocol.effects import Direction

MOST: Final = 64
"""Vectors that are compared at most: n² cosines travel from the worker, for a hint and nothing more."""

COLUMNS: Final = 1 << 16
"""Columns that are decoded at once: 256 KiB a vector."""

DIGITS: Final = 3
"""Decimals of a cosine: what differs between matrix libraries stays far below."""


def directions(names: Sequence[bytes], vectors: Sequence[EncodedVector]) -> tuple[Direction, ...]:
    """The norm of each of ``vectors`` and its cosines with all of them, in their order; none of fewer than two vectors
    or more than :data:`MOST`. The cosine with a vector of length zero is 0."""
    count = len(vectors)
    if not 2 <= count <= MOST:
        return ()
    size = len(vectors[0])
    inner = np.zeros((count, count))
    rows = np.empty((count, min(COLUMNS, size)), np.float32)
    for start in range(0, size, COLUMNS):
        stop = min(size, start + COLUMNS)
        for row, vector in zip(rows, vectors, strict=True):
            vector.decode(start, stop, row[: stop - start])
        inner += rows[:, : stop - start] @ rows[:, : stop - start].T
    norms = np.sqrt(inner.diagonal())
    scales = np.outer(norms, norms)
    cosines = np.divide(inner, scales, out=np.zeros_like(inner), where=scales > 0).round(DIGITS) + 0.0
    return tuple(
        (name, float(f"{norm:.6g}"), tuple(map(float, row)))
        for name, norm, row in zip(names, norms, cosines, strict=True)
    )
