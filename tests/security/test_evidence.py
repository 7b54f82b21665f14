from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.security.canonical import Plain, decode, encode
from banyan.security.envelope import DOMAIN, Envelope, open_envelope, seal
from banyan.security.errors import Refused
from banyan.security.evidence import Evidence, EvidenceRefused, check_equivocation
from banyan.security.identity import Identity
from banyan.security.schema import from_plain, to_plain

NETWORK = bytes(range(32))
ADA = Identity.from_seed(b"a" * 32)
BOB = Identity.from_seed(b"b" * 32)


def slot_of(kind: str, body: dict[str, Plain], /) -> Hashable | None:
    """An author has one update per height; notes are free."""
    if kind != "update":
        return None
    if "height" not in body:
        raise Refused("malformed", "An update has no height")
    return str(body["height"])


def say(
    value: object, *, height: object = 1, seq: int = 1, signer: Identity = ADA, **change: Any
) -> Envelope:
    terms: dict[str, Any] = {
        "network": NETWORK,
        "kind": "update",
        "time": 5,
        "body": {"height": height, "value": value},
    }
    return seal(signer, seq=seq, **{**terms, **change})


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(EvidenceRefused) as caught:
        call()
    return caught.value.reason


def test_two_updates_for_one_round_convict_their_author_anywhere() -> None:
    evidence = Evidence.of(say("left"), say("right", seq=2))
    travelled = from_plain(Evidence, decode(encode(to_plain(evidence)), max_bytes=10_000))
    assert travelled.prove(network=NETWORK, slot_of=slot_of) == ADA.node_id


def test_one_pair_is_one_evidence_in_either_order() -> None:
    a, b = say("left"), say("right", seq=2)
    assert Evidence.of(a, b) == Evidence.of(b, a)
    swapped = Evidence(Evidence.of(a, b).second, Evidence.of(a, b).first)
    assert refused(lambda: swapped.prove(network=NETWORK, slot_of=slot_of)) == "malformed"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (say("right", height=2), "different-slot"),
        (say("right", signer=BOB), "different-author"),
        (say("left", seq=9), "same-content"),
        (say("left", time=9), "same-content"),
        (say("right", kind="note"), "different-kind"),
        (say("right", network=bytes(32)), "different-network"),
        (say("right", body={"value": "right"}), "malformed"),
    ],
)
def test_what_an_honest_node_may_sign_convicts_nobody(other: Envelope, reason: str) -> None:
    assert refused(lambda: check_equivocation(say("left"), other, slot_of=slot_of)) == reason
    assert refused(lambda: check_equivocation(other, say("left"), slot_of=slot_of)) == reason


def test_messages_without_a_slot_may_differ() -> None:
    notes = [say(text, kind="note") for text in ("left", "right")]
    assert refused(lambda: check_equivocation(*notes, slot_of=slot_of)) == "no-slot"


def test_a_second_signature_of_the_same_message_convicts_nobody() -> None:
    # An author can sign one message twice with different nonces: other bytes, another id, the same statement.
    a = say("left")
    b = replace(a, signature=bytes(64), id=bytes(32))
    assert refused(lambda: check_equivocation(a, b, slot_of=slot_of)) == "same-content"


def test_the_same_message_twice_is_no_evidence() -> None:
    evidence = Evidence(say("left").data, say("left").data)
    assert refused(lambda: evidence.prove(network=NETWORK, slot_of=slot_of)) == "malformed"


def test_an_accuser_cannot_forge_the_second_message() -> None:
    header = say("right").signed
    forged = Evidence(*sorted((say("left").data, header + BOB.sign(DOMAIN + header))))
    assert refused(lambda: forged.prove(network=NETWORK, slot_of=slot_of)) == "malformed"


def test_evidence_from_another_network_convicts_nobody_here() -> None:
    evidence = Evidence.of(say("left"), say("right"))
    assert refused(lambda: evidence.prove(network=bytes(32), slot_of=slot_of)) == "malformed"


def test_a_body_that_is_no_map_convicts_nobody() -> None:
    fields = {"author": ADA.node_id, "kind": "update", "network": NETWORK, "seq": 1, "time": 2, "v": 1}
    header = encode({**fields, "body": b"\x01"})
    odd = open_envelope(header + ADA.sign(DOMAIN + header), network=NETWORK)
    assert refused(lambda: check_equivocation(odd, say("left"), slot_of=slot_of)) == "malformed"


@given(st.binary(min_size=1, max_size=200), st.binary(min_size=1, max_size=200))
def test_arbitrary_bytes_are_no_evidence(first: bytes, second: bytes) -> None:
    assert refused(lambda: Evidence(first, second).prove(network=NETWORK, slot_of=slot_of)) == "malformed"
