"""How a report says things: counts, durations, numbers, names of arms."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["ARM_NAMES", "counted", "duration", "number", "share"]

ARM_NAMES: Final = {"as-is": "as it ran", "no-attack": "nobody attacks", "plain-mean": "plain mean"}


def counted(count: int, one: str, many: str = "") -> str:
    """``1 device``, ``1,200 devices``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def duration(ms: float) -> str:
    """Milliseconds for people: ``850 ms``, ``3.2 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if ms < 1_000:
        return f"{ms:.0f} ms"
    if ms < 99_950:
        return f"{ms / 1_000:.1f} s"
    minutes, seconds = divmod(round(ms / 1_000), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"


def number(value: float | None) -> str:
    """Three digits that matter."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value and not 0.001 <= abs(value) < 10_000:
        return f"{value:.1e}"
    if 0.1 <= abs(value) < 100:
        return f"{value:.{3 if abs(value) < 1 else 2 if abs(value) < 10 else 1}f}"
    return f"{value:.3g}" if abs(value) < 1_000 else f"{value:,.0f}"


def share(value: float) -> str:
    """A share of 1 in per cent, never rounded to nothing or to all."""
    if 0 < value < 0.01:
        return "less than 1 %"
    if 0.99 < value < 1:
        return "more than 99 %"
    return f"{value:.0%}".replace("%", " %")
