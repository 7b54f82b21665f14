"""Yamux 1.0: many streams over one connection, each with its own flow control.

Frames are a 12-byte header (version, type, flags, stream, length) and, for data, ``length`` bytes
(github.com/hashicorp/yamux/blob/master/spec.md). What a peer can cost us is bounded here: streams beyond
the limit are reset, data beyond a window ends the connection, the streams a peer opens hold at most
``HELD_LIMIT`` unread bytes together, and a peer that is silent, or does not read, is let go.

One task reads and one writes; streams only touch buffers, so that cancelling whoever uses a stream never
leaves half a frame on the wire.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import trio

from banyan.node.network.errors import ConnectionLost, PeerRefused
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.yamux_stream import INITIAL_WINDOW, YamuxStream

PROTOCOL: Final = "/yamux/1.0.0"

_HEADER: Final = struct.Struct("!BBHII")
_DATA, _WINDOW, _PING, _GO_AWAY = range(4)
_SYN, _ACK, _FIN, _RST = 1, 2, 4, 8
#: One data frame fills exactly one Noise message.
MAX_DATA: Final = 65_519 - _HEADER.size
#: Unread bytes of all streams that the peer opened.
HELD_LIMIT: Final = 1024 * 1024
#: What handling a frame, and opening a stream, costs us, as bytes of the peer's allowance: without it a
#: peer could keep this node busy with a flood of tiny frames that stays far below its rate in bytes.
_FRAME_COST: Final = 512
_OPEN_COST: Final = 16 * 1024
#: Bytes waiting to be written before writers have to wait.
_QUEUE_LIMIT: Final = 256 * 1024
_CONTROL_LIMIT: Final = 64 * 1024


class MessageChannel(Protocol):
    """The encrypted connection underneath."""

    async def receive(self) -> bytes: ...

    async def send(self, data: bytes, /) -> None: ...


class Yamux:
    """The streams of one connection. Alive while :meth:`run` runs; ``count`` is told of every refusal."""

    def __init__(
        self,
        channel: MessageChannel,
        *,
        initiator: bool,
        limits: NetworkLimits,
        accept: Callable[[YamuxStream], None],
        count: Callable[[str], None],
        throttle: Callable[[float], Awaitable[None]],
    ) -> None:
        self._channel = channel
        self._limits = limits
        self._accept = accept
        self._count = count
        self._throttle = throttle
        self._streams: dict[int, YamuxStream] = {}
        self._next_id = 1 if initiator else 2
        self._inbound_parity = 0 if initiator else 1
        self._inbound: set[int] = set()  # streams the peer opened that stand
        self._attended: set[int] = set()  # those of them that somebody here is still busy with
        self._held = 0  # unread bytes on them
        self._control: deque[bytes] = deque()
        self._data: deque[bytes] = deque()
        self._control_bytes = self._data_bytes = 0
        self._cost = 0  # of the frames in the message being read
        self._work = trio.Event()
        self._room = trio.lowlevel.ParkingLot()
        self._heard = trio.current_time()
        self._closed = False

    # ------------------------------------------------------------------------------------- for its owner

    async def run(self) -> None:
        """Read and write until the connection ends; every stream has failed when this returns.

        Raises PeerRefused if the peer broke the protocol or went silent, ConnectionLost or OSError if the
        connection broke.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._watch)
                await self._read()
        finally:
            self._closed = True
            for stream in list(self._streams.values()):
                stream.fail(keep=True)
            self._streams.clear()
            self._room.unpark_all()

    def open_stream(self, window: int = INITIAL_WINDOW) -> YamuxStream:
        """A new stream towards the peer, which may have ``window`` unread bytes in flight to us."""
        if self._closed:
            raise ConnectionLost("The connection is closed")
        stream = YamuxStream(self, self._next_id, window=window, inbound=False)
        self._streams[self._next_id] = stream
        self._next_id += 2
        self._queue(_HEADER.pack(0, _WINDOW, _SYN, stream.id, window - INITIAL_WINDOW))
        return stream

    @property
    def streams(self) -> int:
        """How many streams are open, both ways."""
        return len(self._streams)

    # -------------------------------------------------------------------------------------- for a stream

    async def room(self) -> None:
        """Wait until little is waiting to be written."""
        while self._data_bytes >= _QUEUE_LIMIT and not self._closed:
            await self._room.park()

    def send_data(self, stream: YamuxStream, data: memoryview) -> None:
        self._queue(_HEADER.pack(0, _DATA, 0, stream.id, len(data)) + data)

    def send_fin(self, stream: YamuxStream) -> None:
        self._queue(_HEADER.pack(0, _DATA, _FIN, stream.id, 0))

    def send_window(self, stream: YamuxStream, credit: int) -> None:
        self._queue(_HEADER.pack(0, _WINDOW, 0, stream.id, credit))

    def released(self, stream: YamuxStream, count: int) -> None:
        """``stream`` no longer holds ``count`` unread bytes."""
        if stream.inbound:
            self._held -= count

    def left(self, stream: YamuxStream) -> None:
        """Its user here is done with ``stream``: it no longer takes one of the peer's places."""
        self._attended.discard(stream.id)

    def forget(self, stream: YamuxStream, *, reset: bool) -> None:
        """``stream`` is over; tell the peer too if it does not know."""
        if self._streams.pop(stream.id, None) is None:
            return
        self._inbound.discard(stream.id)
        if reset:  # in turn: what was sent before still goes before
            self._queue(_HEADER.pack(0, _WINDOW, _RST, stream.id, 0))

    # ----------------------------------------------------------------------------------------- its tasks

    async def _write(self) -> None:
        while True:
            while not (self._control or self._data):
                self._work = trio.Event()
                await self._work.wait()
            batch = self._next_batch()
            with trio.move_on_after(self._limits.write_timeout) as scope:
                await self._channel.send(batch)
            if scope.cancelled_caught:
                raise PeerRefused("write-stalled", "A peer stopped reading what we send")
            self._room.unpark_all()

    def _next_batch(self) -> bytes:
        """As many waiting frames as fill one Noise message, control frames first."""
        batch = bytearray()
        while self._control and len(batch) + len(self._control[0]) <= MAX_DATA + _HEADER.size:
            batch += self._control.popleft()
        self._control_bytes -= len(batch)
        control = len(batch)
        while self._data and len(batch) + len(self._data[0]) <= MAX_DATA + _HEADER.size:
            batch += self._data.popleft()
        self._data_bytes -= len(batch) - control
        return bytes(batch)

    async def _watch(self) -> None:
        """Ask a silent peer for a sign of life; any frame is one."""
        ping = 0
        while True:
            await trio.sleep(self._limits.ping_interval)
            asked = trio.current_time()
            if asked - self._heard < self._limits.ping_interval:
                continue
            ping = (ping + 1) & 0xFFFFFFFF
            self._reply(_HEADER.pack(0, _PING, _SYN, 0, ping))
            await trio.sleep(self._limits.ping_timeout)
            if self._heard < asked:
                raise PeerRefused("silent", "A peer gave no sign of life")

    async def _read(self) -> None:
        """Split what arrives into frames. Data goes to its stream as it comes, not when it is whole."""
        pending = bytearray()
        target: YamuxStream | None = None
        remaining = flags = 0
        while True:
            data = await self._channel.receive()
            self._heard = trio.current_time()
            pending += data
            position = 0
            self._cost = len(data)
            while True:
                if remaining:
                    part = bytes(pending[position : position + remaining])
                    if not part:
                        break
                    position += len(part)
                    remaining -= len(part)
                    self._deliver(target, part)
                    if not remaining:
                        self._apply_flags(target, flags)
                elif len(pending) - position >= _HEADER.size:
                    header = _HEADER.unpack_from(pending, position)
                    position += _HEADER.size
                    target, remaining, flags = self._take_header(*header)
                else:
                    break
            del pending[:position]
            await self._throttle(self._cost)
            while self._control_bytes > _CONTROL_LIMIT:  # a peer that only makes us answer has to read first
                await self._room.park()

    def _take_header(
        self, version: int, kind: int, flags: int, stream_id: int, length: int
    ) -> tuple[YamuxStream | None, int, int]:
        """Act on a header; returns the stream, length and flags of the data that follows it, if any."""
        self._cost += _FRAME_COST
        if version != 0 or kind > _GO_AWAY:
            raise PeerRefused("yamux-malformed", "A peer sent a frame of no known kind")
        if kind == _GO_AWAY:
            raise ConnectionLost("The peer is closing the connection")
        if kind == _PING:
            if flags & _SYN:
                self._reply(_HEADER.pack(0, _PING, _ACK, 0, length))
            return None, 0, 0
        if flags & _SYN:
            self._open_inbound(stream_id)
        stream = self._streams.get(stream_id)  # None: already over, or refused; late frames are passed over
        if kind == _WINDOW:
            if stream is not None:
                stream.add_credit(length)
            self._apply_flags(stream, flags)
            return None, 0, 0
        if stream is not None and not stream.accepts(length):
            raise PeerRefused("window-overflow", "A peer sent more than the window it was given")
        if length == 0:
            self._apply_flags(stream, flags)
        return stream, length, flags

    def _open_inbound(self, stream_id: int) -> None:
        self._cost += _OPEN_COST
        if stream_id == 0 or stream_id % 2 != self._inbound_parity or stream_id in self._streams:
            raise PeerRefused("yamux-malformed", "A peer opened a stream under a number that is not its own")
        if len(self._inbound | self._attended) >= self._limits.streams_per_peer:
            self._count("streams-full")
            self._reply(_HEADER.pack(0, _WINDOW, _RST, stream_id, 0))
            return
        stream = YamuxStream(self, stream_id, window=INITIAL_WINDOW, inbound=True)
        self._streams[stream_id] = stream
        self._inbound.add(stream_id)
        self._attended.add(stream_id)
        self._reply(_HEADER.pack(0, _WINDOW, _ACK, stream_id, 0))
        self._accept(stream)

    def _deliver(self, stream: YamuxStream | None, part: bytes) -> None:
        if stream is None or stream.id not in self._streams:
            return
        held = stream.take_in(part)
        if stream.inbound:
            self._held += held
            if self._held > HELD_LIMIT:
                self._count("buffer-full")
                stream.reset()

    def _apply_flags(self, stream: YamuxStream | None, flags: int) -> None:
        if stream is None:
            return
        if flags & _RST:
            stream.fail(keep=True)
            self.forget(stream, reset=False)
        elif flags & _FIN:
            stream.end()

    def _reply(self, frame: bytes) -> None:
        """Queue a frame that goes before waiting data. Bounded: `_read` stops while many are waiting."""
        self._control.append(frame)
        self._control_bytes += len(frame)
        self._work.set()

    def _queue(self, frame: bytes) -> None:
        self._data.append(frame)
        self._data_bytes += len(frame)
        self._work.set()
