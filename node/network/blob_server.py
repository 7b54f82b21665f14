"""Serving blobs: ``/banyan/blob/1``, any number of range requests on one stream, answered in order.

A request is a :class:`BlobRequest`; the answer a :class:`BlobAnswer` and, unless it refuses, one frame of
exactly the bytes asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Final

import trio

from banyan.node.network.connection import Connection
from banyan.node.network.errors import PeerRefused
from banyan.node.network.frames import FrameStream
from banyan.node.network.limits import MIB, NetworkLimits
from banyan.node.network.throttle import TokenBucket
from banyan.node.network.transport import BlobReader, BlobSource, Digest, NodeId
from banyan.security.schema import Between, Length

#: The longest range anybody may ask for at once.
RANGE_LIMIT: Final = 4 * MIB
#: Streams on which one peer may fetch from us at once; each holds one piece in memory.
STREAMS_PER_PEER: Final = 6
_PIECE: Final = 128 * 1024


@dataclass(frozen=True, slots=True)
class BlobRequest:
    """``length`` bytes from ``offset`` of the blob whose SHA-256 is ``digest``."""

    digest: Annotated[bytes, Length(32, 32)]
    offset: Annotated[int, Between(0, 2**50)]
    length: Annotated[int, Between(1, RANGE_LIMIT)]


@dataclass(frozen=True, slots=True)
class BlobAnswer:
    """``size`` of the whole blob; or no bytes follow, and ``refused`` is ``unknown-blob`` or ``busy``."""

    refused: Annotated[str, Length(1, 40)] | None
    size: Annotated[int, Between(0, 2**50)]


class BlobServer:
    """Answers requests for what ``source`` has. Reads happen in threads, a piece at a time."""

    def __init__(self, source: BlobSource, limits: NetworkLimits) -> None:
        self._source = source
        self._limits = limits
        self._streams: Counter[NodeId] = Counter()
        self._uplink: TokenBucket | None = None

    async def answer(self, connection: Connection, frames: FrameStream) -> None:
        """Serve one stream. Raises PeerRefused or TooSlowError if the peer breaks a rule or dawdles."""
        peer = connection.peer
        self._streams[peer] += 1
        try:
            with _OneOpenBlob(self._source) as blob:
                while True:
                    with trio.fail_after(self._limits.request_timeout):
                        request = await frames.receive_header_or_end(BlobRequest)
                        if request is None:
                            return
                        busy = self._streams[peer] > STREAMS_PER_PEER
                        reader = None if busy else await blob.reader(request.digest)
                    with trio.fail_after(self._limits.chunk_timeout):
                        if reader is None:
                            await frames.send_header(BlobAnswer("busy" if busy else "unknown-blob", 0))
                            continue
                        if request.offset + request.length > reader.size:
                            raise PeerRefused("blob-range", "A peer asked for bytes beyond the end of a blob")
                        await frames.send_header(BlobAnswer(None, reader.size))
                        await frames.send_pieces(request.length, self._pieces(reader, request))
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]

    async def _pieces(self, reader: BlobReader, request: BlobRequest) -> AsyncGenerator[bytes, None]:
        rate = self._limits.upload_bytes_per_second
        if rate and self._uplink is None:
            self._uplink = TokenBucket(rate)
        end = request.offset + request.length
        for offset in range(request.offset, end, _PIECE):
            length = min(_PIECE, end - offset)
            if self._uplink is not None:
                await self._uplink.take(length)
            yield await trio.to_thread.run_sync(reader.read, offset, length)


class _OneOpenBlob:
    """The blob asked for last stays open: requests on one stream are nearly always for the same one."""

    def __init__(self, source: BlobSource) -> None:
        self._source = source
        self._digest: Digest | None = None
        self._reader: BlobReader | None = None

    def __enter__(self) -> _OneOpenBlob:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.close()

    async def reader(self, digest: Digest) -> BlobReader | None:
        if digest != self._digest or self._reader is None:
            if self._reader is not None:
                self._reader.close()
            self._reader = await trio.to_thread.run_sync(self._source.open, digest)
            self._digest = digest
        return self._reader
