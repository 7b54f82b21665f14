"""Python's collector of cyclic garbage, at a pace that suits a world: nearly all that is made lives until the end."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["unhurried"]

PACE: Final = (200_000, 20, 100)
"""Objects, and younger collections, between two collections of a generation."""

A_DEVICE: Final = 2_000
"""Objects for each device, if these are more: so many stand there until the end, and to look through them again and
again, to find nothing, took a twentieth of a large run."""

_lock = threading.Lock()
_as_ever: list[tuple[int, int, int]] = []
"""For each world that is being played: the pace before any was. There is one collector for all threads of a process."""


@contextmanager
def unhurried(devices: int = 0) -> Iterator[None]:
    """Look for cycles seldom, and never in what was there before, where so many ``devices`` live; as ever once the last
    world is over, in whichever order the worlds of several threads come and go."""
    with _lock:
        _as_ever.append(_as_ever[0] if _as_ever else gc.get_threshold())
        gc.collect()
        gc.freeze()
        gc.set_threshold(max(PACE[0], A_DEVICE * devices), *PACE[1:])
    try:
        yield
    finally:
        with _lock:
            before = _as_ever.pop()
            if not _as_ever:
                gc.set_threshold(*before)
                gc.freeze()  # all that was made counts as old: what comes next does not look through it first
                gc.unfreeze()
