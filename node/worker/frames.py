"""Frames between daemon and worker: four bytes of length, then one canonical msgpack map."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from banyan.security import canonical
from banyan.security.canonical import CanonicalError
from banyan.security.errors import BanyanError

MAX_FRAME = 4 << 20  # the largest frame is the hello of a model with thousands of target matrices
_LENGTH = struct.Struct(">I")


class FrameError(BanyanError):
    """The other side sent something that is no frame. Fatal for the worker process: nothing after it can be trusted."""


def pack(message: Mapping[str, object]) -> bytes:
    """The frame of ``message``. Raises :class:`FrameError` if it is longer than :data:`MAX_FRAME`."""
    body = canonical.encode(dict(message))
    if len(body) > MAX_FRAME:
        raise FrameError(f"A frame of {len(body):,} bytes is longer than {MAX_FRAME:,}")
    return _LENGTH.pack(len(body)) + body


class Deframer:
    """Cuts a byte stream into messages; holds at most one unfinished frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, object]]:
        """Yield each message that ``data`` completes. Raises :class:`FrameError`, before buffering a frame's body
        where its length alone is wrong."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME:
                raise FrameError(f"A frame claims {length:,} bytes where at most {MAX_FRAME:,} are allowed")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _message(body)


def _message(body: bytes) -> dict[str, object]:
    try:
        message = canonical.decode(body, max_bytes=MAX_FRAME, floats=True)
    except CanonicalError as error:
        raise FrameError(f"A frame holds no canonical message: {error.what}") from error
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise FrameError("A frame's message has no kind")
    return {**message}
