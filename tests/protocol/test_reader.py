"""What a node has read once it does not read again, and what it has refused it refuses again."""

from __future__ import annotations

import hashlib

import pytest

from banyan.protocol.messages import Summary, Vote, body_of
from banyan.protocol.reader import Reader
from banyan.security.envelope import EnvelopeRefused, seal
from banyan.security.errors import Refused
from banyan.security.identity import Identity, verify

ADA = Identity.from_seed(hashlib.sha256(b"ada").digest())
NETWORK = bytes(32)


class Counting:
    """A verifier that counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, node_id: str, signature: bytes, message: bytes, /) -> bool:
        self.calls += 1
        return verify(node_id, signature, message)


def sealed(message: object, seq: int = 1) -> bytes:
    kind, body = body_of(message)
    return seal(ADA, network=NETWORK, kind=kind, seq=seq, time=0, body=body).data


def vote(view: int) -> bytes:
    return sealed(Vote("/", 1, view, "prevote", b"", ""))


def test_a_record_that_comes_again_is_verified_and_parsed_once() -> None:
    count = Counting()
    reader = Reader(NETWORK, count, max_bytes=65_536)
    first = reader.record(reader.open(vote(1)))
    assert reader.record(reader.open(bytes(bytearray(vote(1))))) is first
    assert count.calls == 1
    assert reader.id_of(vote(1)) == first.id == hashlib.sha256(vote(1)).digest()


def test_what_is_refused_is_refused_every_time() -> None:
    reader = Reader(NETWORK, max_bytes=65_536)
    reader.open(vote(1))
    forged = bytearray(vote(1))
    forged[-1] ^= 1
    for _ in range(2):
        with pytest.raises(EnvelopeRefused, match="not signed"):
            reader.open(bytes(forged))


def test_a_control_message_is_no_record() -> None:
    reader = Reader(NETWORK, max_bytes=65_536)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            reader.record(reader.open(sealed(Summary(()))))
        assert refused.value.reason == "unknown-kind"


def test_memory_stays_within_its_room_and_keeps_what_is_asked_for() -> None:
    count = Counting()
    size = len(vote(0))
    reader = Reader(NETWORK, count, max_bytes=65_536, room=20 * size)
    for view in range(200):
        reader.open(vote(view % 100 + 1000))
        reader.open(vote(0))
        held = reader._envelopes
        assert sum(len(data) for part in (held._new, held._old) for data in part) <= 20 * size + 40
    assert count.calls == 201
