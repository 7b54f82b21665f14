"""Where the changes of one round point: their norms and the cosines between them. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from banyan.aggregation import EncodedVector
from banyan.aggregation.inner_products import gram, piece_for
from banyan.protocol.effects import Direction

MOST: Final = 64
"""Vectors that are compared at most: n² cosines travel from the worker, for a hint and nothing more."""

STRETCH: Final = 2_048
"""Columns that are looked at together."""

STRETCHES: Final = 64
"""Stretches of columns that are looked at, spread evenly: 131,072 columns tell a cosine to about 0.003, at a cost that
does not grow with the model."""

DIGITS: Final = 3
"""Decimals of a cosine: what differs between matrix libraries stays far below."""


def directions(names: Sequence[bytes], vectors: Sequence[EncodedVector]) -> tuple[Direction, ...]:
    """The norm of each of ``vectors`` and its cosines with all of them, in their order; none of fewer than two vectors
    or more than :data:`MOST`. The cosine with a vector of length zero is 0.

    Of more than 131,072 columns both are estimated from as many, spread evenly.
    """
    count = len(vectors)
    if not 2 <= count <= MOST:
        return ()
    size, inner, seen = len(vectors[0]), np.zeros((count, count)), 0
    rows = np.zeros((count, STRETCH), np.float32)
    for start in _starts(size):
        stop = min(size, start + STRETCH)
        seen += stop - start
        rows[:, stop - start :] = 0
        for row, vector in zip(rows, vectors, strict=True):
            vector.decode(start, stop, row[: stop - start])
        inner += gram(rows.reshape(count, -1, piece_for(count))).sum(axis=0, dtype=np.float64)
    norms = np.sqrt(inner.diagonal())
    scales = np.outer(norms, norms)
    cosines = np.divide(inner, scales, out=np.zeros_like(inner), where=scales > 0).round(DIGITS) + 0.0
    norms *= np.sqrt(size / seen)
    return tuple(
        (name, float(f"{norm:.6g}"), tuple(map(float, row)))
        for name, norm, row in zip(names, norms, cosines, strict=True)
    )


def _starts(size: int) -> list[int]:
    """Where the stretches begin that are looked at."""
    stretches = -(-size // STRETCH)
    taken = min(stretches, STRETCHES)
    return [STRETCH * (number * stretches // taken) for number in range(taken)]
