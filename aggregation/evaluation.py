"""Run a column program over whole rows, a block of columns at a time."""

from __future__ import annotations

from typing import Final

import numpy as np

from .column_program import ColumnProgram
from .compiled import kernels
from .device import accelerator
from .rows import Float32s, Row, Rows

_COLUMNS: Final = 1 << 16
"""Columns of a block in NumPy: wide, since its cost per call outweighs the cache here (measured)."""

_STREAM: Final = 1 << 18
"""The same where nothing but a sum is kept: one row after the other is read beside the one it is added to."""

_DECODED: Final = 1 << 14
"""Columns of a block that has to be decoded before the compiled kernel."""

_MEMORY: Final = 1 << 24
"""Bytes that one block of all rows may take."""


def evaluate(program: ColumnProgram, rows: Rows, points: list[Row] | None = None) -> Float32s:
    """The result of ``program`` on ``rows``, or on ``points``, some of them or references beside them: (d,).

    Raises :class:`banyan.aggregation.errors.NotFinite` where one of ``rows`` is not finite and it matters.
    """
    if points is None:
        if (vector := _in_one_go(program, rows)) is not None:
            return vector
        points = rows.rows
    if (device := accelerator(points, rows.d)) is not None:
        vector, good = device.evaluate(program)
        if good:
            return vector
        rows.refuse_nonfinite()
    vector = np.empty(rows.d, np.float32)
    for start, stop, views in rows.stretches(_width(program), points):
        out = vector[start:stop]
        if not program.run(views, out):
            rows.refuse_nonfinite()
            program.run_wide(views, out)
    return vector


def _in_one_go(program: ColumnProgram, rows: Rows) -> Float32s | None:
    """The result on all rows, where they are one array that the kernel takes whole; None too where it is not finite."""
    if kernels is None or rows.whole is None:
        return None
    vector = np.empty(rows.d, np.float32)
    return vector if program.run_compiled((rows.whole, rows.order), vector) else None


def _width(program: ColumnProgram) -> int:
    if kernels is not None:
        best, slots = _DECODED, program.inputs + 1
    else:
        best, slots = _COLUMNS if program.buffers else _STREAM, program.inputs + program.buffers + 2
    return max(1024, min(best, _MEMORY // (4 * slots)))
