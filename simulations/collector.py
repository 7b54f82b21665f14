"""Python's collector of cyclic garbage, at a pace that suits a world: nearly all that is made lives until the end."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["unhurried"]

PACE: Final = (200_000, 20, 100)
"""Objects, and younger collections, between two collections of a generation."""


@contextmanager
def unhurried() -> Iterator[None]:
    """Look for cycles seldom, and never in what was there before; afterwards as ever."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*PACE)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
