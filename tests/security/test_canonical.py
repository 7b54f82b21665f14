from __future__ import annotations

import struct
import tracemalloc

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from banyan.security.canonical import CanonicalError, decode, encode, encode_map

MAX = 1 << 20
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, -32, -33, -128, -129])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=40), inner, max_size=8),
    max_leaves=12,
)


def refuses(data: bytes, **limits: int) -> CanonicalError:
    with pytest.raises(CanonicalError) as caught:
        decode(data, **{"max_bytes": MAX, "floats": True, **limits})  # type: ignore[arg-type]
    return caught.value


@given(values)
@example([None] * 16)  # the lengths at which the form changes
@example([0] * 65_536)
@example({str(number): number for number in range(16)})
@example({str(number): 0 for number in range(65_536)})
@example(["x" * 31, "x" * 32, "x" * 255, "x" * 256, "x" * 65_535, "x" * 65_536])
@example([b"x" * 255, b"x" * 256, b"x" * 65_535, b"x" * 65_536])
def test_every_value_survives_the_round_trip(value: object) -> None:
    data = encode(value)
    assert decode(data, max_bytes=MAX, max_depth=64, floats=True) == value
    assert msgpack.unpackb(data, strict_map_key=True) == value


@given(st.binary(max_size=200))
@example(b"\x81\xa1a\x01")
@example(b"\xcb\x80" + bytes(7))  # minus zero has its own encoding
def test_arbitrary_bytes_are_refused_or_are_the_encoding_of_what_they_decode_to(data: bytes) -> None:
    try:
        value = decode(data, max_bytes=MAX, floats=True)
    except CanonicalError:
        return
    assert encode(value) == data


@given(values, st.data())
def test_a_mutated_encoding_is_refused_or_is_still_canonical(value: object, data: st.DataObject) -> None:
    mutated = bytearray(encode(value))
    at = data.draw(st.integers(0, len(mutated) - 1))
    mutated[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode(bytes(mutated), max_bytes=MAX, max_depth=64, floats=True)
    except CanonicalError:
        return
    assert encode(decoded) == mutated


long = st.lists(values, max_size=4).map(lambda few: [*few, *[None] * 256])
"""Longer than what is left to msgpack's decoder, so that ours reads it."""


@given(long, st.data())
def test_a_long_list_is_read_as_strictly_as_a_short_one(value: list[object], data: st.DataObject) -> None:
    assert decode(encode(value), max_bytes=MAX, max_depth=64, floats=True) == value
    mutated = bytearray(encode(value))
    at = data.draw(st.integers(0, len(mutated) - 1))
    mutated[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode(bytes(mutated), max_bytes=MAX, max_depth=64, floats=True)
    except CanonicalError:
        return
    assert encode(decoded) == mutated


@pytest.mark.parametrize("filling", [b"", b"\xc0" * 256], ids=["short", "long"])
@pytest.mark.parametrize(
    "odd",
    [
        b"\xca\x3f\x80\x00\x00",
        b"\xcb" + struct.pack(">d", float("nan")),
        b"\xd6\xff\x00\x00\x00\x00",  # a moment
        b"\x82\xa1b\x01\xa1a\x02",
        b"\x82\xa1a\x01\xa1a\x02",
        b"\x81\xc4\x01a\x01",
        b"\xcc\x05",
    ],
)
def test_what_msgpack_takes_and_is_not_canonical_is_refused_in_short_lists_and_in_long(
    odd: bytes, filling: bytes
) -> None:
    data = b"\xdc" + (17 + len(filling)).to_bytes(2, "big") + odd + b"\xc0" * 16 + filling
    assert msgpack.unpackb(data, strict_map_key=False)
    assert refuses(data).reason == "malformed"


@given(values, st.integers(0, 400))
def test_a_truncated_encoding_is_refused(value: object, cut: int) -> None:
    data = encode(value)
    refuses(data[: max(0, len(data) - 1 - cut)], max_depth=64)


def test_map_order_does_not_change_the_encoding() -> None:
    assert encode({"b": 1, "a": 2, "é": 3}) == encode({"é": 3, "a": 2, "b": 1})


def test_tuples_are_written_as_lists() -> None:
    assert encode((1, (2,))) == encode([1, [2]])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xcc\x05",  # 5 in two bytes
        b"\xcd\x00\xff",
        b"\xce\x00\x00\xff\xff",
        b"\xcf\x00\x00\x00\x00\xff\xff\xff\xff",
        b"\xd0\x05",  # a positive number as a signed one
        b"\xd0\xff",  # -1 in two bytes
        b"\xd1\xff\x80",
        b"\xd2\xff\xff\x80\x00",
        b"\xd3\xff\xff\xff\xff\x80\x00\x00\x00",
        b"\xd9\x01a",  # one letter with a long length
        b"\xda\x00\x20" + b"a" * 32,
        b"\xdb\x00\x00\x01\x00" + b"a" * 256,
        b"\xc5\x00\x01a",
        b"\xc6\x00\x00\x00\x01a",
        b"\xdc\x00\x01\x01",
        b"\xdd\x00\x00\x00\x01\x01",
        b"\xde\x00\x01\xa1a\x01",
        b"\xdf\x00\x00\x00\x01\xa1a\x01",
        b"\xca\x3f\x80\x00\x00",  # float32
        b"\xcb" + struct.pack(">d", float("nan")),
        b"\xcb" + struct.pack(">d", float("inf")),
        b"\xc1",
        b"\xc7\x00\x01",  # extension types
        b"\xd4\x01\x00",
        b"\x82\xa1b\x01\xa1a\x02",  # keys out of order
        b"\x82\xa1a\x01\xa1a\x02",  # a key twice
        b"\x81\x01\x01",  # a key that is not text
        b"\x81\xc4\x01a\x01",
        b"\x81\x90\x01",
        b"\xa2\xc3\x28",  # not UTF-8
        b"\xa3\xed\xa0\x80",  # a lone surrogate
        b"\x01\x01",  # trailing bytes
        b"\x92\x01",
        b"\xa5abc",
    ],
)
def test_what_is_not_canonical_is_refused_as_malformed(data: bytes) -> None:
    assert refuses(data).reason == "malformed"


def test_floats_are_refused_where_not_allowed() -> None:
    with pytest.raises(CanonicalError):
        decode(encode(1.5), max_bytes=100)


def test_each_budget_is_enforced_and_named_too_long() -> None:
    nested = encode([[[[]]]])
    assert decode(nested, max_bytes=10, max_depth=4) == [[[[]]]]
    assert refuses(nested, max_depth=3).reason == "too-long"
    assert decode(encode([1, [2, 3]]), max_bytes=10, max_items=4) == [1, [2, 3]]
    assert refuses(encode([1, [2, 3]]), max_items=3).reason == "too-long"
    assert refuses(encode(b"123456"), max_bytes=7).reason == "too-long"


@pytest.mark.parametrize(
    "claim",
    [b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xc6\xff\xff\xff\xff"],
)
def test_a_claimed_length_costs_no_memory(claim: bytes) -> None:
    # The same claim nested at every level is what kills decoders that trust it.
    data = b"\x98" + claim * 12_000
    tracemalloc.start()
    try:
        refuses(data, max_depth=64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_claims_of_short_lists_cost_little_memory_however_deep() -> None:
    data = b"\xdc\x00\xc0" * 20_000
    tracemalloc.start()
    try:
        refuses(data, max_depth=64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_deep_nesting_is_refused_without_recursion_trouble() -> None:
    assert refuses(b"\x91" * 60_000 + b"\x01").reason == "too-long"


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 2**64, -(2**63) - 1, {1: 2}, {"a": {b"k": 1}}, {1, 2}, object(), "\ud800"],
)
def test_a_value_without_an_encoding_is_refused(value: object) -> None:
    with pytest.raises(CanonicalError):
        encode(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(CanonicalError):
        encode(loop)


@given(
    st.dictionaries(st.text(max_size=8), st.one_of(st.integers(0, 99), st.binary(max_size=9)), max_size=15)
)
def test_a_map_put_together_from_encoded_values_is_the_map_encoded(entries: dict[str, int | bytes]) -> None:
    assert encode_map({key: encode(value) for key, value in entries.items()}) == encode(entries)


def test_a_map_too_long_for_its_short_form_is_not_put_together() -> None:
    with pytest.raises(ValueError, match="at most 15"):
        encode_map({str(number): b"\xc0" for number in range(16)})
