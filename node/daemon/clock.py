"""The daemon's clock: the only place where it reads the time of day."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

#: Gives the time as integer milliseconds since the epoch.
Clock: TypeAlias = Callable[[], int]


def wall_clock() -> int:
    """This machine's time of day (ms)."""
    return time.time_ns() // 1_000_000
