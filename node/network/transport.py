"""The network as the daemon sees it: one small interface, whatever carries the bytes.

A transport proves who a peer is, delivers messages both ways, and brings blobs by their hash. It decides
nothing: it never interprets a message and never chooses whom to talk to beyond staying connected.

    async with trio.open_nursery() as nursery, transport.run():
        await transport.dial(invite.addresses)
        async for arrival in transport.arrivals:
            match arrival:
                case MessageArrived(peer, data): ...
                case PeerUp(peer): ...
                case PeerDown(peer): ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import trio

NodeId: TypeAlias = str
Digest: TypeAlias = bytes


# ------------------------------------------------------------------------------------- what comes in


@dataclass(frozen=True, slots=True)
class MessageArrived:
    """``data`` came from ``peer``, whose key the transport has proved. At most ``limits.message_bytes``."""

    peer: NodeId
    data: bytes


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A first connection to ``peer`` stands, and it is on our network."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The last connection to ``peer`` is gone."""

    peer: NodeId


Arrival: TypeAlias = MessageArrived | PeerUp | PeerDown


# ------------------------------------------------------------------------------------------- blobs


class BlobReader(Protocol):
    """One open blob. Called from a worker thread; never from two at once."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; the caller keeps within ``size``."""

    def close(self) -> None:
        """Give its resources back. Called once."""


class BlobSource(Protocol):
    """Where the blobs are that we serve to others. Called from worker threads, so it must be thread-safe."""

    def open(self, digest: Digest) -> BlobReader | None:
        """The blob with this SHA-256, or None if we do not have it."""


class BlobSink(Protocol):
    """Where one fetched blob is assembled. Called from worker threads, one call at a time.

    The transport calls ``write_at`` in any order, then ``finish`` once every byte is there. After a False
    from ``finish`` it may write everything anew and call it again; it ends with a True or with ``abort``.
    """

    def present(self) -> Sequence[tuple[int, int]]:
        """The ``(start, stop)`` ranges left by an earlier transfer that was cut; usually none."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Put ``data`` at ``offset``."""

    def finish(self) -> bool:
        """Hash what is there. True: it is the blob, and it is now durably in the store. False: it is not."""

    def abort(self) -> None:
        """The transfer failed; keep what may be resumed later, or drop it."""


@dataclass(frozen=True, slots=True)
class FetchReport:
    """How a blob came: bytes taken from each peer, and who sent bytes that do not hash to it."""

    digest: Digest
    size: int
    received: Mapping[NodeId, int]
    liars: tuple[NodeId, ...] = ()


@dataclass(slots=True)
class Traffic:
    """Bytes exchanged with one peer since the start, as they go over the wire."""

    received: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A peer somebody spoke of, and where it may be found (multiaddrs that end in ``/p2p/<its id>``)."""

    peer: NodeId
    addresses: tuple[str, ...] = field(default=())


# --------------------------------------------------------------------------------------- interface


class Transport(Protocol):
    """Connections to peers of one network.

    Cancelling any of its calls is safe: the connection stays usable. All errors are
    :class:`~banyan.node.network.errors.NetworkError` or
    :class:`~banyan.node.network.errors.RefusedByPeer`.
    """

    @property
    def local_id(self) -> NodeId:
        """Our own peer id."""

    @property
    def arrivals(self) -> trio.MemoryReceiveChannel[Arrival]:
        """Everything that comes in, in order per peer. Bounded: while it is full, senders get no receipt."""

    def run(self) -> AbstractAsyncContextManager[None]:
        """Listen and stay connected while the block runs.

        Raises :class:`~banyan.node.network.errors.PortInUse` on entry. Everything it started has ended, and
        every socket is closed, when the block is left. ``arrivals`` is closed then.
        """

    def addresses(self) -> tuple[str, ...]:
        """Where others may reach us: multiaddrs with the real port and ``/p2p/<our id>``."""

    def peers(self) -> tuple[NodeId, ...]:
        """Who is connected now, sorted."""

    async def dial(self, addresses: Sequence[str]) -> NodeId:
        """Connect to the first peer that answers at any of ``addresses``; each ends in ``/p2p/<id>``.

        Returns its id, at once if one of those peers is connected already.
        Raises PeerUnreachable (what was tried, and why each failed) or RefusedByPeer (another network).
        """

    async def disconnect(self, peer: NodeId) -> None:
        """Close every connection to ``peer`` and do not dial it again by ourselves."""

    async def send(self, peer: NodeId, *data: bytes) -> int:
        """Deliver messages in order and wait for their receipts; how many of them, the first ones, ``peer`` then has.

        Dials ``peer`` first if it is not connected and an address of it is known. Where it has taken none of them,
        raises DeliveryFailed, PeerUnreachable, or RefusedByPeer (``busy``, ``too-long``).
        """

    async def fetch(
        self, digest: Digest, size: int, sources: Sequence[NodeId], sink: BlobSink
    ) -> FetchReport:
        """Bring the blob of ``size`` bytes into ``sink``, from as many of ``sources`` at once as answer.

        Raises BlobUnavailable, after ``sink.abort()``, when no source is left. A liar costs time, not truth.
        An error of the sink's own (a full disk) comes through as it is, an OSError as BlobUnavailable.
        """

    def traffic(self) -> Mapping[NodeId, Traffic]:
        """Bytes in and out per peer, for the peers most recently connected."""

    def refusals(self) -> Mapping[str, int]:
        """How often each kind of bad input was refused, by reason."""
