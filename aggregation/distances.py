"""Measure how far inputs are from each other or from one point, in one pass over them.

Two ways, chosen by what the inputs are: exact for integer codes in common blocks
(``banyan.aggregation.exact_distances``), centred and checked for floats
(``banyan.aggregation.centred_distances``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from .arithmetic import Matrix
from .centred_distances import measure_floats, squared_lengths
from .encoding import EncodedVector
from .exact_distances import measure_codes
from .geometry import Geometry
from .rows import Row, Rows


def measure(points: Sequence[Row], rows: Rows) -> Geometry:
    """The geometry of ``points``: the rows, in their order, and possibly some references after them.

    Raises :class:`banyan.aggregation.errors.NotFinite` where an input holds NaN or an infinity.
    """
    return measure_codes(points, rows) if _all_codes(points, rows) else measure_floats(points, rows)


def lengths_from(point: Row, rows: Rows) -> Matrix:
    """Squared distances (n,) of the rows from one point; exact for codes. Raises as :func:`measure` does."""
    points = [*rows.rows, point]
    if _all_codes(points, rows):
        return np.ascontiguousarray(measure_codes(points, rows).squared[-1, :-1])
    return squared_lengths(rows.rows, point, rows)


def _all_codes(points: Sequence[Row], rows: Rows) -> TypeGuard[Sequence[EncodedVector]]:
    return bool(rows.integer_block) and all(isinstance(point, EncodedVector) for point in points)
