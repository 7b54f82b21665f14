"""Length-prefixed frames: how every protocol of ours cuts a stream into messages.

A frame is a 4-byte big-endian length and that many bytes. The reader names its limit for each frame, and a
longer one is refused when its length is known, before anything is kept of it. Headers are frames that hold
one dataclass as canonical msgpack.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, TypeVar

from banyan.node.network import multistream
from banyan.node.network.errors import CutShort, PeerRefused
from banyan.node.network.streams import BufferedStream
from banyan.security import canonical, schema

MESSAGE_PROTOCOL: Final = "/banyan/message/1"
BLOB_PROTOCOL: Final = "/banyan/blob/1"
PEERS_PROTOCOL: Final = "/banyan/peers/1"
HELLO_PROTOCOL: Final = "/banyan/hello/1"

#: The largest header of any protocol.
HEADER_BYTES: Final = 16 * 1024
_LENGTH: Final = struct.Struct("!I")
_READ_SIZE: Final = 64 * 1024

T = TypeVar("T")


def encode_frame(payload: bytes) -> bytes:
    """``payload`` with its length in front."""
    return _LENGTH.pack(len(payload)) + payload


class FrameDecoder:
    """Bytes in as they come, whole frames out. Holds at most one frame and one read of what follows it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def partial(self) -> bool:
        """Whether the beginning of a frame is waiting for its end."""
        return bool(self._buffer)

    def next(self, limit: int) -> bytes | None:
        """The next frame, or None until it is whole. Raises PeerRefused if it is longer than ``limit``."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > limit:
            raise PeerRefused("frame-too-long", f"A peer sent a frame of {length} bytes; {limit} are allowed")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        frame = bytes(memoryview(self._buffer)[_LENGTH.size : end])
        del self._buffer[:end]
        return frame


class FrameStream:
    """Frames over one stream. One reader and one writer at a time.

    ``protocol`` is given by the side that opened the stream: its proposal goes out with the first frame, and
    the answer is checked before the first frame is read.
    """

    def __init__(self, stream: BufferedStream, protocol: str | None = None) -> None:
        self._stream = stream
        self._decoder = FrameDecoder()
        self._unconfirmed = protocol
        self._opening = b"" if protocol is None else multistream.proposal(protocol)

    async def send(self, payload: bytes) -> None:
        opening, self._opening = self._opening, b""
        await self._stream.send_all(opening + encode_frame(payload))

    async def send_pieces(self, length: int, pieces: AsyncGenerator[bytes, None]) -> None:
        """One frame of ``length`` bytes, of which only a piece is in memory at a time."""
        await self._stream.send_all(_LENGTH.pack(length))
        async with aclosing(pieces):
            async for piece in pieces:
                await self._stream.send_all(piece)

    async def receive(self, limit: int) -> bytes:
        """The next frame. Raises PeerRefused (too long), RefusedByPeer (protocol), CutShort (end)."""
        frame = await self.receive_or_end(limit)
        if frame is None:
            raise CutShort("The peer ended the stream where a frame was due")
        return frame

    async def receive_or_end(self, limit: int) -> bytes | None:
        """The next frame, or None if the peer finished writing between two frames."""
        if self._unconfirmed is not None:
            await multistream.confirm(self._stream, self._unconfirmed)
            self._unconfirmed = None
        while (frame := self._decoder.next(limit)) is None:
            data = await self._stream.receive_some(_READ_SIZE)
            if not data:
                if self._decoder.partial:
                    raise PeerRefused("frame-cut", "A peer ended a stream in the middle of a frame")
                return None
            self._decoder.feed(data)
        return frame

    async def send_header(self, document: object) -> None:
        """Send a frozen dataclass as one frame."""
        await self.send(schema.to_bytes(document))

    async def receive_header(self, kind: type[T]) -> T:
        """The next frame as a ``kind``. Raises Refused (``malformed``) if it is not exactly one."""
        return decode_header(kind, await self.receive(HEADER_BYTES))

    async def receive_header_or_end(self, kind: type[T]) -> T | None:
        frame = await self.receive_or_end(HEADER_BYTES)
        return None if frame is None else decode_header(kind, frame)


def decode_header(kind: type[T], data: bytes) -> T:
    """``data`` as a ``kind``, strictly. Raises Refused (``malformed`` or ``too-long``)."""
    return schema.from_plain(kind, canonical.decode(data, max_bytes=HEADER_BYTES, max_depth=5, max_items=512))
