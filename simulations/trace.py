"""The hash of everything that happens in a world, in order: equal seeds give equal hashes, everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import cache
from operator import attrgetter

from banyan.protocol.effects import Effect, Emit, InputEvent, MessageReceived, PutRecord, Send, SetTimer
from banyan.protocol.events import Event

__all__ = ["Trace"]


class Trace:
    """Messages enter by the SHA-256 of their bytes, everything else as it reads.

    Args:
        id_of: the SHA-256 of a message.
    """

    def __init__(self, id_of: Callable[[bytes], bytes]) -> None:
        self._id_of = id_of
        self._hash = hashlib.sha256()
        self.events = 0
        """How many inputs were handled."""

    def add(self, now: int, device: str, event: InputEvent, effects: Iterable[Effect]) -> None:
        """``device`` handled ``event`` at ``now`` (ms) and brought about ``effects``."""
        self.events += 1
        if type(event) is MessageReceived:
            words = f"\n{now} {device} received {event.sender} {self._id_of(event.data).hex()}"
        else:
            words = f"\n{now} {device} {_words(event)}"
        for effect in effects:
            kind = type(effect)
            if kind is SetTimer:
                words += f"\n timer {effect.key} {effect.at}"
            elif kind is Send:
                words += f"\n send {' '.join(effect.to)} {self._id_of(effect.data).hex()}"
            elif kind is PutRecord:
                words += f"\n keep {effect.record.hex()}"
            else:
                words += f"\n {_words(effect.event if kind is Emit else effect)}"
        self._hash.update(words.encode())

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _words(thing: InputEvent | Effect | Event) -> str:
    """The name of a dataclass and its fields as they read: its own ``repr`` at a third of the time."""
    kind = type(thing)
    return f"{kind.__name__}{_fields_of(kind)(thing)!r}"


@cache
def _fields_of(kind: type) -> Callable[[object], object]:
    names = [field.name for field in fields(kind)]
    return attrgetter(*names) if names else lambda thing: ()
