"""Memory maps that are read once from end to end: their pages are given back on the way.

A page of a map that was read counts as memory of the process until it is given back; after that it stays
in the system's file cache, from which it can be read again.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from typing import Any

import numpy as np


def map_behind(array: Any) -> mmap.mmap | None:
    """The map behind an array where its pages can be read again from the file, not a private copy of them."""
    while isinstance(array, np.ndarray):
        base: Any = array.base
        if isinstance(array, np.memmap) and isinstance(base, mmap.mmap):
            return base if array.mode != "c" else None
        array = base
    return None


def give_back(maps: Iterable[mmap.mmap]) -> None:
    """Give the pages of these maps back to the system, where it takes them."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for each in maps:
            each.madvise(mmap.MADV_DONTNEED)
