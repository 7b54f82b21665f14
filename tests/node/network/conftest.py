"""Nodes on loopback for the tests that need real sockets."""

import random
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import trio

from banyan.node.network.addresses import Address
from banyan.node.network.connection import Connection
from banyan.node.network.libp2p_host import Libp2pTransport
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.memory import MemoryBlobs
from banyan.node.network.noise_channel import NoiseKey
from banyan.node.network.throttle import TokenBucket
from banyan.node.network.transport import MessageArrived, PeerDown, PeerUp
from banyan.node.network.upgrade import upgrade
from banyan.security.identity import Identity

NETWORK = b"the test network"


class Node:
    """A transport, its blobs, and everything that has arrived."""

    def __init__(self, seed, **settings):
        self.blobs = MemoryBlobs()
        self.identity = Identity.from_seed(random.Random(seed).randbytes(32))
        settings.setdefault("network", NETWORK)
        settings.setdefault("host", "127.0.0.1")
        self.transport = Libp2pTransport(self.identity, blobs=self.blobs, **settings)
        self.id = self.transport.local_id
        self.messages, self.links = [], []
        self._news = trio.Event()

    @property
    def port(self):
        return Address.parse(self.transport.addresses()[0]).port

    @asynccontextmanager
    async def run(self):
        async with trio.open_nursery() as nursery, self.transport.run():
            nursery.start_soon(self._collect)
            yield self
            nursery.cancel_scope.cancel()

    async def _collect(self):
        async for arrival in self.transport.arrivals:
            match arrival:
                case MessageArrived():
                    self.messages.append(arrival)
                case PeerUp() | PeerDown():
                    self.links.append(arrival)
            news, self._news = self._news, trio.Event()
            news.set()

    async def until(self, condition, within=10):
        """Wait until ``condition()`` holds, looking whenever something arrives and now and then besides."""
        with trio.fail_after(within):
            while not condition():
                with trio.move_on_after(0.02):
                    await self._news.wait()

    async def fetch(self, digest, size, sources):
        return await self.transport.fetch(
            digest, size, [source.id for source in sources], self.blobs.sink(digest, size)
        )


QUICK = NetworkLimits(
    handshake_timeout=1.0,
    dial_timeout=2.0,
    request_timeout=2.0,
    chunk_timeout=1.0,
    write_timeout=1.0,
    ping_interval=0.3,
    ping_timeout=0.3,
)


@asynccontextmanager
async def stranger(identity, node):
    """A proved connection to ``node`` that has not said hello, and that nobody supervises."""
    tcp = await trio.open_tcp_stream("127.0.0.1", node.port)
    channel = await upgrade(tcp, NoiseKey(identity), initiator=True, expected=node.id)
    connection = Connection(
        channel,
        initiator=True,
        limits=NetworkLimits(),
        answers={},
        count=lambda reason: None,
        bucket=TokenBucket(1e12),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        yield connection
        connection.close()
    await tcp.aclose()


@pytest.fixture
def loopback():
    """The pieces: nodes, connections without manners, the network id, and limits with short times."""
    return SimpleNamespace(Node=Node, stranger=stranger, NETWORK=NETWORK, QUICK=QUICK)
