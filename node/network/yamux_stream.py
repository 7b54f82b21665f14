"""One multiplexed stream: bytes both ways, with a window that bounds what may be unread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from banyan.node.network.errors import ConnectionLost

if TYPE_CHECKING:
    from banyan.node.network.yamux import Yamux

#: What either side may send on a new stream before the other says more, by the specification.
INITIAL_WINDOW: Final = 256 * 1024
_MAX_DATA: Final = 65_519 - 12
_CREDIT_LIMIT: Final = 1 << 32


class YamuxStream:
    """A :class:`~banyan.node.network.streams.ByteStream`. Cancelling a call on it loses nothing on the wire.

    End it with :meth:`close` (what was sent still arrives) or :meth:`reset` (both sides forget it).
    """

    def __init__(self, owner: Yamux, stream_id: int, *, window: int, inbound: bool) -> None:
        self.id = stream_id
        self.inbound = inbound
        self._owner = owner
        self._buffer = bytearray()
        self._window = window
        self._may_receive = window
        self._consumed = 0  # bytes read since the peer was last given credit
        self._may_send = INITIAL_WINDOW
        self._ended = False  # the peer finished writing
        self._finished = False  # we did
        self._failed = False
        self._discarding = False
        self._changed = trio.lowlevel.ParkingLot()
        self._writer = trio.Lock()

    # -------------------------------------------------------------------------------------- for its user

    async def receive_some(self, max_bytes: int) -> bytes:
        """Up to ``max_bytes``; empty at the end. Raises ConnectionLost if the stream was reset."""
        await trio.lowlevel.checkpoint()
        while not self._buffer:
            if self._failed:
                raise ConnectionLost("The stream was reset")
            if self._ended:
                return b""
            await self._changed.park()
        data = bytes(self._buffer[:max_bytes])
        del self._buffer[: len(data)]
        self._release(len(data))
        return data

    async def send_all(self, data: bytes) -> None:
        """Queue all of ``data``, as the peer gives credit. Raises ConnectionLost if the stream was reset."""
        await trio.lowlevel.checkpoint()
        async with self._writer:
            rest = memoryview(data)
            while rest:
                await self._owner.room()
                while not self._may_send and not self._failed:
                    await self._changed.park()
                if self._failed or self._finished:
                    raise ConnectionLost("The stream was reset")
                part, rest = _split(rest, min(self._may_send, _MAX_DATA))
                self._may_send -= len(part)
                self._owner.send_data(self, part)

    def finish(self) -> None:
        """Nothing more will be sent; reading goes on."""
        if not (self._finished or self._failed):
            self._finished = True
            self._owner.send_fin(self)
            self._forget_if_over()

    def close(self) -> None:
        """Nothing more will be sent, and what still comes is of no interest."""
        self.finish()
        self._discarding = True
        self._drop_buffer()
        self._owner.left(self)

    def reset(self) -> None:
        """Forget the stream and tell the peer to. Does nothing to one that is over."""
        self.fail()
        self._owner.forget(self, reset=True)
        self._owner.left(self)

    # ----------------------------------------------------------------------------------- for its Yamux

    def accepts(self, length: int) -> bool:
        """Whether the peer may send ``length`` more bytes; takes them off its window."""
        if length > self._may_receive or self._ended:
            return False
        self._may_receive -= length
        return True

    def take_in(self, part: bytes) -> int:
        """Hold bytes for the reader; returns how many are held."""
        if self._discarding:
            return 0  # without giving credit back: a peer that keeps sending runs into its window
        self._buffer += part
        self._changed.unpark_all()
        return len(part)

    def add_credit(self, credit: int) -> None:
        self._may_send = min(self._may_send + credit, _CREDIT_LIMIT)
        self._changed.unpark_all()

    def end(self) -> None:
        """The peer finished writing."""
        self._ended = True
        self._changed.unpark_all()
        self._forget_if_over()

    def fail(self, *, keep: bool = False) -> None:
        """The stream is reset, or its connection gone; ``keep`` what arrived before for the reader."""
        self._failed = True
        if not keep:
            self._drop_buffer()
        self._changed.unpark_all()

    # --------------------------------------------------------------------------------------------------

    def _forget_if_over(self) -> None:
        if self._ended and self._finished:
            self._owner.forget(self, reset=False)

    def _drop_buffer(self) -> None:
        self._owner.released(self, len(self._buffer))
        self._buffer.clear()

    def _release(self, count: int) -> None:
        """Bytes were read: give the peer credit again, half a window at a time."""
        self._owner.released(self, count)
        self._consumed += count
        if self._consumed >= self._window // 2 and not self._ended:
            self._may_receive += self._consumed
            self._owner.send_window(self, self._consumed)
            self._consumed = 0


def _split(data: memoryview, at: int) -> tuple[memoryview, memoryview]:
    return data[:at], data[at:]
