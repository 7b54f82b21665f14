"""Ten thousand random, truncated and mutated frames against a running node: its port, every layer on it, and
every protocol. It keeps serving an honest peer throughout, its memory stays bounded, every refusal is counted.
"""

import random
import struct
from dataclasses import replace

import psutil
import pytest
import trio

from banyan.node.network import multistream
from banyan.node.network.blob_server import BlobRequest
from banyan.node.network.errors import ConnectionLost
from banyan.node.network.frames import (
    BLOB_PROTOCOL,
    HELLO_PROTOCOL,
    MESSAGE_PROTOCOL,
    PEERS_PROTOCOL,
    encode_frame,
)
from banyan.node.network.hello import Hello, Welcome
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.peer_exchange import PeersRequest
from banyan.security import canonical, schema
from banyan.security.identity import Identity

pytestmark = pytest.mark.network

PORT, HANDSHAKE, MUXER, STREAM = 2000, 400, 1600, 6000  # frames against each layer
MEMORY = 48 * 2**20
LIMITS = replace(NetworkLimits(), handshake_timeout=2.0, request_timeout=2.0)


def frame_of(document):
    return encode_frame(canonical.encode(schema.to_plain(document)))


def damaged(rng, whole):
    """``whole`` cut, flipped, repeated, stretched, or replaced by noise; never whole again."""
    match rng.randrange(6):
        case 0:
            data = whole[: rng.randrange(len(whole))]
        case 1:
            data = bytearray(whole)
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 2:
            at = rng.randrange(len(whole))
            data = whole[:at] + rng.randbytes(rng.randint(1, 40)) + whole[at:]
        case 3:
            data = rng.randbytes(rng.randint(1, 300))
        case 4:
            data = struct.pack("!I", rng.choice([0, 1, 65_537, 2**20, 2**31, 2**32 - 1])) + whole
        case _:
            data = encode_frame(rng.randbytes(rng.randint(1, 200)))
    return bytes(data) or b"\0"


async def against_the_port(rng, node, count):
    """Raw bytes to the port, each on a connection of its own."""
    opening = multistream.proposal("/noise") + b"\0\x20" + bytes(32)

    async def attack(data):
        tcp = await trio.open_tcp_stream("127.0.0.1", node.port)
        async with tcp:
            await tcp.send_all(data)
            await tcp.send_eof()
            try:
                while await tcp.receive_some(4096):
                    pass
            except trio.BrokenResourceError:
                return

    await in_batches(attack, [damaged(rng, opening) for _ in range(count)], 40)
    return count


async def against_the_handshake(rng, node, count):
    """A proper start of Noise, then damage inside it."""

    async def attack(data):
        tcp = await trio.open_tcp_stream("127.0.0.1", node.port)
        async with tcp:
            await tcp.send_all(multistream.proposal("/noise") + b"\0\x20" + rng.randbytes(32))
            await tcp.send_all(len(data).to_bytes(2, "big") + data)
            await tcp.send_eof()
            try:
                while await tcp.receive_some(4096):
                    pass
            except trio.BrokenResourceError:
                return

    await in_batches(attack, [rng.randbytes(rng.randint(1, 600)) for _ in range(count)], 20)
    return count


async def against_the_muxer(rng, node, stranger, count):
    """Yamux headers and bodies of every kind, on connections of proved peers that are on the network."""
    for _ in range(count // 20):
        async with stranger(Identity.generate(), node) as connection:
            await greet(connection, node)
            for _ in range(20):
                header = struct.pack(
                    "!BBHII",
                    rng.choice([0, 0, 0, 0, 1, 255]),
                    rng.choice([0, 0, 1, 1, 2, 4, 77]),
                    rng.randrange(16),
                    rng.choice([0, 1, 2, 3, 5, 7, 99, 2**32 - 1]),
                    rng.choice([0, 1, 50, 2**18, 2**24, 2**32 - 1]),
                )
                connection._muxer._queue(header + rng.randbytes(rng.randrange(60)))
            with trio.move_on_after(0.02):
                await connection.closed.wait()
    return 0  # a broken connection is counted once, not per frame


async def against_the_streams(rng, node, stranger, count):
    """Damaged requests on every protocol; returns how many got no proper answer."""
    requests = [
        (HELLO_PROTOCOL, frame_of(Hello(b"the test network", ("/ip4/127.0.0.1/tcp/1/p2p/x",)))),
        (MESSAGE_PROTOCOL, encode_frame(b"a message of no great length")),
        (BLOB_PROTOCOL, frame_of(BlobRequest(b"?" * 32, 0, 100))),
        (PEERS_PROTOCOL, frame_of(PeersRequest(16))),
        (None, multistream.proposal(MESSAGE_PROTOCOL)),
    ]
    refused = 0

    async def attack(job):
        nonlocal refused
        protocol, data = job
        stream = connection._muxer.open_stream()
        proposal = b"" if protocol is None else multistream.proposal(protocol)
        answer = b""
        try:
            await stream.send_all(proposal + data)
            stream.finish()
            while part := await stream.receive_some(65536):
                answer += part
        except ConnectionLost:
            refused += 1
        finally:
            stream.reset()

    for _ in range(count // 200):
        async with stranger(Identity.generate(), node) as connection:
            await greet(connection, node)
            jobs = [(protocol, damaged(rng, whole)) for protocol, whole in rng.choices(requests, k=200)]
            await in_batches(attack, jobs, 16)
            assert not connection.closed.is_set(), "damage on one stream ended the connection"
    return refused


async def greet(connection, node):
    async with connection.exchange(HELLO_PROTOCOL) as frames:
        await frames.send_header(Hello(b"the test network", ()))
        assert (await frames.receive_header(Welcome)).refused is None


async def in_batches(attack, jobs, size):
    for start in range(0, len(jobs), size):
        async with trio.open_nursery() as nursery:
            for job in jobs[start : start + size]:
                nursery.start_soon(attack, job)


async def test_ten_thousand_hostile_frames_are_refused_counted_and_survived(loopback):
    rng = random.Random(20261122)
    node = loopback.Node(1, limits=LIMITS, wanted_peers=0)
    honest = loopback.Node(2, wanted_peers=0)
    async with node.run(), honest.run():
        await honest.transport.dial(node.transport.addresses())
        memory = psutil.Process().memory_info().rss
        served = 0
        for part in range(4):
            counted = sum(node.transport.refusals().values())
            expected = await against_the_port(rng, node, PORT // 4)
            expected += await against_the_handshake(rng, node, HANDSHAKE // 4)
            expected += await against_the_muxer(rng, node, loopback.stranger, MUXER // 4)
            expected += await against_the_streams(rng, node, loopback.stranger, STREAM // 4)
            await honest.transport.send(node.id, b"still there?")
            served += 1
            await node.until(lambda e=expected + counted: sum(node.transport.refusals().values()) >= e)
            assert psutil.Process().memory_info().rss - memory < MEMORY, f"after part {part}"
        own = [message for message in node.messages if message.peer == honest.id]
        assert len(own) == served == 4
        refusals = node.transport.refusals()
        assert "internal-error" not in refusals, refusals
        assert {"not-libp2p", "noise-handshake", "frame-too-long", "frame-cut", "malformed"} <= set(refusals)
        assert node.transport.peers() == (honest.id,)


async def test_twenty_thousand_stream_opens_and_a_flood_of_data_leave_memory_as_it_was(loopback):
    node, honest = loopback.Node(1), loopback.Node(2)
    async with node.run(), honest.run():
        await honest.transport.dial(node.transport.addresses())
        memory = psutil.Process().memory_info().rss
        async with loopback.stranger(loopback.Node(3).identity, node) as connection:
            await greet(connection, node)
            for batch in range(20):
                for i in range(1000):
                    connection._muxer._queue(struct.pack("!BBHII", 0, 1, 1, 101 + 2 * (1000 * batch + i), 0))
                await connection._muxer.room()
            await node.until(lambda: node.transport.refusals().get("streams-full", 0) > 19_000)
            await honest.transport.send(node.id, b"during")
        async with loopback.stranger(loopback.Node(4).identity, node) as connection:
            await greet(connection, node)
            connection._muxer._queue(struct.pack("!BBHII", 0, 1, 1, 101, 0))
            for _ in range(1600):  # a hundred megabytes for a stream that is reset after the first bytes
                await connection._muxer.room()
                connection._muxer._queue(struct.pack("!BBHII", 0, 0, 0, 101, 65_000) + bytes(65_000))
            await honest.transport.send(node.id, b"meanwhile")
            connection._muxer._queue(struct.pack("!BBHII", 0, 0, 1, 103, 300_000) + bytes(60_000))
            with trio.fail_after(10):
                await connection.closed.wait()
        await node.until(lambda: node.transport.refusals().get("window-overflow") == 1)
        await honest.transport.send(node.id, b"after")
        assert psutil.Process().memory_info().rss - memory < MEMORY
