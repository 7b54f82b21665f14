"""multistream-select 1.0: how the two ends of a libp2p stream agree on what is spoken on it.

Each message is an unsigned varint length, then text that ends in a newline
(github.com/multiformats/multistream-select). The caller may send its first request together
with its proposal, before the answer is known: a refusal is then noticed when the reply is awaited, and a
round trip is saved.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from banyan.node.network.errors import ConnectionLost, PeerRefused, RefusedByPeer
from banyan.node.network.streams import BufferedStream

_VERSION: Final = "/multistream/1.0.0"
_NOT_AVAILABLE: Final = "na"
_TEXT_LIMIT: Final = 256
_PROPOSAL_LIMIT: Final = 8


def proposal(protocol: str) -> bytes:
    """What a caller sends first."""
    return _message(_VERSION) + _message(protocol)


async def confirm(stream: BufferedStream, protocol: str) -> None:
    """Read the answer to :func:`proposal`; raises RefusedByPeer if the other side does not speak it."""
    await _read_version(stream)
    answer = await _read_text(stream)
    if answer != protocol:
        raise RefusedByPeer("unknown-protocol", f"The other side does not speak {protocol}")


async def answer(stream: BufferedStream, supported: Container[str]) -> str:
    """Agree to the first protocol proposed that we support. Raises PeerRefused if there is none, ConnectionLost where
    the caller has gone meanwhile."""
    await _read_version(stream)
    await stream.send_all(_message(_VERSION))  # some callers wait for it before they propose
    protocol = await _read_text(stream)
    try:
        for _ in range(_PROPOSAL_LIMIT):
            if protocol in supported:
                break
            await stream.send_all(_message(_NOT_AVAILABLE))
            protocol = await _read_text(stream)
    except (PeerRefused, ConnectionLost):
        pass  # it sent its request together with the proposal, or hung up
    if protocol not in supported:
        raise PeerRefused("unknown-protocol", "A peer proposed only protocols that we do not speak")
    await stream.send_all(_message(protocol))
    return protocol


def _message(text: str) -> bytes:
    data = text.encode() + b"\n"
    return bytes([len(data)]) + data  # all of ours are shorter than 128 bytes: one varint byte


async def _read_version(stream: BufferedStream) -> None:
    version = await _read_text(stream)
    if version != _VERSION:
        raise PeerRefused("not-libp2p", "Something connected that does not speak libp2p")


async def _read_text(stream: BufferedStream) -> str:
    length = 0
    for shift in (0, 7):
        (byte,) = await stream.read(1)
        length |= (byte & 0x7F) << shift
        if not byte & 0x80:
            break
    if not 0 < length <= _TEXT_LIMIT:
        raise PeerRefused("not-libp2p", "A protocol name is empty or too long")
    text = await stream.read(length)
    if text[-1:] != b"\n" or not text.isascii():
        raise PeerRefused("not-libp2p", "A protocol name is not a line of plain text")
    return text[:-1].decode()
