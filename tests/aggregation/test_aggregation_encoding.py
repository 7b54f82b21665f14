"""Encoded vectors: what comes back, within which error, and which parts are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from banyan.aggregation import CODECS, AggregationError, EncodedVector, encode
from banyan.aggregation.encoding import TOP

VECTORS = arrays.arrays(
    np.float32, st.integers(1, 300), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)
)


@settings(max_examples=60, deadline=None)
@given(vector=VECTORS, codec=st.sampled_from(CODECS), block=st.sampled_from([16, 32, 128]))
def test_values_come_back_within_half_a_step(vector, codec, block):
    coded = encode(vector, codec, block if codec in TOP else None)
    decoded = coded.decode()
    assert np.isfinite(decoded).all()
    if codec == "float32":
        assert np.array_equal(decoded, vector)
    elif codec == "bf16":
        # Eight digits in base two; just under the largest float32 rounding is down.
        assert np.all(np.abs(decoded - vector) <= np.abs(vector) / 2**7 + 1e-40)
    else:
        steps = np.repeat(coded.scales, block)[: len(vector)]
        error = np.abs(decoded.astype(np.float64) - vector)
        tiny = 1.5e-45 * TOP[codec]  # scales themselves round below float32's smallest normal
        assert np.all(error <= 0.5 * steps.astype(np.float64) * (1 + 1e-5) + tiny)


@settings(max_examples=60, deadline=None)
@given(vector=VECTORS, codec=st.sampled_from(CODECS), cut=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_any_part_decodes_to_the_same_bits_as_the_whole(vector, codec, cut):
    coded = encode(vector, codec, 16 if codec in TOP else None)
    start, stop = sorted(int(c * len(vector)) for c in cut)
    assert coded.decode(start, stop).tobytes() == coded.decode()[start:stop].tobytes()


@pytest.mark.parametrize("codec", CODECS)
def test_encoding_again_changes_nothing(codec):
    vector = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    once = encode(vector, codec).decode()
    assert np.allclose(encode(once, codec).decode(), once, rtol=1e-6)


@pytest.mark.parametrize(
    ("codec", "share"), [("float32", 4.0), ("bf16", 2.0), ("int8", 1.004), ("int4", 0.532)]
)
def test_bytes_per_number(codec, share):
    assert encode(np.ones(100_000, np.float32), codec).nbytes / 100_000 == pytest.approx(share, rel=0.01)


def test_gaussian_updates_lose_less_than_one_percent_in_int8_and_fifteen_in_int4():
    vector = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    for codec, bound in (("bf16", 0.003), ("int8", 0.01), ("int4", 0.15)):
        error = np.linalg.norm(encode(vector, codec).decode() - vector) / np.linalg.norm(vector)
        assert error < bound


@pytest.mark.parametrize("codec", CODECS)
def test_scaled_multiplies_the_values(codec):
    vector = np.random.default_rng(0).normal(size=999).astype(np.float32)
    coded = encode(vector, codec)
    assert np.allclose(coded.scaled(0.25).decode(), coded.decode() * np.float32(0.25), rtol=1e-6)
    with pytest.raises(AggregationError):
        coded.scaled(-1.0)


@pytest.mark.parametrize(
    "parts",
    [
        {"codec": "int9"},
        {"size": 0},
        {"size": 99},
        {"block": 24},
        {"block": 8},
        {"block": 1 << 17},
        {"codes": np.zeros(100, np.uint8)},
        {"codes": np.full(100, -128, np.int8)},
        {"scales": None},
        {"scales": np.ones(6, np.float32)},
        {"scales": np.ones(7, np.float64)},
        {"scales": np.full(7, np.nan, np.float32)},
        {"scales": np.full(7, np.inf, np.float32)},
        {"scales": np.full(7, -1, np.float32)},
        {"scales": np.full(7, 3e38, np.float32)},
        {"codec": "float32"},
        {"codec": "bf16", "codes": np.zeros(100, np.uint16)},
        {"codec": "int4", "codes": np.full(50, 0x80, np.uint8)},
        {"codec": "int4", "codes": np.full(50, 0x08, np.uint8)},
        {"codec": "int4", "size": 99, "codes": np.full(50, 0x11, np.uint8)},
    ],
)
def test_parts_that_do_not_fit_are_refused(parts):
    right = {
        "codec": "int8",
        "size": 100,
        "block": 16,
        "codes": np.ones(100, np.int8),
        "scales": np.ones(7, np.float32),
    }
    EncodedVector(**right)
    with pytest.raises(AggregationError):
        EncodedVector(**{**right, **parts})


@pytest.mark.parametrize("vector", [np.zeros((2, 2), np.float32), np.zeros(3), np.zeros(0, np.float32),
                                    np.array([1, np.nan], np.float32), np.array([np.inf], np.float32)])  # fmt: skip
@pytest.mark.parametrize("codec", CODECS)
def test_only_finite_float32_vectors_are_encoded(vector, codec):
    with pytest.raises(AggregationError):
        encode(vector, codec)
