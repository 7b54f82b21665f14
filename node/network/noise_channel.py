"""Noise XX as libp2p uses it: encryption, and proof of who is at the other end.

``Noise_XX_25519_ChaChaPoly_SHA256``; every message is a two-byte length and a ciphertext. During the
handshake both sides show the Ed25519 key their peer id is made of, with its signature over the Noise key
(github.com/libp2p/specs/noise). Only Ed25519 identities are accepted: a node id here *is* such a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.connection import Keypair, NoiseConnection

from banyan.node.network.errors import PeerRefused
from banyan.node.network.streams import BufferedStream
from banyan.node.network.transport import NodeId, Traffic
from banyan.security.errors import Refused
from banyan.security.identity import Signer, node_id_of, public_key, verify

PROTOCOL: Final = "/noise"
_NAME: Final = b"Noise_XX_25519_ChaChaPoly_SHA256"
_SIGNATURE_DOMAIN: Final = b"noise-libp2p-static-key:"
_ED25519_PREFIX: Final = bytes.fromhex("08011220")  # protobuf PublicKey: Type = Ed25519, Data of 32 bytes
_HANDSHAKE_LIMIT: Final = 4096
_TAG: Final = 16
#: The most plaintext that fits one Noise message.
MAX_PLAINTEXT: Final = 65_535 - _TAG


class NoiseKey:
    """This run's Noise key, and the handshake payload that ties it to the node's identity.

    A fresh one is drawn at every start; the signature is made once instead of once per connection.
    """

    def __init__(self, signer: Signer) -> None:
        private = X25519PrivateKey.generate()
        self.private = private.private_bytes_raw()
        signature = signer.sign(_SIGNATURE_DOMAIN + private.public_key().public_bytes_raw())
        identity = _ED25519_PREFIX + public_key(signer.node_id)
        self.payload = _field(1, identity) + _field(2, signature)


class NoiseChannel:
    """An encrypted connection to ``peer``. Messages arrive whole, in order, unaltered, or not at all.

    Neither :meth:`receive` nor :meth:`send` survives a cancellation: the connection is to be closed then.
    """

    def __init__(
        self, stream: BufferedStream, noise: NoiseConnection, peer: NodeId, traffic: Traffic
    ) -> None:
        self._stream = stream
        self._noise = noise
        self.peer = peer
        self._traffic = traffic
        self._plaintext = b""

    async def receive(self) -> bytes:
        """The plaintext of the next message, which may be empty."""
        if self._plaintext:
            rest, self._plaintext = self._plaintext, b""
            return rest
        message = await _read_message(self._stream, 65_535)
        self._traffic.received += 2 + len(message)
        try:
            return bytes(self._noise.decrypt(message))
        except Exception as error:
            raise PeerRefused("noise-altered", "An encrypted message was altered on its way") from error

    async def send(self, data: bytes) -> None:
        """Encrypt and send ``data``, in as many messages as it takes."""
        wire = bytearray()
        for start in range(0, len(data), MAX_PLAINTEXT):
            message = self._noise.encrypt(data[start : start + MAX_PLAINTEXT])
            wire += len(message).to_bytes(2, "big") + message
        self._traffic.sent += len(wire)
        await self._stream.send_all(bytes(wire))

    def account(self, traffic: Traffic) -> None:
        """Count in ``traffic`` from now on, beginning with what the handshake took."""
        traffic.received += self._traffic.received
        traffic.sent += self._traffic.sent
        self._traffic = traffic

    # The same channel as a ByteStream, for the one negotiation that happens on it before streams exist.

    async def receive_some(self, max_bytes: int) -> bytes:
        while not self._plaintext:
            self._plaintext = await self.receive()
        data, self._plaintext = self._plaintext[:max_bytes], self._plaintext[max_bytes:]
        return data

    async def send_all(self, data: bytes) -> None:
        await self.send(data)

    def unread(self, data: bytes) -> None:
        """Give back what the negotiation read beyond its end; :meth:`receive` returns it first."""
        self._plaintext = data + self._plaintext


async def secure(
    stream: BufferedStream, key: NoiseKey, *, initiator: bool, expected: NodeId | None = None
) -> NoiseChannel:
    """Shake hands; ``expected`` is whom the initiator means to reach.

    Raises PeerRefused: ``noise-handshake`` (malformed or false), ``not-the-peer`` (somebody else answered).
    """
    noise = NoiseConnection.from_name(_NAME)
    noise.set_keypair_from_private_bytes(Keypair.STATIC, key.private)
    if initiator:
        noise.set_as_initiator()
    else:
        noise.set_as_responder()
    noise.start_handshake()
    state = noise.noise_protocol.handshake_state  # kept here: the library drops it when the handshake ends
    traffic = Traffic()

    async def write(payload: bytes) -> None:
        message = _step(noise.write_message, payload)
        traffic.sent += 2 + len(message)
        await stream.send_all(len(message).to_bytes(2, "big") + message)

    async def read() -> bytes:
        message = await _read_message(stream, _HANDSHAKE_LIMIT)
        traffic.received += 2 + len(message)
        return _step(noise.read_message, message)

    if initiator:
        await write(b"")
        proof = await read()
    else:
        await read()
        await write(key.payload)
        proof = await read()
    peer = _proved_peer(proof, state.rs.public_bytes)
    if expected is not None and peer != expected:
        raise PeerRefused(
            "not-the-peer",
            f"Another node answered: {peer} instead of {expected}",
            "The address is out of date; ask for a new invite or the peer's new address",
        )
    if initiator:
        await write(key.payload)
    return NoiseChannel(stream, noise, peer, traffic)


def _step(advance: Callable[[bytes], bytearray], data: bytes) -> bytes:
    """One step of the handshake. What the peer sent may make either direction fail: keys of low order do."""
    try:
        return bytes(advance(data))
    except Exception as error:  # the errors of the two libraries underneath share no base
        raise PeerRefused("noise-handshake", "A handshake message is malformed") from error


async def _read_message(stream: BufferedStream, limit: int) -> bytes:
    length = int.from_bytes(await stream.read(2), "big")
    if length > limit:
        raise PeerRefused("noise-handshake", "A handshake message is too long")
    return await stream.read(length)


def _proved_peer(payload: bytes, static_key: bytes) -> NodeId:
    """The node id whose key signed ``static_key``, as the handshake payload says and proves."""
    fields: dict[int, bytes] = {}
    for number, value in _fields(payload):
        if number in fields:
            raise PeerRefused("noise-handshake", "A handshake payload repeats a field")
        fields[number] = value
    identity, signature = fields.get(1, b""), fields.get(2, b"")
    if len(identity) != 36 or not identity.startswith(_ED25519_PREFIX):
        raise PeerRefused("noise-handshake", "A peer has no Ed25519 identity")
    try:
        peer = node_id_of(identity[4:])
        proved = verify(peer, signature, _SIGNATURE_DOMAIN + static_key)
    except Refused as error:
        raise PeerRefused("noise-handshake", "A peer has an unusable identity key") from error
    if not proved:
        raise PeerRefused("noise-handshake", "A peer claims an identity whose key it does not hold")
    return peer


# The handshake payload is a protobuf message of a few length-delimited fields, read and written here by hand.


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value  # both of ours are shorter than 128 bytes


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0

    def varint() -> int:
        nonlocal position
        value = 0
        for shift in (0, 7, 14):
            if position >= len(message):
                break
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
        raise PeerRefused("noise-handshake", "A handshake payload is malformed")

    while position < len(message):
        key = varint()
        length = varint()
        if key & 7 != 2 or position + length > len(message):
            raise PeerRefused("noise-handshake", "A handshake payload is malformed")
        yield key >> 3, message[position : position + length]
        position += length
