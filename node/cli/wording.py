"""How the command line says things: choices, durations, sizes, names cut short."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping
from typing import Any

import click


def choice(option: str, given: str, known: tuple[str, ...]) -> Any:
    """``given`` if it is one of ``known``; else a usage error that names the nearest."""
    if given in known:
        return given
    nearest = difflib.get_close_matches(given, known, n=1)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    raise click.BadParameter(f"{given!r} is none of {', '.join(known)}.{hint}", param_hint=option)


def short(node: object) -> str:
    """A node id or digest, cut to what tells it apart: its end for node ids, whose beginnings are alike."""
    text = str(node)
    if text.startswith("12D3Koo") and len(text) > 16:
        return f"…{text[-8:]}"
    return f"{text[:12]}…" if len(text) > 14 else text


def named(release: Mapping[str, Any]) -> str:
    """A release: ``/en@12 (9ab3f1c2)``."""
    return f"{release['branch']}@{release['height']} ({release['release'][:8]})"


def age(moment: int) -> str:
    """How long ago ``moment`` (ms since the epoch) was: ``3 min 05 s ago``."""
    return f"{duration(max(0.0, time.time() - moment / 1000))} ago"


def size(count: object) -> str:
    """Bytes for people: ``1.5 MB``."""
    value = float(count) if isinstance(count, (int, float)) else 0.0
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return ""


def duration(seconds: object) -> str:
    """Seconds for people: ``1 h 02 min``."""
    if not isinstance(seconds, (int, float)):
        return "?"
    total = round(seconds)
    if total < 100:
        return f"{total} s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} days"


def seconds_of(text: str) -> float:
    """``30m``, ``12h``, ``7d``, ``90s`` in seconds. Raises a usage error."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
    number, unit = text[:-1], text[-1:]
    if unit in units and number.replace(".", "", 1).isdigit():
        return float(number) * units[unit]
    raise click.BadParameter(f"{text!r} is no duration: write 30m, 12h or 7d", param_hint="--expires")
