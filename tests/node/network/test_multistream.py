"""Agreeing on a protocol: known ones are taken, unknown ones answered, anything else refused."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

from banyan.node.network import multistream
from banyan.node.network.errors import ConnectionLost, PeerRefused, RefusedByPeer
from banyan.node.network.streams import BufferedStream


async def converse(protocol, supported):
    here, there = memory_stream_pair()
    caller, answerer = BufferedStream(here), BufferedStream(there)
    outcome = []

    async def call():
        await caller.send_all(multistream.proposal(protocol))
        try:
            await multistream.confirm(caller, protocol)
            outcome.append("agreed")
        except RefusedByPeer as refusal:
            outcome.append(refusal.reason)
            await here.aclose()  # as a caller does that has no other proposal

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        try:
            outcome.append(await multistream.answer(answerer, supported))
        except PeerRefused as refusal:
            outcome.append(refusal.reason)
    return set(outcome)


async def test_a_protocol_that_both_speak_is_agreed_on():
    assert await converse("/banyan/hello/1", {"/banyan/hello/1"}) == {"agreed", "/banyan/hello/1"}


async def test_an_unknown_protocol_is_declined_and_the_caller_told():
    assert await converse("/plaintext/2.0.0", {"/noise"}) == {"unknown-protocol"}


async def test_a_caller_that_keeps_proposing_nonsense_is_let_go():
    here, there = memory_stream_pair()
    await here.send_all(multistream.proposal("/a") + b"\x03/b\n" * 20)
    with pytest.raises(PeerRefused, match="only protocols"):
        await multistream.answer(BufferedStream(there), {"/noise"})


class Gone(BufferedStream):
    """A caller that hangs up once it has proposed: the version still reaches it, the agreement does not."""

    async def send_all(self, data: bytes) -> None:
        if b"multistream" not in data:
            raise ConnectionLost("the stream was reset")
        await super().send_all(data)


async def test_a_caller_that_gives_up_after_proposing_a_known_protocol_has_done_nothing_wrong():
    here, there = memory_stream_pair()
    await here.send_all(multistream.proposal("/noise"))
    with pytest.raises(ConnectionLost):
        await multistream.answer(Gone(there), {"/noise"})


@given(st.binary(min_size=1, max_size=400))
def test_garbage_is_refused_and_never_raises_anything_else(garbage):
    async def main():
        here, there = memory_stream_pair()
        await here.send_all(garbage)
        await here.aclose()
        with pytest.raises((PeerRefused, ConnectionLost)):
            await multistream.answer(BufferedStream(there), {"/noise"})

    trio.run(main)
