"""Noise: the other end is proved to be who it says, or there is no connection."""

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

from banyan.node.network import noise_channel
from banyan.node.network.errors import ConnectionLost, PeerRefused
from banyan.node.network.noise_channel import MAX_PLAINTEXT, NoiseKey, secure
from banyan.node.network.streams import BufferedStream
from banyan.node.network.transport import Traffic
from banyan.security.identity import Identity

ALICE = Identity.from_seed(bytes(32))
BOB = Identity.from_seed(bytes(range(32)))


async def handshake(alice_key, bob_key, expected=None, between=None):
    here, there = memory_stream_pair()
    if between is not None:
        between(here, there)
    results = {}

    async def side(name, stream, key, **settings):
        try:
            results[name] = await secure(BufferedStream(stream), key, **settings)
        except (PeerRefused, ConnectionLost) as error:
            results[name] = error
            await stream.aclose()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: side("alice", here, alice_key, initiator=True, expected=expected))
            nursery.start_soon(lambda: side("bob", there, bob_key, initiator=False))
    return results["alice"], results["bob"]


async def test_both_ends_know_each_other_and_exchange_messages_of_any_length():
    alice, bob = await handshake(NoiseKey(ALICE), NoiseKey(BOB), expected=BOB.node_id)
    assert (alice.peer, bob.peer) == (BOB.node_id, ALICE.node_id)
    data = random.Random(1).randbytes(2 * MAX_PLAINTEXT + 7)
    await alice.send(data)
    assert b"".join([await bob.receive() for _ in range(3)]) == data
    alice_traffic, bob_traffic = Traffic(), Traffic()
    alice.account(alice_traffic)
    bob.account(bob_traffic)
    assert alice_traffic.sent == bob_traffic.received > len(data)


async def test_somebody_else_than_expected_is_refused_before_we_say_who_we_are():
    alice, bob = await handshake(NoiseKey(ALICE), NoiseKey(BOB), expected=ALICE.node_id)
    assert alice.reason == "not-the-peer"
    assert isinstance(bob, ConnectionLost)


async def test_an_identity_without_its_key_is_refused():
    class Impostor:
        node_id = BOB.node_id

        def sign(self, message):
            return ALICE.sign(message)

    alice, _ = await handshake(NoiseKey(ALICE), NoiseKey(Impostor()), expected=BOB.node_id)
    assert alice.reason == "noise-handshake"
    _, bob = await handshake(NoiseKey(Impostor()), NoiseKey(BOB))
    assert bob.reason == "noise-handshake"


async def test_a_signature_of_another_noise_key_cannot_be_replayed():
    stolen = NoiseKey(BOB).payload
    forged = NoiseKey(ALICE)
    forged.payload = stolen
    alice, _ = await handshake(NoiseKey(ALICE), forged, expected=BOB.node_id)
    assert alice.reason == "noise-handshake"


@given(st.binary(max_size=300))
def test_no_handshake_payload_proves_an_identity_by_chance(payload):
    with pytest.raises(PeerRefused):
        noise_channel._proved_peer(payload, bytes(32))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_a_message_with_any_bit_flipped_is_refused(data):
    async def main():
        alice, bob = await handshake(NoiseKey(ALICE), NoiseKey(BOB))
        wire = []
        alice._stream.send_all = lambda b: record(wire, b)
        await alice.send(b"pay a hundred")
        message = bytearray(wire[0])
        bit = data.draw(st.integers(16, len(message) * 8 - 1))
        message[bit // 8] ^= 1 << bit % 8
        bob._stream._buffer += message
        with pytest.raises(PeerRefused) as caught:
            await bob.receive()
        assert caught.value.reason == "noise-altered"

    trio.run(main)


async def record(wire, data):
    wire.append(data)


async def test_a_key_of_low_order_is_refused():
    here, there = memory_stream_pair()
    await here.send_all(b"\0\x20" + bytes(32))
    with pytest.raises(PeerRefused) as caught:
        await secure(BufferedStream(there), NoiseKey(BOB), initiator=False)
    assert caught.value.reason == "noise-handshake"
