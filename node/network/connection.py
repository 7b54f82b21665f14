"""One connection to one proved peer: its streams, and who answers those that the peer opens."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import trio

from banyan.node.network import multistream
from banyan.node.network.errors import ConnectionLost, CutShort, NetworkError, PeerRefused
from banyan.node.network.frames import FrameStream
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.noise_channel import NoiseChannel
from banyan.node.network.streams import BufferedStream
from banyan.node.network.throttle import TokenBucket
from banyan.node.network.yamux import Yamux
from banyan.node.network.yamux_stream import INITIAL_WINDOW, YamuxStream
from banyan.security.errors import Refused

log = logging.getLogger(__name__)

#: What the other end of a connection may ask for: an answer per protocol.
Answers: TypeAlias = Mapping[str, Callable[["Connection", FrameStream], Awaitable[None]]]


class Connection:
    """Runs in one task (:meth:`run`); anybody may open streams on it meanwhile.

    ``answers`` says what this end speaks. ``greeted`` is set, by :meth:`greet`, once the peer has proved to
    be on our network; which protocols are answered before is up to ``answers``.
    """

    def __init__(
        self,
        channel: NoiseChannel,
        *,
        initiator: bool,
        limits: NetworkLimits,
        answers: Answers,
        count: Callable[[str], None],
        bucket: TokenBucket,
    ) -> None:
        self.peer = channel.peer
        self.initiator = initiator
        self.greeted = trio.Event()
        self.closed = trio.Event()
        #: Greeted or closed, whichever comes first.
        self.settled = trio.Event()
        self._limits = limits
        self._answers = answers
        self._count = count
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._places = trio.Semaphore(max(1, limits.streams_per_peer * 3 // 4))
        self._muxer = Yamux(
            channel,
            initiator=initiator,
            limits=limits,
            accept=self._accept,
            count=count,
            throttle=bucket.take,
        )

    async def run(self) -> None:
        """Serve the peer until the connection ends, for whatever reason; never raises because of the peer."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    await self._muxer.run()
        except* PeerRefused as refusals:
            self._count(_first(refusals).reason)
        except* (NetworkError, trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # connections end; who was using this one has been told
        finally:
            self.closed.set()
            self.settled.set()

    def greet(self) -> None:
        """The peer is on our network: from now on everything is answered."""
        self.greeted.set()
        self.settled.set()

    def close(self) -> None:
        """End the connection and everything on it, soon."""
        self._scope.cancel()

    @asynccontextmanager
    async def exchange(self, protocol: str, *, window: int = INITIAL_WINDOW) -> AsyncIterator[FrameStream]:
        """A stream on which the peer answers ``protocol``; closed on leaving, reset on an exception.

        Waits while as many are open as the peer surely allows: it has the same limits, and may not yet be
        done with some that we have closed.
        """
        async with self._places:
            stream = self._muxer.open_stream(window)
            try:
                yield FrameStream(BufferedStream(stream), protocol)
            except BaseException:
                stream.reset()
                raise
            stream.close()

    def _accept(self, stream: YamuxStream) -> None:
        if self._nursery is None:  # cannot be: streams arrive only while the muxer runs
            stream.reset()
            return
        self._nursery.start_soon(self._answer, stream)

    async def _answer(self, stream: YamuxStream) -> None:
        """Whatever a peer does on a stream ends here: counted, and the stream reset."""
        try:
            buffered = BufferedStream(stream)
            with trio.fail_after(self._limits.request_timeout):
                protocol = await multistream.answer(buffered, self._answers)
            await self._answers[protocol](self, FrameStream(buffered))
        except CutShort:
            self._count("stream-cut")
            stream.reset()
        except ConnectionLost:
            stream.reset()
        except Refused as refusal:
            self._count(refusal.reason)
            stream.reset()
        except trio.TooSlowError:
            self._count("too-slow")
            stream.reset()
        except Exception:  # our own fault, and still no reason to lose the other streams
            log.exception("A stream of %s could not be answered", self.peer)
            self._count("internal-error")
            stream.reset()
        else:
            stream.close()


def _first(group: BaseExceptionGroup[PeerRefused]) -> PeerRefused:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
