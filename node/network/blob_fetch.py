"""Bringing one blob, from several peers at once, each giving the chunks it can.

A peer that fails or dawdles is passed over and what it owed is asked of another. If the whole does not hash
to its name, nobody knows yet which chunk is false: it is fetched anew from one peer at a time, until it is
true; then every false chunk of the first try names its liar.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from banyan.node.network.blob_server import BlobAnswer, BlobRequest
from banyan.node.network.connection import Connection
from banyan.node.network.errors import (
    BlobUnavailable,
    ConnectionLost,
    NetworkError,
    PeerRefused,
    RefusedByPeer,
)
from banyan.node.network.fetch_plan import Chunk, FetchPlan
from banyan.node.network.frames import BLOB_PROTOCOL, FrameStream
from banyan.node.network.limits import MIB, NetworkLimits
from banyan.node.network.transport import BlobSink, Digest, FetchReport, NodeId
from banyan.security.errors import Refused

#: Peers asked at once. More than a few share the same line anyway.
LANES: Final = 4
#: Requests under way on one stream: the next is there before the previous is answered.
_DEPTH: Final = 2
#: How often a peer is asked again after its connection was cut, and the pause before, in seconds.
_CUTS: Final = 3
_PAUSE: Final = 0.3
_WINDOW: Final = 1 * MIB


class BlobFetch:
    """One transfer. ``connect`` gives a connection to a peer, or raises NetworkError or RefusedByPeer."""

    def __init__(
        self,
        digest: Digest,
        size: int,
        sink: BlobSink,
        *,
        connect: Callable[[NodeId], Awaitable[Connection]],
        limits: NetworkLimits,
        count: Callable[[str], None],
    ) -> None:
        self._digest = digest
        self._size = size
        self._sink = sink
        self._connect = connect
        self._limits = limits
        self._count = count
        self._sink_turn = trio.Lock()
        self._changed = trio.lowlevel.ParkingLot()
        self._problems: dict[NodeId, str] = {}
        self._liars: set[NodeId] = set()
        self._cuts: Counter[NodeId] = Counter()
        self._broken: Exception | None = None  # what our own sink raised: no peer's fault

    async def run(self, sources: Sequence[NodeId]) -> FetchReport:
        """Fill the sink. Raises BlobUnavailable, or what the sink raised, after ``sink.abort()``.

        Also aborts when cancelled. An OSError of the sink is told as BlobUnavailable too.
        """
        whole = False
        try:
            if self._size > self._limits.blob_bytes:
                raise BlobUnavailable(
                    f"Blob {self._name} has {self._size} bytes, over the limit of {self._limits.blob_bytes}",
                    "Raise the limit for blobs if you expect one this large",
                )
            plan = await self._fill(list(dict.fromkeys(sources)))
            whole = True
        except OSError as error:
            raise BlobUnavailable(
                f"Blob {self._name} could not be written: {error.strerror or error}", "Free some disk space"
            ) from error
        finally:
            if not whole:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self._sink.abort)
        return FetchReport(self._digest, self._size, plan.received, tuple(sorted(self._liars)))

    async def _fill(self, sources: list[NodeId]) -> FetchPlan:
        present = await trio.to_thread.run_sync(self._sink.present)
        first = FetchPlan(self._size, self._limits.chunk_bytes, present)
        await self._gather(first, sources)
        if not first.done:
            raise self._unavailable(sources)
        if await self._finish():
            return first
        if first.complete and len(first.suppliers()) == 1:
            self._name_liars(first.suppliers())
        for peer in sources:
            if peer in self._liars or peer in self._problems:
                continue
            plan = FetchPlan(self._size, self._limits.chunk_bytes)
            await self._gather(plan, [peer])
            if not plan.done:
                continue
            if await self._finish():
                self._name_liars(first.liars(plan))
                return plan
            self._name_liars({peer})
        raise self._unavailable(sources)

    async def _gather(self, plan: FetchPlan, sources: list[NodeId]) -> None:
        """Run lanes over ``sources`` until the plan is done or nobody is left to ask."""
        waiting = deque(sources)

        async def lane() -> None:
            while waiting and not plan.done and self._broken is None:
                peer = waiting.popleft()
                if await self._draw(plan, peer) and self._cuts[peer] < _CUTS:
                    self._cuts[peer] += 1
                    await trio.sleep(_PAUSE)
                    waiting.append(peer)
            if plan.done or self._broken is not None:
                nursery.cancel_scope.cancel()  # whoever is still busy is busy with a duplicate

        async with trio.open_nursery() as nursery:
            for _ in range(min(LANES, len(sources))):
                nursery.start_soon(lane)
        if self._broken is not None:
            raise self._broken

    async def _draw(self, plan: FetchPlan, peer: NodeId) -> bool:
        """Take chunks from one peer until there are no more for it, or it fails.

        Returns whether the connection was cut under it, so that it may be asked again.
        """
        self._problems.pop(peer, None)
        try:
            connection = await self._connect(peer)
            async with connection.exchange(BLOB_PROTOCOL, window=_WINDOW) as frames:
                await self._draw_chunks(plan, peer, frames)
        except ConnectionLost as cut:
            self._problems[peer] = cut.what
            return True
        except PeerRefused as refusal:
            self._count(refusal.reason)
            self._problems[peer] = refusal.what
        except (NetworkError, Refused) as error:
            self._problems[peer] = error.what
        except trio.TooSlowError:
            self._count("blob-slow")
            self._problems[peer] = "it was too slow"
        finally:
            plan.give_back(peer)
            self._changed.unpark_all()
        return False

    async def _draw_chunks(self, plan: FetchPlan, peer: NodeId, frames: FrameStream) -> None:
        asked: deque[Chunk] = deque()
        while not plan.done:
            with trio.fail_after(self._limits.chunk_timeout):
                while len(asked) < _DEPTH and (chunk := plan.take(peer)) is not None:
                    await frames.send_header(BlobRequest(self._digest, chunk.offset, chunk.length))
                    asked.append(chunk)
                data = await self._receive(frames, asked[0].length) if asked else None
            if data is None:
                await self._changed.park()  # others are busy with the rest; perhaps one of them fails
                continue
            chunk = asked.popleft()
            if plan.claim(chunk):
                async with self._sink_turn:
                    digest = await trio.to_thread.run_sync(self._keep, chunk.offset, data)
                plan.written(chunk, peer, digest)
                self._changed.unpark_all()

    async def _receive(self, frames: FrameStream, length: int) -> bytes:
        answer = await frames.receive_header(BlobAnswer)
        if answer.refused is not None:
            raise RefusedByPeer(answer.refused, f"it answered {answer.refused}")
        if answer.size != self._size:
            raise PeerRefused("blob-wrong-size", f"its blob has {answer.size} bytes instead of {self._size}")
        data = await frames.receive(length)
        if len(data) != length:
            raise PeerRefused("blob-short", "it gave fewer bytes than it was asked for")
        return data

    def _keep(self, offset: int, data: bytes) -> Digest:
        """In a thread: write one chunk, and hash it meanwhile."""
        try:
            self._sink.write_at(offset, data)
        except Exception as error:
            self._broken = error
            raise BlobUnavailable("it could not be kept here") from error
        return hashlib.sha256(data).digest()

    async def _finish(self) -> bool:
        return await trio.to_thread.run_sync(self._sink.finish)

    def _name_liars(self, peers: set[NodeId]) -> None:
        for _ in peers - self._liars:
            self._count("blob-false")
        self._liars |= peers

    def _unavailable(self, sources: list[NodeId]) -> BlobUnavailable:
        told = [f"{peer}: {problem}" for peer, problem in sorted(self._problems.items())]
        told += [f"{peer}: it sent false bytes" for peer in sorted(self._liars)]
        why = "; ".join(told) or "nobody to ask"
        return BlobUnavailable(
            f"None of {len(sources)} peers gave blob {self._name} whole and true ({why})",
            "It is asked for again when more peers have it",
            liars=tuple(sorted(self._liars)),
        )

    @property
    def _name(self) -> str:
        return self._digest.hex()[:12]
