"""Rows that live on an accelerator: copied to the processor a block of columns at a time.

The rules run in NumPy, in an order of operations that gives the same bits everywhere; an accelerator's own
sums would not, and one more copy of every rule would have to be kept right. A block is copied faster than a
rule works on it, and no row is ever copied whole.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]


class DeviceRow:
    """A float32 torch tensor (d,) on another device than the processor."""

    def __init__(self, tensor: Any) -> None:
        self._tensor: Final = tensor

    def __len__(self) -> int:
        return int(self._tensor.shape[0])

    def decode(self, start: int = 0, stop: int | None = None, out: Float32s | None = None) -> Float32s:
        """Columns [start, stop) as float32 on the processor, written to ``out`` where given."""
        piece: Float32s = self._tensor[start:stop].cpu().numpy()
        if out is None:
            return piece
        out[:] = piece
        return out
