"""Rows that live on an accelerator: distances and column programs run there, in torch.

The rules decide on n by n matrices, which stay on the processor; what touches all d numbers, namely inner
products, lengths and column programs, is done on the device, a block of columns at a time, and only results
cross over. Column programs take the same elementwise steps as in NumPy and give the same bits wherever the
device rounds as IEEE 754 says. Inner products of floats differ in their last digits, as between two BLAS.

Rows of the processor that take part (a centre, a node's own vector) are copied over block by block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .arithmetic import Matrix
from .column_program import ColumnProgram

Float32s = npt.NDArray[np.float32]

_BLOCK: Final = 1 << 26
"""Bytes on the device of one block of all rows."""

_PIECE: Final = 1024
"""Columns summed in float32 before they meet the others in float64."""


class DeviceRow:
    """A float32 torch tensor (d,) on another device than the processor."""

    def __init__(self, tensor: Any) -> None:
        self.tensor: Final = tensor

    def __len__(self) -> int:
        return int(self.tensor.shape[0])

    def decode(self, start: int = 0, stop: int | None = None, out: Float32s | None = None) -> Float32s:
        """Columns [start, stop) as float32 on the processor, written to ``out`` where given."""
        piece: Float32s = self.tensor[start:stop].cpu().numpy()
        if out is None:
            return piece
        out[:] = piece
        return out


class Accelerator:
    """The device of the first row that is on one, and all rows, as seen from there."""

    def __init__(self, points: Sequence[Any], d: int) -> None:
        import torch  # loaded already, by whoever made the tensors

        self._torch, self._points, self._d = torch, points, d
        self._device = next(row.tensor.device for row in points if isinstance(row, DeviceRow))

    def evaluate(self, program: ColumnProgram) -> tuple[Float32s, bool]:
        """What the program makes of the rows (d,), and whether it is finite, and so are rows it compares."""
        vector = np.empty(self._d, np.float32)
        good = True
        for start, stop, views in self._blocks(program.inputs + program.buffers + 2):
            out = self._torch.empty_like(views[0])
            program.evaluate(views, out, out.new_empty((program.buffers + 1, stop - start)), self._torch)
            out += 0.0
            seen = [*views, out] if program.compares else [out]
            good &= all(bool(self._torch.isfinite(row).all()) for row in seen)
            vector[start:stop] = out.cpu().numpy()
        return vector, good

    def inner_products(self, centre: int, wide: bool) -> Matrix:
        """Inner products (p, p) of the rows less row ``centre``: float32 products of pieces summed in
        float64, or float64 throughout where ``wide`` or where torch may shorten float32 products."""
        p = len(self._points)
        inner = np.zeros((p, p))
        exact = self._torch.get_float32_matmul_precision() == "highest"
        for start, stop, views in self._blocks(3 * p):
            table = self._torch.zeros((p, -(-(stop - start) // _PIECE) * _PIECE), device=self._device)
            for row, view in zip(table, views, strict=True):
                row[: stop - start] = view
            if wide or not exact:
                table = self._doubled(table)
            pieces = (table - table[centre].clone()).reshape(p, -1, _PIECE).transpose(0, 1)
            inner += self._doubled(pieces @ pieces.transpose(1, 2)).sum(0).cpu().numpy()
        return 0.5 * (inner + inner.T)

    def squared_lengths(self, centre: int) -> Matrix:
        """Squared distances (p,) of the rows from row ``centre``, in float64."""
        lengths = np.zeros(len(self._points))
        for _, _, views in self._blocks(2 * len(self._points)):
            middle = self._doubled(views[centre])
            lengths += [float((self._doubled(view) - middle).square().sum()) for view in views]
        return lengths

    def _doubled(self, tensor: Any) -> Any:
        """The tensor in float64, on the processor where the device has none."""
        return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()

    def _blocks(self, slots: int) -> Iterator[tuple[int, int, list[Any]]]:
        width = max(_PIECE, _BLOCK // (4 * slots) // _PIECE * _PIECE)
        for start in range(0, self._d, width):
            stop = min(self._d, start + width)
            yield start, stop, [self._columns(row, start, stop) for row in self._points]

    def _columns(self, row: Any, start: int, stop: int) -> Any:
        if isinstance(row, DeviceRow):
            return row.tensor[start:stop].to(self._device)
        piece = row[start:stop] if isinstance(row, np.ndarray) else row.decode(start, stop)
        return self._torch.tensor(piece, device=self._device)


def accelerator(points: Sequence[Any], d: int) -> Accelerator | None:
    """Where the rows are to be worked on, if any of them lives on a device."""
    kinds = set(map(type, points))
    if kinds == {np.ndarray} or not any(issubclass(kind, DeviceRow) for kind in kinds):
        return None
    return Accelerator(points, d)
