"""Yamux: streams carry bytes, a peer can cost only so much, and a cancelled writer breaks nothing."""

import struct

import pytest
import trio
import trio.testing

from banyan.node.network.errors import ConnectionLost, PeerRefused
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.yamux import HELD_LIMIT, MAX_DATA, Yamux
from banyan.node.network.yamux_stream import INITIAL_WINDOW

HEADER = struct.Struct("!BBHII")
DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8


class Pipe:
    """One end of an encrypted connection, without the encryption."""

    def __init__(self, outgoing, incoming):
        self.outgoing, self.incoming = outgoing, incoming

    async def send(self, data):
        await self.outgoing.send(data)

    async def receive(self):
        try:
            return await self.incoming.receive()
        except trio.EndOfChannel:
            raise ConnectionLost("cut") from None


def pipes():
    a_out, b_in = trio.open_memory_channel(0)
    b_out, a_in = trio.open_memory_channel(0)
    return Pipe(a_out, a_in), Pipe(b_out, b_in)


class Side:
    """A Yamux with what it accepted and counted, running in a nursery."""

    def __init__(self, nursery, pipe, *, initiator, limits=None):
        self.accepted, self.counted, self.error = [], [], None
        self.muxer = Yamux(
            pipe,
            initiator=initiator,
            limits=limits or NetworkLimits(),
            accept=self.accepted.append,
            count=self.counted.append,
            throttle=self.no_throttle,
        )
        self.ended = trio.Event()
        nursery.start_soon(self.run)

    async def no_throttle(self, amount):
        pass

    async def run(self):
        try:
            await self.muxer.run()
        except* (PeerRefused, ConnectionLost) as group:
            self.error = group.exceptions[0]
        finally:
            self.ended.set()


async def settle():
    await trio.testing.wait_all_tasks_blocked()


async def test_bytes_cross_both_ways_and_the_end_is_seen(nursery):
    here, there = pipes()
    a, b = Side(nursery, here, initiator=True), Side(nursery, there, initiator=False)
    stream = a.muxer.open_stream()
    await stream.send_all(b"question")
    stream.finish()
    await settle()
    (answering,) = b.accepted
    assert await answering.receive_some(100) == b"question"
    assert await answering.receive_some(100) == b""
    await answering.send_all(b"answer")
    answering.finish()
    assert await stream.receive_some(100) == b"answer"
    assert await stream.receive_some(100) == b""
    await settle()
    assert a.muxer.streams == b.muxer.streams == 0


async def test_a_long_transfer_flows_within_the_window_and_arrives_whole(nursery):
    here, there = pipes()
    a, b = Side(nursery, here, initiator=True), Side(nursery, there, initiator=False)
    payload = bytes(range(256)) * 20_000
    stream = a.muxer.open_stream()

    async def write():
        await stream.send_all(payload)
        stream.finish()

    nursery.start_soon(write)
    await settle()
    received = bytearray()
    while part := await b.accepted[0].receive_some(100_000):
        received += part
    assert received == payload


async def test_a_reader_that_stops_holds_up_only_its_own_stream(nursery):
    here, there = pipes()
    a, b = Side(nursery, here, initiator=True), Side(nursery, there, initiator=False)
    blocked, free = a.muxer.open_stream(), a.muxer.open_stream()
    nursery.start_soon(blocked.send_all, b"x" * (INITIAL_WINDOW + 1))
    await settle()
    await free.send_all(b"still here")
    await settle()
    assert await b.accepted[1].receive_some(100) == b"still here"
    nursery.cancel_scope.cancel()


async def test_a_cancelled_write_leaves_the_connection_usable(nursery):
    here, there = pipes()
    a, b = Side(nursery, here, initiator=True), Side(nursery, there, initiator=False)
    for _ in range(20):
        stream = a.muxer.open_stream()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as writers:
                writers.start_soon(stream.send_all, b"x" * (2 * INITIAL_WINDOW))
                await settle()
                scope.cancel()
        stream.reset()
        await settle()
        b.accepted[-1].reset()
    good = a.muxer.open_stream()
    await good.send_all(b"fine")
    await settle()
    assert await b.accepted[-1].receive_some(10) == b"fine"
    assert b.error is None
    assert b.muxer.streams == 1


async def test_streams_beyond_the_limit_are_reset_and_the_rest_goes_on(nursery):
    raw, there = pipes()
    b = Side(nursery, there, initiator=False, limits=NetworkLimits(streams_per_peer=4))
    await raw.send(b"".join(HEADER.pack(0, WINDOW, SYN, 2 * i + 1, 0) for i in range(10)))
    answers = b""
    while len(answers) < 10 * HEADER.size:
        answers += await raw.receive()
    flags = [HEADER.unpack_from(answers, at)[2] for at in range(0, len(answers), HEADER.size)]
    assert sorted(flags) == [ACK] * 4 + [RST] * 6
    assert b.counted == ["streams-full"] * 6
    assert b.muxer.streams == 4


async def test_twenty_thousand_stream_opens_hold_next_to_nothing(nursery):
    raw, there = pipes()
    b = Side(nursery, there, initiator=False)
    nursery.start_soon(drain, raw)
    for batch in range(20):
        await raw.send(
            b"".join(
                HEADER.pack(0, WINDOW, SYN, 2 * i + 1, 0) for i in range(batch * 1000, batch * 1000 + 1000)
            )
        )
    await settle()
    assert b.muxer.streams == NetworkLimits().streams_per_peer
    assert len(b.counted) == 20_000 - NetworkLimits().streams_per_peer
    nursery.cancel_scope.cancel()


async def test_a_stream_reset_by_the_peer_keeps_its_place_until_whoever_answers_it_is_done(nursery):
    raw, there = pipes()
    b = Side(nursery, there, initiator=False, limits=NetworkLimits(streams_per_peer=2))
    nursery.start_soon(drain, raw)
    for i in range(5):
        await raw.send(HEADER.pack(0, WINDOW, SYN, 2 * i + 1, 0) + HEADER.pack(0, WINDOW, RST, 2 * i + 1, 0))
    await settle()
    assert len(b.accepted) == 2
    assert b.counted == ["streams-full"] * 3
    b.accepted[0].reset()
    await raw.send(HEADER.pack(0, WINDOW, SYN, 101, 0))
    await settle()
    assert len(b.accepted) == 3
    nursery.cancel_scope.cancel()


async def test_what_arrived_before_a_reset_can_still_be_read(nursery):
    raw, there = pipes()
    b = Side(nursery, there, initiator=False)
    nursery.start_soon(drain, raw)
    await raw.send(HEADER.pack(0, DATA, SYN, 1, 3) + b"bye" + HEADER.pack(0, WINDOW, RST, 1, 0))
    await settle()
    assert await b.accepted[0].receive_some(10) == b"bye"
    with pytest.raises(ConnectionLost):
        await b.accepted[0].receive_some(10)
    nursery.cancel_scope.cancel()


async def drain(pipe):
    while True:
        await pipe.receive()


async def test_a_peer_that_makes_us_answer_and_does_not_read_is_let_go(autojump_clock, nursery):
    raw, there = pipes()
    b = Side(nursery, there, initiator=False)
    with trio.move_on_after(60):
        while True:
            await raw.send(HEADER.pack(0, PING, SYN, 0, 7) * 5000)
    assert b.error.reason == "write-stalled"


async def test_data_beyond_the_window_ends_the_connection(nursery):
    raw, there = pipes()
    b = Side(nursery, there, initiator=False)
    nursery.start_soon(drain, raw)
    await raw.send(HEADER.pack(0, WINDOW, SYN, 1, 0) + HEADER.pack(0, DATA, 0, 1, INITIAL_WINDOW + 1))
    await b.ended.wait()
    assert b.error.reason == "window-overflow"
    nursery.cancel_scope.cancel()


async def test_unread_bytes_of_all_streams_of_a_peer_are_bounded_together(nursery):
    raw, there = pipes()
    b = Side(nursery, there, initiator=False)
    nursery.start_soon(drain, raw)
    for i in range(8):
        await raw.send(HEADER.pack(0, WINDOW, SYN, 2 * i + 1, 0))
        for _ in range(4):
            await raw.send(HEADER.pack(0, DATA, 0, 2 * i + 1, 60_000) + b"x" * 60_000)
    await settle()
    assert "buffer-full" in b.counted
    assert sum(len(stream._buffer) for stream in b.accepted) <= HELD_LIMIT
    assert b.error is None
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "frame",
    [
        HEADER.pack(1, DATA, 0, 1, 0),
        HEADER.pack(0, 9, 0, 1, 0),
        HEADER.pack(0, WINDOW, SYN, 2, 0),
        HEADER.pack(0, WINDOW, SYN, 0, 0),
        HEADER.pack(0, WINDOW, SYN, 1, 0) * 2,
    ],
)
async def test_a_frame_against_the_rules_ends_the_connection(nursery, frame):
    raw, there = pipes()
    b = Side(nursery, there, initiator=False)
    nursery.start_soon(drain, raw)
    await raw.send(frame)
    await b.ended.wait()
    assert b.error.reason == "yamux-malformed"
    nursery.cancel_scope.cancel()


async def test_late_frames_of_a_forgotten_stream_are_passed_over(nursery):
    raw, there = pipes()
    b = Side(nursery, there, initiator=False)
    nursery.start_soon(drain, raw)
    await raw.send(HEADER.pack(0, DATA, 0, 99, 5) + b"ghost" + HEADER.pack(0, DATA, SYN | FIN, 1, 2) + b"ok")
    await settle()
    assert await b.accepted[0].receive_some(10) == b"ok"
    assert await b.accepted[0].receive_some(10) == b""
    nursery.cancel_scope.cancel()


async def test_a_silent_peer_is_asked_for_a_sign_of_life_and_then_let_go(autojump_clock, nursery):
    raw, there = pipes()
    b = Side(nursery, there, initiator=False)
    started = trio.current_time()
    kind = HEADER.unpack(await raw.receive())[1]
    assert kind == PING
    await b.ended.wait()
    limits = NetworkLimits()
    assert b.error.reason == "silent"
    assert trio.current_time() - started == pytest.approx(limits.ping_interval + limits.ping_timeout)


async def test_two_idle_sides_keep_each_other_alive(autojump_clock, nursery):
    here, there = pipes()
    a, b = Side(nursery, here, initiator=True), Side(nursery, there, initiator=False)
    await trio.sleep(3600)
    assert not a.ended.is_set()
    assert not b.ended.is_set()
    nursery.cancel_scope.cancel()


async def test_users_of_a_stream_learn_that_the_connection_ended(nursery):
    here, there = pipes()
    a = Side(nursery, here, initiator=True)
    nursery.start_soon(drain, there)
    stream = a.muxer.open_stream()
    await settle()
    await there.outgoing.aclose()
    with pytest.raises(ConnectionLost):
        await stream.receive_some(1)
    with pytest.raises(ConnectionLost):
        await stream.send_all(b"x" * MAX_DATA)
    with pytest.raises(ConnectionLost):
        a.muxer.open_stream()
    nursery.cancel_scope.cancel()
