"""Bytes in order, both ways: the little that every layer below the protocols asks of the one beneath it."""

from __future__ import annotations

from typing import Protocol

from banyan.node.network.errors import CutShort

_READ_SIZE = 64 * 1024


class ByteStream(Protocol):
    """A TCP connection, or one multiplexed stream."""

    async def receive_some(self, max_bytes: int, /) -> bytes:
        """At least one byte and at most ``max_bytes``; empty once the other side has finished writing."""

    async def send_all(self, data: bytes, /) -> None:
        """All of ``data``. Only one caller at a time."""


class BufferedStream:
    """Exact reads over a :class:`ByteStream`, itself one. What one layer did not read, the next one finds."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes. The caller has checked ``count`` against a limit.

        Nothing is allocated ahead of the bytes that really arrive. Raises CutShort at an early end.
        """
        while len(self._buffer) < count:
            received = await self._stream.receive_some(_READ_SIZE)
            if not received:
                raise CutShort("The other side stopped in the middle of a message")
            self._buffer += received
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def receive_some(self, max_bytes: int) -> bytes:
        if not self._buffer:
            return await self._stream.receive_some(max_bytes)
        data = bytes(self._buffer[:max_bytes])
        del self._buffer[: len(data)]
        return data

    def take_rest(self) -> bytes:
        """What has been received and not read, for whoever reads the stream underneath from now on."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)
