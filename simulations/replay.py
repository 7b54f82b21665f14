"""Showing a run again: the command that does, and the steps around a moment as lines of text."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Final

from banyan.protocol.effects import (
    Aggregate,
    Effect,
    Emit,
    FetchBlob,
    InputEvent,
    MessageReceived,
    Send,
    SetTimer,
    TimerFired,
    Train,
)
from banyan.security import canonical
from banyan.security.errors import Refused

__all__ = ["Lines", "replay_command"]

BEFORE: Final = 3_000
"""Virtual ms that are shown before the moment, and a third of it after."""


def replay_command(scenario: str, changes: Sequence[str], seed: int) -> str:
    """The command that runs this again."""
    settings = "".join(f" --set {shlex.quote(change)}" for change in changes)
    return f"banyan simulate {shlex.quote(scenario)} --seed {seed}{settings}"


class Lines:
    """Tells what every device heard and did around a moment, a line a step. A watcher of :mod:`.run`.

    Args:
        around: virtual seconds since the start.
        tell: takes each line.
    """

    def __init__(self, around: float, tell: Callable[[str], None]) -> None:
        self._from, self._to = round(1000 * around) - BEFORE, round(1000 * around) + BEFORE // 3
        self._tell = tell

    def __call__(self, time: int, device: str, event: InputEvent, effects: list[Effect]) -> None:
        if self._from <= time <= self._to:
            done = ", ".join(filter(None, map(_effect, effects)))
            self._tell(f"{time / 1000:9.3f} s  {device:16} {_event(event)}{' → ' + done if done else ''}")

    def mind(self, done: float, standing: str) -> None:
        """Takes the place of a progress bar, which would be in the way."""


def _event(event: InputEvent) -> str:
    match event:
        case MessageReceived(sender=sender, data=data):
            return f"hears {_kind(data)} from …{sender[-6:]}"
        case TimerFired(key=key):
            return f"timer {key}"
        case _:
            return type(event).__name__


def _effect(effect: Effect) -> str:
    match effect:
        case Send(to=to, data=data):
            return f"send {_kind(data)} to {len(to)}"
        case Emit(event=event):
            return repr(event)
        case FetchBlob(digest=digest):
            return f"fetch {digest.hex()[:8]}"
        case Aggregate(height=height):
            return f"aggregate {height}"
        case Train(height=height):
            return f"train {height}"
        case SetTimer(key=key):
            return f"set {key}"
        case _:
            return ""


def _kind(data: bytes) -> str:
    """The kind of message in an envelope, whoever signed it."""
    try:
        header = canonical.decode(data[:-64], max_bytes=len(data))
    except (Refused, ValueError):
        return "something unreadable"
    return str(header.get("kind", "?")) if isinstance(header, dict) else "?"
