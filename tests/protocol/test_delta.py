"""The delta blob: what was written is read back, and nothing else is read at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banyan.aggregation.encoding import CODECS, Codec, encode
from banyan.protocol.delta import DeltaRefused, blob_bytes, read_delta, write_delta
from banyan.simulations.tasks import spec_of

SPEC = spec_of(1500)


def blob(codec: Codec = "int8", seed: int = 0) -> bytes:
    vector = np.random.default_rng(seed).standard_normal(1500, dtype=np.float32)
    return write_delta(encode(vector, codec), spec=SPEC, base=bytes(32))


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_survives_the_trip_bit_for_bit(codec: Codec) -> None:
    vector = encode(np.random.default_rng(1).standard_normal(1500, dtype=np.float32), codec)
    data = write_delta(vector, spec=SPEC, base=b"\x07" * 32)
    delta = read_delta(data, SPEC)
    assert delta.base == b"\x07" * 32
    assert np.array_equal(delta.vector.decode(), vector.decode())
    assert len(data) <= blob_bytes(SPEC, codec)
    assert write_delta(delta.vector, spec=SPEC, base=delta.base) == data


@pytest.mark.parametrize("cut", [0, 1, 8, 12, 40, -1, -100])
def test_a_truncated_blob_is_refused(cut: int) -> None:
    with pytest.raises(DeltaRefused) as caught:
        read_delta(blob()[:cut], SPEC)
    assert caught.value.reason == "malformed"


def test_a_longer_blob_is_refused() -> None:
    with pytest.raises(DeltaRefused):
        read_delta(blob() + b"\0", SPEC)


def test_a_blob_for_another_adapter_is_refused() -> None:
    with pytest.raises(DeltaRefused) as caught:
        read_delta(blob(), spec_of(1501))
    assert caught.value.reason == "wrong-spec"


@pytest.mark.parametrize("codec", ["float32", "bf16", "int8", "int4"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(codec: Codec, value: float) -> None:
    data = bytearray(blob(codec))
    poison = np.float32(value).tobytes()
    numbers = len(data) - {"float32": 6000, "bf16": 3000, "int8": 1508, "int4": 798}[codec]
    if codec == "bf16":
        data[numbers : numbers + 2] = poison[2:]
    else:
        data[numbers : numbers + 4] = poison
    with pytest.raises(DeltaRefused) as caught:
        read_delta(bytes(data), SPEC)
    assert caught.value.reason == "non-finite"


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_and_never_crash(data: bytes) -> None:
    with pytest.raises(DeltaRefused):
        read_delta(data, SPEC)


@given(position=st.integers(0, 3700), value=st.integers(0, 255), codec=st.sampled_from(CODECS))
@settings(max_examples=300)
def test_a_mutated_blob_is_refused_or_still_gives_finite_numbers(
    position: int, value: int, codec: Codec
) -> None:
    data = bytearray(blob(codec))
    data[position % len(data)] = value
    try:
        delta = read_delta(bytes(data), SPEC)
    except DeltaRefused:
        return
    assert np.isfinite(delta.vector.decode()).all()


def narrow(rank: int = 3, base: bytes = bytes(32), columns: int | None = None) -> bytes:
    """A delta of ``rank`` columns, or with numbers for other ``columns``, of an adapter of rank 4."""
    vector = np.arange(1, 1 + 500 * (columns or rank), dtype=np.float32)
    return write_delta(encode(vector, "int8"), spec=WIDE, base=base, rank=rank)


WIDE = spec_of(2000, rank=4)


def test_a_delta_of_fewer_columns_is_shorter_and_comes_back_with_its_rank() -> None:
    delta = read_delta(narrow(), WIDE)
    assert (delta.rank, delta.vector.size) == (3, 1500)
    whole = delta.whole(WIDE).reshape(500, 4)
    assert np.array_equal(whole[:, :3].ravel(), delta.vector.decode())
    assert not whole[:, 3].any()
    assert len(narrow(3)) < 0.8 * len(narrow(4))


def test_a_delta_of_all_columns_has_one_encoding() -> None:
    assert b"rank" not in narrow(4)
    claimed = narrow(3, columns=4).replace(b"\xa4rank\x03", b"\xa4rank\x04")
    with pytest.raises(DeltaRefused) as refused:
        read_delta(claimed, WIDE)
    assert refused.value.reason == "wrong-spec"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (narrow(3, columns=2), "wrong-spec"),
        (narrow(3, columns=4), "wrong-spec"),
        (narrow(5), "wrong-spec"),
        (narrow(3, base=b""), "wrong-spec"),
        (narrow(3).replace(b"\xa4rank\x03", b"\xa4rank\x00"), "malformed"),
        (narrow(3)[:-1], "malformed"),
    ],
    ids=["too short", "too long", "beyond the adapter", "an adapter", "rank 0", "cut off"],
)
def test_a_rank_that_cannot_be_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(DeltaRefused) as refused:
        read_delta(data, WIDE)
    assert refused.value.reason == reason
