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
