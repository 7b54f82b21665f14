"""What we speak is libp2p: py-libp2p, an implementation of others, connects to us and we to it."""

import logging
import secrets

import pytest

from banyan.node.network.frames import HELLO_PROTOCOL, MESSAGE_PROTOCOL, decode_header, encode_frame
from banyan.node.network.hello import Hello, Receipt, Welcome
from banyan.node.network.transport import MessageArrived, PeerUp
from banyan.security import canonical, schema
from banyan.security.identity import Identity

libp2p = pytest.importorskip("libp2p", reason="py-libp2p is not installed")
pytestmark = pytest.mark.network


def framed(document):
    return encode_frame(canonical.encode(schema.to_plain(document)))


async def read_frame(stream):
    async def read(count):
        data = b""
        while len(data) < count:
            data += await stream.read(count - len(data))
        return data

    return await read(int.from_bytes(await read(4), "big"))


@pytest.fixture
def other(loopback):
    """A py-libp2p host with TCP, Noise and Yamux that answers hello and message, and what it has heard."""
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
    from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
    from libp2p.security.noise.transport import Transport
    from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
    from libp2p.stream_muxer.yamux.yamux import Yamux
    from multiaddr import Multiaddr

    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    seed = secrets.token_bytes(32)
    key = create_new_key_pair(seed)
    host = libp2p.new_host(
        key_pair=key,
        sec_opt={NOISE: Transport(key, noise_privkey=create_noise_key_pair().private_key)},
        muxer_opt={YAMUX: Yamux},
    )
    assert str(host.get_id()) == Identity.from_seed(seed).node_id
    heard = []

    async def answer_hello(stream):
        heard.append(decode_header(Hello, await read_frame(stream)))
        await stream.write(framed(Welcome(None, ())))
        await stream.close()

    async def answer_message(stream):
        heard.append(await read_frame(stream))
        await stream.write(framed(Receipt(None)))
        await stream.close()

    host.set_stream_handler(HELLO_PROTOCOL, answer_hello)
    host.set_stream_handler(MESSAGE_PROTOCOL, answer_message)
    return host, heard, [Multiaddr("/ip4/127.0.0.1/tcp/0")]


async def test_we_dial_py_libp2p_and_send_it_a_message(loopback, other):
    host, heard, listen = other
    node = loopback.Node(1)
    async with host.run(listen), node.run():
        peer = await node.transport.dial([str(host.get_addrs()[0])])
        assert peer == str(host.get_id())
        await node.transport.send(peer, b"x" * 65_000)
        assert heard[0].network == loopback.NETWORK
        assert heard[1] == b"x" * 65_000
        assert set(node.transport.refusals()) <= {"unknown-protocol"}  # it also asks for services of its own
    await host.close()


async def test_py_libp2p_dials_us_and_both_send_messages(loopback, other):
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from multiaddr import Multiaddr

    host, heard, listen = other
    node = loopback.Node(1)
    async with host.run(listen), node.run():
        us = info_from_p2p_addr(Multiaddr(node.transport.addresses()[0]))
        await host.connect(us)
        for protocol, request, answer in (
            (HELLO_PROTOCOL, framed(Hello(loopback.NETWORK, ())), Welcome(None, node.transport.addresses())),
            (MESSAGE_PROTOCOL, encode_frame(b"from afar"), Receipt(None)),
        ):
            stream = await host.new_stream(us.peer_id, [protocol])
            await stream.write(request)
            assert decode_header(type(answer), await read_frame(stream)) == answer
            await stream.close()
        await node.until(lambda: node.messages == [MessageArrived(str(host.get_id()), b"from afar")])
        assert node.links == [PeerUp(str(host.get_id()))]
        await node.transport.send(str(host.get_id()), b"and back")
        assert heard == [b"and back"]
    await host.close()
