from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.security.canonical import encode
from banyan.security.envelope import DOMAIN, Envelope, EnvelopeRefused, open_envelope, seal
from banyan.security.identity import Identity

Who = Callable[[str], Identity]
NETWORK = bytes(range(32))
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
ADA = Identity.from_seed(b"a" * 32)

bodies = st.dictionaries(
    st.text(max_size=10),
    st.integers(-(2**63), 2**63) | st.binary(max_size=50) | st.floats(0, 1) | st.text(),
    max_size=5,
)
envelopes = st.builds(
    lambda kind, seq, time, body: seal(ADA, network=NETWORK, kind=kind, seq=seq, time=time, body=body),
    st.sampled_from(["update", "vote", "release.proposal"]),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    bodies,
)


def header(**change: object) -> bytes:
    """A valid header with fields changed (or, where None, left out)."""
    fields = {
        "author": ADA.node_id,
        "body": b"\x80",
        "kind": "note",
        "network": NETWORK,
        "seq": 1,
        "time": 2,
        "v": 1,
    }
    return encode({name: value for name, value in {**fields, **change}.items() if value is not None})


def signed(data: bytes) -> bytes:
    return data + ADA.sign(DOMAIN + data)


def refuses(data: bytes, **limits: int) -> EnvelopeRefused:
    with pytest.raises(EnvelopeRefused) as caught:
        open_envelope(data, network=NETWORK, **limits)
    return caught.value


@given(envelopes)
def test_an_envelope_survives_the_wire(envelope: Envelope) -> None:
    opened = open_envelope(envelope.data, network=NETWORK)
    assert opened == envelope
    assert opened.data == envelope.data
    assert opened.id == hashlib.sha256(envelope.data).digest()
    assert (
        seal(ADA, network=NETWORK, kind=opened.kind, seq=opened.seq, time=opened.time, body=opened.content())
        == envelope
    )


@given(envelopes, st.data())
def test_flipping_any_bit_of_any_envelope_is_refused(envelope: Envelope, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, len(envelope.data) * 8 - 1))
    flipped = bytearray(envelope.data)
    flipped[bit // 8] ^= 1 << bit % 8
    refuses(bytes(flipped))


def test_flipping_every_single_bit_of_one_envelope_is_refused() -> None:
    data = seal(ADA, network=NETWORK, kind="vote", seq=7, time=8, body={"height": 3}).data
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        refuses(bytes(flipped))


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    refuses(data)


@given(envelopes, st.integers(1, 100))
def test_truncated_and_extended_envelopes_are_refused(envelope: Envelope, count: int) -> None:
    refuses(envelope.data[:-count])
    refuses(envelope.data + bytes(count))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (signed(header(network=bytes(32))), "wrong-network"),
        (signed(header(v=2)), "unknown-version"),
        (signed(header(v=0)), "unknown-version"),
        (signed(header(v=True)), "malformed"),
        (signed(header(v="1")), "malformed"),
        (signed(header(v=None)), "malformed"),
        (signed(header(colour="red")), "malformed"),
        (signed(header(seq=None)), "malformed"),
        (signed(header(seq=-1)), "malformed"),
        (signed(header(seq=2**63)), "malformed"),
        (signed(header(time=1.5)), "malformed"),
        (signed(header(kind="")), "malformed"),
        (signed(header(kind="Not a kind")), "malformed"),
        (signed(header(kind="x" * 33)), "malformed"),
        (signed(header(network=b"short")), "malformed"),
        (signed(header(body="text")), "malformed"),
        (signed(header(body=["nested"])), "malformed"),
        (signed(encode([1, 2])), "malformed"),
        (signed(b""), "malformed"),
        (b"", "malformed"),
        (signed(header(author="somebody")), "bad-author"),
        (header() + bytes(64), "bad-signature"),
        (header() + ADA.sign(header()), "bad-signature"),  # signed without the domain tag
        (header(author=Identity.from_seed(b"b" * 32).node_id) + ADA.sign(DOMAIN + header()), "bad-signature"),
        (signed(header(body=b"x" * 65_536)), "too-long"),
    ],
)
def test_each_refusal_has_its_reason(data: bytes, reason: str) -> None:
    assert refuses(data).reason == reason


def test_a_non_canonical_header_is_refused_though_it_is_well_signed() -> None:
    data = header()
    assert open_envelope(signed(data), network=NETWORK).kind == "note"
    padded = data.replace(b"\xa3seq\x01", b"\xa3seq\xcc\x01")
    assert refuses(signed(padded)).reason == "malformed"


@pytest.mark.parametrize("times", range(1, 9))
def test_a_malleated_signature_does_not_make_a_second_wire_form(times: int) -> None:
    envelope = seal(ADA, network=NETWORK, kind="vote", seq=7, time=8, body={})
    scalar = int.from_bytes(envelope.signature[32:], "little") + times * GROUP_ORDER
    malleated = envelope.signed + envelope.signature[:32] + scalar.to_bytes(32, "little")
    assert refuses(malleated).reason == "bad-signature"


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x90", b"\x81\x01\x01", b"\x80\x80", b"\xc1"])
def test_a_body_is_parsed_only_on_demand_and_then_strictly(body: bytes) -> None:
    envelope = open_envelope(signed(header(body=body)), network=NETWORK)
    with pytest.raises(EnvelopeRefused) as caught:
        envelope.content()
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "No"}, "malformed"),
        ({"seq": -1}, "malformed"),
        ({"network": b""}, "malformed"),
        ({"body": {"x": {1, 2}}}, "malformed"),
        ({"body": {"x": bytes(65_536)}}, "too-long"),
    ],
)
def test_nothing_is_sealed_that_peers_would_refuse(change: dict[str, object], reason: str) -> None:
    fields: dict[str, object] = {"network": NETWORK, "kind": "note", "seq": 1, "time": 2, "body": {}}
    with pytest.raises(EnvelopeRefused) as caught:
        seal(ADA, **{**fields, **change})  # type: ignore[arg-type]
    assert caught.value.reason == reason


def test_a_simulation_may_bring_its_own_signer_and_verifier() -> None:
    class Fake:
        node_id = ADA.node_id

        def sign(self, message: bytes, /) -> bytes:
            return hashlib.sha512(message).digest()

    def check(node_id: str, signature: bytes, message: bytes, /) -> bool:
        return signature == hashlib.sha512(message).digest()

    envelope = seal(Fake(), network=NETWORK, kind="note", seq=1, time=2, body={})
    assert open_envelope(envelope.data, network=NETWORK, verify=check) == envelope
    assert refuses(envelope.data).reason == "bad-signature"


@given(st.binary(max_size=300))
def test_the_largest_message_is_bounded_by_the_caller(data: bytes) -> None:
    assert refuses(data + bytes(100), max_bytes=99).reason == "too-long"
