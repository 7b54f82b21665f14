"""The transport over libp2p: TCP, Noise and Yamux, with the four protocols of Banyan on its streams."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio

from banyan.node.network import mdns
from banyan.node.network.address_book import AddressBook
from banyan.node.network.addresses import Address, BadAddress, at
from banyan.node.network.blob_fetch import BlobFetch
from banyan.node.network.blob_server import BlobServer
from banyan.node.network.errors import DeliveryFailed, NetworkError, PeerUnreachable
from banyan.node.network.frames import BLOB_PROTOCOL, MESSAGE_PROTOCOL, PEERS_PROTOCOL
from banyan.node.network.hello import ADDRESSES
from banyan.node.network.inbox import Inbox
from banyan.node.network.ledger import Ledger
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.listener import accept, listen
from banyan.node.network.messages import Messages
from banyan.node.network.noise_channel import NoiseKey
from banyan.node.network.peer_exchange import PeerExchange
from banyan.node.network.staying_connected import StayingConnected
from banyan.node.network.supervision import supervise
from banyan.node.network.swarm import Swarm
from banyan.node.network.transport import Arrival, BlobSink, BlobSource, Digest, FetchReport, NodeId, Traffic
from banyan.security.identity import Signer

log = logging.getLogger(__name__)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Libp2pTransport:
    """Implements :class:`~banyan.node.network.transport.Transport` for one node of one network.

    ``host`` and ``port``: where to listen; port 0 takes any free one, kept until the end of the run.
    ``announce``: addresses to tell others instead of those found on this machine (behind a forwarded port).
    ``book``: what is known of peers; pass one to keep it across runs (``export`` and ``restore``).
    ``local_discovery``: announce and look for nodes on the local network by multicast DNS.
    ``wanted_peers``: below this many connected peers, those we were merely told of are dialled too.
    Raises :class:`~banyan.node.network.addresses.BadAddress` for an address in ``announce`` that is none.
    ``failed(service, error, delay)``: one of the services failed and starts again after ``delay`` seconds.
    """

    def __init__(
        self,
        signer: Signer,
        network: bytes,
        *,
        blobs: BlobSource,
        host: str = "0.0.0.0",
        port: int = 0,
        announce: Sequence[str] = (),
        limits: NetworkLimits | None = None,
        book: AddressBook | None = None,
        local_discovery: bool = False,
        wanted_peers: int = 8,
        failed: Callable[[str, Exception, float], None] | None = None,
        clock: Callable[[], int] = _now_ms,
    ) -> None:
        self._signer = signer
        self._network = network
        self._host = host
        self._port = port
        self._announce = tuple(str(Address.parse(text)) for text in announce)
        self._limits = limits or NetworkLimits()
        self.book = book if book is not None else AddressBook(signer.node_id)
        self._local_discovery = local_discovery
        self._wanted_peers = wanted_peers
        self._failed = failed
        self._clock = clock
        self._ledger = Ledger(self._limits.bytes_per_second_per_peer)
        self._inbox = Inbox(self._limits.inbox)
        self._messages = Messages(self._inbox, self._limits, self._ledger.count)
        self._blobs = BlobServer(blobs, self._limits)
        self._exchange = PeerExchange(self.book, self._limits.request_timeout)
        self._listener: trio.SocketListener | None = None
        self._running: Swarm | None = None
        self._reachable: tuple[str, ...] = ()

    @property
    def local_id(self) -> NodeId:
        return self._signer.node_id

    @property
    def arrivals(self) -> trio.MemoryReceiveChannel[Arrival]:
        return self._inbox.arrivals

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        self._listener = await listen(self._host, self._port)
        self._port = self._listener.socket.getsockname()[1]
        self._reachable = self._find_addresses()
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._running = swarm = self._make_swarm(nursery)
                staying = StayingConnected(
                    swarm, self.book, self._exchange, wanted_peers=self._wanted_peers, clock=self._clock
                )
                swarm.on_change(staying.wake)
                services = {
                    "listener": self._listen,
                    "inbox": self._inbox.run,
                    "staying-connected": staying.run,
                    "local-discovery": partial(self._discover, staying.wake),
                }
                for name, service in services.items():
                    nursery.start_soon(supervise, service, self._reporter(name))
                try:
                    yield
                except Exception as error:  # noqa: BLE001 - leaves as it came, not wrapped in the nursery's group
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            self._running = None
            if self._listener is not None:
                self._listener.socket.close()
            self._inbox.close()
        if failure is not None:
            raise failure

    def addresses(self) -> tuple[str, ...]:
        return self._reachable

    def peers(self) -> tuple[NodeId, ...]:
        return () if self._running is None else self._running.links.peers()

    async def dial(self, addresses: Sequence[str]) -> NodeId:
        parsed, faults = [], []
        for text in addresses:
            try:
                parsed.append(Address.parse(text))
            except BadAddress as error:
                faults.append(error)
        if faults and not parsed:
            raise PeerUnreachable(faults[0].what, faults[0].cure)
        self.book.add(map(str, parsed), wanted=True)
        return (await self._swarm.dial(parsed)).peer

    async def disconnect(self, peer: NodeId) -> None:
        await trio.lowlevel.checkpoint()
        self.book.forget(peer)
        for connection in self._swarm.links.of(peer):
            connection.close()

    async def send(self, peer: NodeId, *data: bytes) -> int:
        connection = await self._swarm.connect(peer)
        try:
            return await self._messages.send(connection, *data)
        except DeliveryFailed:
            newer = self._swarm.links.best(peer)
            if newer is None or newer is connection:
                raise
            return await self._messages.send(
                newer, *data
            )  # the peer came back while we spoke to its old self

    async def fetch(
        self, digest: Digest, size: int, sources: Sequence[NodeId], sink: BlobSink
    ) -> FetchReport:
        transfer = BlobFetch(
            digest,
            size,
            sink,
            connect=self._swarm.connect,
            limits=self._limits,
            count=self._ledger.count,
        )
        return await transfer.run([peer for peer in sources if peer != self.local_id])

    def traffic(self) -> Mapping[NodeId, Traffic]:
        return self._ledger.traffic()

    def refusals(self) -> Mapping[str, int]:
        return self._ledger.refusals()

    # --------------------------------------------------------------------------------------- inside

    @property
    def _swarm(self) -> Swarm:
        if self._running is None:
            raise NetworkError("The network is not running", "Start the node with `banyan up`")
        return self._running

    def _make_swarm(self, nursery: trio.Nursery) -> Swarm:
        return Swarm(
            nursery,
            self.local_id,
            NoiseKey(self._signer),
            self._network,
            limits=self._limits,
            book=self.book,
            ledger=self._ledger,
            answers={
                MESSAGE_PROTOCOL: self._messages.answer,
                BLOB_PROTOCOL: self._blobs.answer,
                PEERS_PROTOCOL: self._exchange.answer,
            },
            addresses=self.addresses,
            clock=self._clock,
            changed=lambda peer, up: self._inbox.link(peer, up=up),
        )

    async def _listen(self) -> None:
        """Take connections; on the same port again if the socket breaks."""
        if self._listener is None:
            self._listener = await listen(self._host, self._port)
        try:
            await accept(self._listener, self._swarm.admit, self._ledger.count)
        finally:
            self._listener.socket.close()
            self._listener = None

    async def _discover(self, wake: Callable[[], None]) -> None:
        def found(addresses: Sequence[str]) -> None:
            self.book.add(addresses)
            wake()

        if self._local_discovery:
            await mdns.discover([Address.parse(a) for a in self._reachable], self._network, found)

    def _reporter(self, service: str) -> Callable[[Exception, float], None]:
        def report(error: Exception, delay: float) -> None:
            log.error("The %s failed and starts again in %.1f s", service, delay, exc_info=error)
            if self._failed is not None:
                self._failed(service, error, delay)

        return report

    def _find_addresses(self) -> tuple[str, ...]:
        """Where others may reach us: what the owner announces, or where this machine's traffic leaves from."""
        if self._announce:
            return self._announce[:ADDRESSES]
        hosts = [self._host]
        if self._host == "0.0.0.0":
            hosts = [_outward_host(socket.AF_INET, "192.0.2.1")]
        elif self._host == "::":
            hosts = [_outward_host(socket.AF_INET6, "2001:db8::1")]
        return tuple(dict.fromkeys(str(at(host, self._port, self.local_id)) for host in hosts))


def _outward_host(family: socket.AddressFamily, anywhere: str) -> str:
    """The address that packets to the world would carry, or loopback; no packet is sent to find out.

    ``anywhere`` is a documentation address, never a real machine (RFC 5737, RFC 3849).
    """
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((anywhere, 9))
        except OSError:
            return "127.0.0.1" if family == socket.AF_INET else "::1"
        return str(probe.getsockname()[0])
