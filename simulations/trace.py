"""The hash of everything that happens in a world: equal seeds give equal hashes, everywhere.

Each device has a hash of its own, of all that happens to it, in order and with the time. The world's is that of all of
them by name, so it does not matter which of two devices came first within a millisecond, or where they live.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any

import msgpack

from banyan.protocol.effects import Effect, Emit, InputEvent, MessageReceived, PutRecord, Send

__all__ = ["Trace", "hash_of"]


class Trace:
    """Messages enter by the SHA-256 of their bytes, everything else whole, packed by MessagePack; what a device only
    tells of follows from these.

    Args:
        id_of: the SHA-256 of a message.
    """

    def __init__(self, id_of: Callable[[bytes], bytes]) -> None:
        self._id_of = id_of
        self._pack = msgpack.Packer(default=_content).pack
        self._hashes: defaultdict[str, hashlib._Hash] = defaultdict(hashlib.sha256)
        self.events = 0
        """How many inputs were handled."""

    def add(self, now: int, device: str, event: InputEvent, effects: Iterable[Effect]) -> None:
        """``device`` handled ``event`` at ``now`` (ms) and brought about ``effects``."""
        self.events += 1
        if isinstance(event, MessageReceived):
            said: list[Any] = [now, event.sender, self._id_of(event.data)]
        else:
            said = [now, type(event).__name__, _content(event)]
        for effect in effects:
            if isinstance(effect, Send):
                said += (effect.to, self._id_of(effect.data))
            elif isinstance(effect, PutRecord):
                said.append(effect.record)
            elif not isinstance(effect, Emit):
                said += (type(effect).__name__, _content(effect))
        self._hashes[device].update(self._pack(said))

    def digests(self) -> dict[str, bytes]:
        """The SHA-256 of what happened to each device to which anything did."""
        return {device: each.digest() for device, each in self._hashes.items()}


def hash_of(digests: Mapping[str, bytes]) -> str:
    """The hash of a world whose devices have these digests, in hexadecimal."""
    return hashlib.sha256(b"".join(name.encode() + digests[name] for name in sorted(digests))).hexdigest()


def _content(thing: Any) -> Any:
    """The fields of a dataclass."""
    return _fields_of(thing.__class__)(thing)


@cache
def _fields_of(kind: type) -> Callable[[Any], Any]:
    names = [field.name for field in fields(kind)]
    return attrgetter(*names) if names else lambda thing: ()
