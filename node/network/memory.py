"""A network in memory: the same interface as the real one, for tests of whatever stands above it.

    network = MemoryNetwork()
    a, b = network.transport("12D3KooWa"), network.transport("12D3KooWb", blobs=MemoryBlobs())
    async with a.run(), b.run():
        await a.dial(b.addresses())
        await a.send(b.local_id, b"hello")

Links can be cut and healed; nothing sleeps, so it works under a virtual clock.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from banyan.node.network.errors import (
    BlobUnavailable,
    DeliveryFailed,
    NetworkError,
    PeerUnreachable,
    RefusedByPeer,
)
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.transport import (
    Arrival,
    BlobReader,
    BlobSink,
    BlobSource,
    Digest,
    FetchReport,
    MessageArrived,
    NodeId,
    PeerDown,
    PeerUp,
    Traffic,
)


class MemoryBlobs:
    """A blob store in a dictionary: a source of blobs, and a maker of sinks that end up in it."""

    def __init__(self, *blobs: bytes) -> None:
        self._blobs: dict[Digest, bytes] = {}
        for blob in blobs:
            self.add(blob)

    def add(self, blob: bytes, digest: Digest | None = None) -> Digest:
        """Keep ``blob``; under a false ``digest``, if one is given, to play a liar."""
        digest = hashlib.sha256(blob).digest() if digest is None else digest
        self._blobs[digest] = blob
        return digest

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._blobs

    def __getitem__(self, digest: Digest) -> bytes:
        return self._blobs[digest]

    def open(self, digest: Digest) -> BlobReader | None:
        blob = self._blobs.get(digest)
        return None if blob is None else MemoryBlobReader(blob)

    def sink(self, digest: Digest, size: int) -> MemoryBlobSink:
        """A sink that adds the blob here once it is whole and true."""
        return MemoryBlobSink(self, digest, size)


class MemoryBlobReader:
    """A blob held in memory."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob

    @property
    def size(self) -> int:
        return len(self._blob)

    def read(self, offset: int, length: int) -> bytes:
        return self._blob[offset : offset + length]

    def close(self) -> None:
        pass


class MemoryBlobSink:
    """Assembles one blob in memory."""

    def __init__(self, store: MemoryBlobs, digest: Digest, size: int) -> None:
        self._store = store
        self._digest = digest
        self._bytes = bytearray(size)
        self.aborted = False

    def present(self) -> Sequence[tuple[int, int]]:
        return ()

    def write_at(self, offset: int, data: bytes) -> None:
        self._bytes[offset : offset + len(data)] = data

    def finish(self) -> bool:
        if hashlib.sha256(self._bytes).digest() != self._digest:
            return False
        self._store.add(bytes(self._bytes))
        return True

    def abort(self) -> None:
        self.aborted = True


class MemoryNetwork:
    """Who runs, and whose links are cut."""

    def __init__(self) -> None:
        self._running: dict[NodeId, MemoryTransport] = {}
        self._cut: set[frozenset[NodeId]] = set()

    def transport(
        self,
        node: NodeId,
        *,
        network: bytes = b"",
        blobs: BlobSource | None = None,
        limits: NetworkLimits | None = None,
    ) -> MemoryTransport:
        """A transport for ``node``. Nodes with different ``network`` ids refuse each other."""
        return MemoryTransport(self, node, network, blobs or MemoryBlobs(), limits or NetworkLimits())

    async def cut(self, one: NodeId, other: NodeId) -> None:
        """The link between these two fails until :meth:`heal`."""
        self._cut.add(frozenset((one, other)))
        if one in self._running:
            await self._running[one].disconnect(other)

    def heal(self, one: NodeId, other: NodeId) -> None:
        """The link works again; nobody is told, as in real life."""
        self._cut.discard(frozenset((one, other)))

    def reach(self, caller: NodeId, peer: NodeId) -> MemoryTransport | None:
        """The running transport of ``peer``, unless it is down or the link to it is cut."""
        if frozenset((caller, peer)) in self._cut:
            return None
        return self._running.get(peer)

    def running(self, node: NodeId) -> MemoryTransport | None:
        """The transport of ``node``, cut off or not."""
        return self._running.get(node)

    def enter(self, transport: MemoryTransport) -> None:
        if transport.local_id in self._running:
            raise ValueError(f"{transport.local_id} is running already")
        self._running[transport.local_id] = transport

    def leave(self, transport: MemoryTransport) -> None:
        del self._running[transport.local_id]


class MemoryTransport:
    """Implements :class:`~banyan.node.network.transport.Transport` among the nodes of a MemoryNetwork."""

    def __init__(
        self, world: MemoryNetwork, node: NodeId, network: bytes, blobs: BlobSource, limits: NetworkLimits
    ) -> None:
        self._world = world
        self._node = node
        self.network = network
        self.blobs = blobs
        self._limits = limits
        self._connected: set[NodeId] = set()
        self._traffic: dict[NodeId, Traffic] = {}
        self._refusals: Counter[str] = Counter()
        self._inbox, self._arrivals = trio.open_memory_channel[Arrival](math.inf)

    @property
    def local_id(self) -> NodeId:
        return self._node

    @property
    def arrivals(self) -> trio.MemoryReceiveChannel[Arrival]:
        return self._arrivals

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        self._world.enter(self)
        try:
            yield
        finally:
            self._world.leave(self)
            with trio.CancelScope(shield=True):
                for peer in self.peers():
                    await self.disconnect(peer)
            self._inbox.close()

    def addresses(self) -> tuple[str, ...]:
        return (f"/memory/0/p2p/{self._node}",)

    def peers(self) -> tuple[NodeId, ...]:
        return tuple(sorted(self._connected))

    async def dial(self, addresses: Sequence[str]) -> NodeId:
        await trio.lowlevel.checkpoint()
        peers = [address.rpartition("/p2p/")[2] for address in addresses]
        for peer in peers:
            if peer in self._connected:
                return peer
            other = self._world.reach(self._node, peer)
            if other is None or peer == self._node:
                continue
            if other.network != self.network:
                other.count_refusal("wrong-network")
                raise RefusedByPeer("wrong-network", f"{peer} belongs to another network")
            self.connect(peer)
            other.connect(self._node)
            return peer
        raise PeerUnreachable(f"No peer answered at {', '.join(addresses) or 'no address'}")

    async def disconnect(self, peer: NodeId) -> None:
        await trio.lowlevel.checkpoint()
        other = self._world.running(peer)
        self.drop(peer)
        if other is not None:
            other.drop(self._node)

    async def send(self, peer: NodeId, *data: bytes) -> int:
        await trio.lowlevel.checkpoint()
        taken = 0
        try:
            for each in data:
                await self._send_one(peer, each)
                taken += 1
        except (NetworkError, RefusedByPeer):
            if not taken:
                raise
        return taken

    async def _send_one(self, peer: NodeId, data: bytes) -> None:
        if len(data) > self._limits.message_bytes:
            raise RefusedByPeer("too-long", f"A message of {len(data)} bytes is over the limit")
        if peer not in self._connected:
            await self.dial([f"/memory/0/p2p/{peer}"])
        other = self._world.reach(self._node, peer)
        if other is None:
            raise DeliveryFailed(f"{peer} is gone")
        if not other.accept(MessageArrived(self._node, data)):
            raise RefusedByPeer("busy", f"{peer} has no room for another message")
        self._count(peer, sent=len(data))
        other._count(self._node, received=len(data))

    async def fetch(
        self, digest: Digest, size: int, sources: Sequence[NodeId], sink: BlobSink
    ) -> FetchReport:
        received: dict[NodeId, int] = {}
        liars: list[NodeId] = []
        for peer in sources:
            await trio.lowlevel.checkpoint()
            other = self._world.reach(self._node, peer)
            reader = other.blobs.open(digest) if other is not None else None
            if other is None or reader is None:
                continue
            if reader.size != size:
                liars.append(peer)
                continue
            for offset in range(0, size, self._limits.chunk_bytes):
                sink.write_at(offset, reader.read(offset, min(self._limits.chunk_bytes, size - offset)))
            reader.close()
            received[peer] = size
            self._count(peer, received=size)
            other._count(self._node, sent=size)
            if sink.finish():
                return FetchReport(digest, size, received, tuple(liars))
            liars.append(peer)
            self.count_refusal("blob-false")
        sink.abort()
        raise BlobUnavailable(
            f"None of {len(sources)} peers gave blob {digest.hex()[:12]} whole and true", liars=tuple(liars)
        )

    def traffic(self) -> Mapping[NodeId, Traffic]:
        return dict(self._traffic)

    def refusals(self) -> Mapping[str, int]:
        return dict(self._refusals)

    # --------------------------------------------------------------- called by the other end of a link

    def connect(self, peer: NodeId) -> None:
        if peer not in self._connected:
            self._connected.add(peer)
            self.accept(PeerUp(peer))

    def drop(self, peer: NodeId) -> None:
        if peer in self._connected:
            self._connected.discard(peer)
            self.accept(PeerDown(peer))

    def accept(self, arrival: Arrival) -> bool:
        """Take it in, unless it is a message and the inbox is full."""
        waiting = self._inbox.statistics().current_buffer_used
        if isinstance(arrival, MessageArrived) and waiting >= self._limits.inbox:
            return False
        try:
            self._inbox.send_nowait(arrival)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False  # nobody listens any more
        return True

    def count_refusal(self, reason: str) -> None:
        self._refusals[reason] += 1

    def _count(self, peer: NodeId, *, sent: int = 0, received: int = 0) -> None:
        traffic = self._traffic.setdefault(peer, Traffic())
        traffic.sent += sent
        traffic.received += received
