"""How connections come about and end: taken on our port, or dialled; greeted, listed, and let go.

It speaks libp2p's own wire protocols (multistream-select, Noise, Yamux) on trio, and offers nothing else: no
plaintext, no other multiplexer, no service that a stranger could talk to. Every connection runs in its own
task under one nursery, and nothing a peer does reaches that nursery: it is counted instead.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from banyan.node.network.address_book import AddressBook
from banyan.node.network.addresses import Address, BadAddress
from banyan.node.network.connection import Answers, Connection
from banyan.node.network.dialler import race
from banyan.node.network.errors import ConnectionLost, NetworkError, PeerRefused, PeerUnreachable
from banyan.node.network.frames import HELLO_PROTOCOL, FrameStream
from banyan.node.network.hello import CONNECTIONS_FULL, WRONG_NETWORK, Hello, Welcome, refused_by
from banyan.node.network.ledger import Ledger
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.links import Links
from banyan.node.network.listener import Strangers
from banyan.node.network.noise_channel import NoiseChannel, NoiseKey
from banyan.node.network.transport import NodeId
from banyan.node.network.upgrade import upgrade
from banyan.security.errors import Refused

log = logging.getLogger(__name__)


class Swarm:
    """Connections of one node on one network.

    ``changed(peer, up)`` is called when the first connection to a peer stands and when its last is gone.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        node: NodeId,
        key: NoiseKey,
        network: bytes,
        *,
        limits: NetworkLimits,
        book: AddressBook,
        ledger: Ledger,
        answers: Answers,
        addresses: Callable[[], Sequence[str]],
        clock: Callable[[], int],
        changed: Callable[[NodeId, bool], None],
    ) -> None:
        self._nursery = nursery
        self._node = node
        self._key = key
        self._network = network
        self._limits = limits
        self._book = book
        self._ledger = ledger
        self._addresses = addresses
        self._clock = clock
        self._listeners: list[Callable[[NodeId, bool], None]] = [changed]
        self._answers = {protocol: self._after_hello(answer) for protocol, answer in answers.items()}
        self._answers[HELLO_PROTOCOL] = self._answer_hello
        self._strangers = Strangers(limits.handshakes, limits.handshake_timeout, ledger.count)
        self._dialling: dict[NodeId, trio.Lock] = {}
        self.links = Links()

    def on_change(self, wake: Callable[[], None]) -> None:
        """Also call ``wake()`` when a peer comes or goes."""
        self._listeners.append(lambda _peer, _up: wake())

    def _tell(self, peer: NodeId, *, up: bool) -> None:
        for listener in self._listeners:
            listener(peer, up)

    # ----------------------------------------------------------------------------------------- towards us

    def admit(self, tcp: trio.SocketStream) -> None:
        """Somebody connected to our port."""
        self._nursery.start_soon(self._inbound, tcp)

    async def _inbound(self, tcp: trio.SocketStream) -> None:
        connection: Connection | None = None
        try:
            with self._strangers.admit():
                channel = await upgrade(tcp, self._key, initiator=False)
                connection = self._start(channel, tcp, initiator=False)
                await connection.settled.wait()
        except Refused as refusal:
            self._ledger.count(refusal.reason)
        except (NetworkError, trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            self._ledger.count("handshake-cut")
        except Exception:
            log.exception("A connection could not be taken")
            self._ledger.count("internal-error")
        finally:
            if connection is None:
                await trio.aclose_forcefully(tcp)
            elif not connection.greeted.is_set():
                connection.close()

    async def _answer_hello(self, connection: Connection, frames: FrameStream) -> None:
        with trio.fail_after(self._limits.request_timeout):
            hello = await frames.receive_header(Hello)
            refusal = self._refusal(connection.peer, hello)
            if refusal is not None:
                self._ledger.count(refusal)
                await frames.send_header(Welcome(refusal, ()))
                return  # the peer hangs up, or the time for strangers runs out
            self._note(connection.peer, hello.addresses)
            self._greet(connection, None)
            await frames.send_header(Welcome(None, tuple(self._addresses())))

    def _refusal(self, peer: NodeId, hello: Hello) -> str | None:
        if hello.network != self._network:
            return WRONG_NETWORK
        if len(self.links) >= self._limits.connections and self.links.best(peer) is None:
            return CONNECTIONS_FULL
        return None

    # --------------------------------------------------------------------------------------- from us

    async def connect(self, peer: NodeId) -> Connection:
        """The standing connection to ``peer``, or a new one to an address in the book."""
        if (connection := self.links.best(peer)) is not None:
            return connection
        async with self._only_dialler({peer}):
            return await self._dial([Address.parse(text) for text in self._book.candidates(peer)])

    async def dial(self, addresses: Sequence[Address]) -> Connection:
        """Connect to whichever address answers first."""
        async with self._only_dialler({address.peer for address in addresses}):
            return await self._dial(addresses)

    @asynccontextmanager
    async def _only_dialler(self, peers: set[NodeId]) -> AsyncIterator[None]:
        """Two tasks never dial one peer at once; the second then finds the first one's connection."""
        async with AsyncExitStack() as stack:
            for peer in sorted(peers):
                lock = self._dialling.setdefault(peer, trio.Lock())
                stack.callback(self._forget_lock, peer, lock)
                await stack.enter_async_context(lock)
            yield

    def _forget_lock(self, peer: NodeId, lock: trio.Lock) -> None:
        if not lock.locked():
            self._dialling.pop(peer, None)

    async def _dial(self, addresses: Sequence[Address]) -> Connection:
        for address in addresses:
            if (connection := self.links.best(address.peer)) is not None:
                return connection
        others = [address for address in addresses if address.peer != self._node]
        try:
            if len(self.links) >= self._limits.connections:
                raise PeerUnreachable("All the connections this node may have are in use", "Raise the limit")
            connection, _ = await race(others, self._establish, self._limits.dial_timeout)
        except (NetworkError, Refused):
            for peer in {address.peer for address in others}:
                self._book.failed(peer, [str(a) for a in others if a.peer == peer], self._clock())
            raise
        return connection

    async def _establish(self, address: Address) -> Connection:
        """One attempt at one address, up to a greeted connection. Closes what it opened if it fails."""
        tcp = await trio.open_tcp_stream(address.host, address.port)
        connection: Connection | None = None
        try:
            channel = await upgrade(tcp, self._key, initiator=True, expected=address.peer)
            connection = self._start(channel, tcp, initiator=True)
            async with connection.exchange(HELLO_PROTOCOL) as frames:
                await frames.send_header(Hello(self._network, tuple(self._addresses())))
                welcome = await frames.receive_header(Welcome)
            if welcome.refused is not None:
                raise refused_by(address.peer, welcome.refused)
        except BaseException as error:
            if isinstance(error, PeerRefused):
                self._ledger.count(error.reason)
            if connection is None:
                await trio.aclose_forcefully(tcp)
            else:
                connection.close()
            raise
        self._note(address.peer, welcome.addresses)
        self._greet(connection, str(address))
        if not connection.greeted.is_set():
            raise ConnectionLost("The peer hung up right after its welcome")
        return connection

    # ------------------------------------------------------------------------------------------- both ways

    def _start(self, channel: NoiseChannel, tcp: trio.SocketStream, *, initiator: bool) -> Connection:
        channel.account(self._ledger.traffic_of(channel.peer))
        connection = Connection(
            channel,
            initiator=initiator,
            limits=self._limits,
            answers=self._answers,
            count=self._ledger.count,
            bucket=self._ledger.bucket_of(channel.peer),
        )
        self._nursery.start_soon(self._live, connection, tcp)
        return connection

    async def _live(self, connection: Connection, tcp: trio.SocketStream) -> None:
        """The whole life of one connection."""
        try:
            await connection.run()
        except Exception:
            log.exception("The connection to %s failed for a reason of ours", connection.peer)
            self._ledger.count("internal-error")
        finally:
            if self.links.remove(connection):
                self._tell(connection.peer, up=False)
            await trio.aclose_forcefully(tcp)

    def _greet(self, connection: Connection, address: str | None) -> None:
        if connection.closed.is_set() or connection.greeted.is_set():
            return
        first = self.links.add(connection)
        connection.greet()
        self._book.reached(connection.peer, address, self._clock())
        if first:
            self._tell(connection.peer, up=True)

    def _note(self, peer: NodeId, addresses: Sequence[str]) -> None:
        """A peer says where it may be found; only itself, and only addresses that make sense."""
        try:
            self._book.add(addresses, only=peer)
        except BadAddress as error:
            self._ledger.count(error.reason)

    def _after_hello(
        self, answer: Callable[[Connection, FrameStream], Awaitable[None]]
    ) -> Callable[[Connection, FrameStream], Awaitable[None]]:
        """Nothing but a hello is answered before the hello; a stream that is early waits for it."""

        async def answer_after_hello(connection: Connection, frames: FrameStream) -> None:
            if not connection.greeted.is_set():
                with trio.fail_after(self._limits.handshake_timeout):
                    await connection.greeted.wait()
            await answer(connection, frames)

        return answer_after_hello
