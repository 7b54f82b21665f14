"""From a TCP connection to an encrypted one whose other end is proved: Noise, then an agreement on Yamux.

These layers are spoken here, not borrowed from a library. py-libp2p 0.8.1 offers plaintext to any peer, ends
its whole service over one malformed string, breaks a connection when a write is cancelled, and takes 60 MB
and a second to import; Banyan needs three small, stable protocols, on a machine that has other work to do.
That they are libp2p's is proved by a test that converses with py-libp2p, both ways.
"""

from __future__ import annotations

from banyan.node.network import multistream, noise_channel, yamux
from banyan.node.network.noise_channel import NoiseChannel, NoiseKey
from banyan.node.network.streams import BufferedStream, ByteStream
from banyan.node.network.transport import NodeId


async def upgrade(
    stream: ByteStream, key: NoiseKey, *, initiator: bool, expected: NodeId | None = None
) -> NoiseChannel:
    """Nothing but Noise and Yamux is offered or accepted; plaintext is not among the choices.

    The caller bounds the time. Raises PeerRefused, RefusedByPeer, ConnectionLost or a trio resource error.
    """
    raw = BufferedStream(stream)
    await _agree(raw, noise_channel.PROTOCOL, initiator)
    channel = await noise_channel.secure(raw, key, initiator=initiator, expected=expected)
    secured = BufferedStream(channel)
    await _agree(secured, yamux.PROTOCOL, initiator)
    channel.unread(secured.take_rest())
    return channel


async def _agree(stream: BufferedStream, protocol: str, initiator: bool) -> None:
    if initiator:
        await stream.send_all(multistream.proposal(protocol))
        await multistream.confirm(stream, protocol)
    else:
        await multistream.answer(stream, (protocol,))
