"""Frames: cut anywhere, they come out whole; too long or malformed, they are refused before they are kept."""

from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.node.network.errors import ConnectionLost, PeerRefused
from banyan.node.network.frames import HEADER_BYTES, FrameDecoder, FrameStream, decode_header, encode_frame
from banyan.node.network.hello import Hello, Welcome
from banyan.node.network.streams import BufferedStream
from banyan.security import canonical
from banyan.security.errors import Refused


@dataclass
class Scripted:
    """A stream that yields given pieces and remembers what was written."""

    pieces: list[bytes]
    written: bytes = b""

    async def receive_some(self, max_bytes: int) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > max_bytes:
            self.pieces.insert(0, piece[max_bytes:])
        return piece[:max_bytes]

    async def send_all(self, data: bytes) -> None:
        self.written += data


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 50), min_size=1))
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(payloads, cuts):
    wire = b"".join(map(encode_frame, payloads))
    decoder, out, position, turn = FrameDecoder(), [], 0, 0
    while position < len(wire):
        step = cuts[turn % len(cuts)]
        decoder.feed(wire[position : position + step])
        position, turn = position + step, turn + 1
        while (frame := decoder.next(300)) is not None:
            out.append(frame)
    assert out == payloads
    assert not decoder.partial


def test_a_frame_over_the_limit_is_refused_by_its_length_alone():
    decoder = FrameDecoder()
    decoder.feed((2**31).to_bytes(4, "big"))
    with pytest.raises(PeerRefused) as caught:
        decoder.next(65536)
    assert caught.value.reason == "frame-too-long"


@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_a_header_do_more_than_be_refused(data):
    with suppress(Refused):
        hello = decode_header(Hello, data)
        assert canonical.encode({"addresses": list(hello.addresses), "network": hello.network}) == data


@pytest.mark.parametrize(
    "plain",
    [
        {"addresses": []},
        {"addresses": [], "network": b"", "more": 1},
        {"addresses": [], "network": "text"},
        {"addresses": ["x"] * 9, "network": b""},
        {"addresses": ["x" * 401], "network": b""},
        {"addresses": [], "network": b"x" * 65},
    ],
)
def test_a_header_of_another_shape_is_refused(plain):
    with pytest.raises(Refused):
        decode_header(Hello, canonical.encode(plain))


async def test_headers_survive_a_round_trip():
    sent = Scripted([])
    await FrameStream(BufferedStream(sent)).send_header(Welcome(None, ("/ip4/127.0.0.1/tcp/1/p2p/x",)))
    received = FrameStream(BufferedStream(Scripted([sent.written])))
    assert await received.receive_header(Welcome) == Welcome(None, ("/ip4/127.0.0.1/tcp/1/p2p/x",))
    assert await received.receive_or_end(HEADER_BYTES) is None


async def test_an_end_between_frames_is_one_and_inside_a_frame_is_a_fault():
    whole = FrameStream(BufferedStream(Scripted([encode_frame(b"abc")])))
    assert await whole.receive(10) == b"abc"
    with pytest.raises(ConnectionLost):
        await whole.receive(10)
    with pytest.raises(PeerRefused) as caught:
        await FrameStream(BufferedStream(Scripted([encode_frame(b"abc")[:-1]]))).receive(10)
    assert caught.value.reason == "frame-cut"
