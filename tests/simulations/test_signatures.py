"""The fast fake refuses what a real signature refuses, as long as nobody steps out of the interface."""

from __future__ import annotations

import pytest

from banyan.protocol.messages import Vote, body_of
from banyan.security.envelope import EnvelopeRefused, open_envelope, seal
from banyan.security.identity import is_node_id
from banyan.simulations.signatures import FastSigner, fast_verify
from banyan.simulations.world import World

ADA, BOB = FastSigner(b"a" * 32), FastSigner(b"b" * 32)


def test_a_fast_signer_looks_like_a_real_one() -> None:
    assert is_node_id(ADA.node_id)
    assert FastSigner(b"a" * 32).node_id == ADA.node_id != BOB.node_id
    assert len(ADA.sign(b"hello")) == 64
    assert fast_verify(ADA.node_id, ADA.sign(b"hello"), b"hello")
    with pytest.raises(ValueError, match="32 bytes"):
        FastSigner(b"short")


@pytest.mark.parametrize("at", [0, 40, -65, -1])
def test_a_tampered_message_is_refused(at: int) -> None:
    kind, body = body_of(Vote("/", 1, 0, "prevote", b"", ""))
    data = bytearray(seal(ADA, network=bytes(32), kind=kind, seq=1, time=1, body=body).data)
    assert open_envelope(bytes(data), network=bytes(32), verify=fast_verify).author == ADA.node_id
    data[at] ^= 1
    with pytest.raises(EnvelopeRefused):
        open_envelope(bytes(data), network=bytes(32), verify=fast_verify)


def test_nobody_signs_in_the_name_of_another() -> None:
    assert not fast_verify(ADA.node_id, BOB.sign(b"hello"), b"hello")
    assert not fast_verify(ADA.node_id, ADA.sign(b"hello"), b"hallo")
    assert not fast_verify(ADA.node_id, b"", b"hello")


def test_a_world_of_fast_signers_agrees_and_still_finds_a_cheat_out() -> None:
    world = World(1, {"/": 6}, fast_signatures=True)
    bad = list(world.devices.values())[-1]
    world.corrupt(bad, "equivocate")
    world.start()
    good = [device for device in world.devices.values() if device is not bad]
    assert world.run(until=lambda: all(device.height("/") >= 3 for device in good))
    assert all(device.peer and bad.name in device.peer.quarantined for device in good)
    assert world.signatures != "Ed25519"


def test_a_small_world_has_real_signatures() -> None:
    assert World(1, {"/": 5}).signatures == "Ed25519"
