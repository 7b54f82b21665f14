from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from banyan.security import admission
from banyan.security.admission import (
    Reason,
    UpdateRefused,
    check_announcement,
    check_hash,
    clip_factors,
    inspect_blob,
)
from banyan.security.errors import Refused

BASE = b"b" * 32
BLOB = b"x" * 32


@dataclass(frozen=True)
class FakeSpec:
    dimension: int
    rank: int = 1


@dataclass(frozen=True)
class FakeVector:
    """float32 values that notice how much is decoded at once."""

    values: NDArray[np.float32]
    largest: list[int] = field(default_factory=lambda: [0])

    @property
    def size(self) -> int:
        return len(self.values)

    def decode(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        piece = self.values[start:stop]
        self.largest[0] = max(self.largest[0], len(piece))
        return piece


@dataclass(frozen=True)
class FakeDelta:
    vector: FakeVector
    base: bytes
    rank: int = 1


def decode(data: bytes, spec: Any, /) -> FakeDelta:
    """A blob of this test: 32 bytes of base and then float32 numbers."""
    if len(data) < 32:
        raise Refused("malformed", "The blob is too short")
    return FakeDelta(FakeVector(np.frombuffer(data[32:], "<f4")), data[:32])


def blob(*values: float, base: bytes = BASE) -> bytes:
    return base + np.array(values, "<f4").tobytes()


def announced(**change: Any) -> None:
    """Check an announcement that is fine but for ``change``."""
    fine: dict[str, Any] = {
        "author": "ada",
        "size": 100,
        "digest": BLOB,
        "base": BASE,
        "limit": 1_000,
        "lineage": [BASE, b"1" * 32, b"2" * 32],
        "staleness": 1,
        "members": {"ada", "bob"},
    }
    check_announcement(**{**fine, **change})


# ------------------------------------------------------------------------------------- the announcement


def test_a_sound_announcement_is_admitted() -> None:
    announced()
    announced(base=b"1" * 32)
    announced(size=1_000)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 1_001}, Reason.TOO_LARGE),
        ({"size": 0}, Reason.TOO_LARGE),
        ({"base": b"2" * 32}, Reason.STALE_BASE),
        ({"base": b"?" * 32}, Reason.UNKNOWN_BASE),
        ({"author": "mallory"}, Reason.NOT_A_MEMBER),
        ({"revoked": {"ada"}}, Reason.REVOKED),
        ({"quarantined": {"ada"}}, Reason.QUARANTINED),
        ({"previous": BLOB}, Reason.DUPLICATE),
        ({"previous": b"y" * 32}, Reason.EQUIVOCATION),
        ({"closed": True}, Reason.ROUND_CLOSED),
    ],
)
def test_each_fault_of_an_announcement_has_its_reason(change: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(UpdateRefused) as caught:
        announced(**change)
    assert caught.value.reason == reason.value
    assert reason.sentence in str(caught.value)


def test_the_cheapest_check_speaks_first() -> None:
    faults = [
        ({"size": 9_999}, Reason.TOO_LARGE),
        ({"base": b"?" * 32}, Reason.UNKNOWN_BASE),
        ({"members": ()}, Reason.NOT_A_MEMBER),
        ({"quarantined": {"ada"}, "members": {"ada"}}, Reason.QUARANTINED),
        ({"previous": b"y" * 32}, Reason.EQUIVOCATION),
        ({"closed": True}, Reason.ROUND_CLOSED),
    ]
    together: dict[str, Any] = {}
    for change, reason in reversed(faults):
        together |= change
        with pytest.raises(UpdateRefused) as caught:
            announced(**together)
        assert caught.value.reason == reason.value


# --------------------------------------------------------------------------------------------- the blob


def test_a_sound_blob_is_measured() -> None:
    data = blob(3.0, 4.0)
    check_hash(data, hashlib.sha256(data).digest())
    measured = inspect_blob(data, spec=FakeSpec(2), expected_base=BASE, decode=decode)
    assert (measured.norm, measured.base, measured.size) == (5.0, BASE, len(data))
    assert inspect_blob(data, spec=FakeSpec(2), decode=decode) == measured


def test_other_bytes_than_announced_are_refused() -> None:
    with pytest.raises(UpdateRefused) as caught:
        check_hash(blob(1.0), BLOB)
    assert caught.value.reason == Reason.HASH_MISMATCH.value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"short", Reason.MALFORMED),
        (BASE + b"odd", Reason.MALFORMED),  # the decoder's ValueError
        (blob(1.0), Reason.WRONG_SPEC),
        (blob(1.0, 2.0, 3.0), Reason.WRONG_SPEC),
        (blob(1.0, 2.0, base=b"?" * 32), Reason.WRONG_BASE),
        (blob(1.0, math.nan), Reason.NON_FINITE),
        (blob(math.inf, 1.0), Reason.NON_FINITE),
        (blob(math.inf, -math.inf), Reason.NON_FINITE),
        (blob(0.0, -0.0), Reason.ZERO_NORM),
    ],
)
def test_each_fault_of_a_blob_has_its_reason(data: bytes, reason: Reason) -> None:
    with pytest.raises(UpdateRefused) as caught:
        inspect_blob(data, spec=FakeSpec(2), expected_base=BASE, decode=decode)
    assert caught.value.reason == reason.value


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (Refused("wrong-spec", "It is odd"), Reason.WRONG_SPEC),
        (Refused("non-finite", "It is odd"), Reason.NON_FINITE),
        (Refused("a-reason-of-its-own", "It is odd"), Reason.MALFORMED),
        (UpdateRefused(Reason.ZERO_NORM, "It is odd"), Reason.ZERO_NORM),
        (ValueError("It is odd"), Reason.MALFORMED),
    ],
)
def test_what_the_decoder_finds_becomes_the_reason(refusal: Exception, reason: Reason) -> None:
    def refuse(data: bytes, spec: Any, /) -> FakeDelta:
        raise refusal

    with pytest.raises(UpdateRefused) as caught:
        inspect_blob(b"", spec=FakeSpec(2), expected_base=BASE, decode=refuse)
    assert caught.value.reason == reason.value
    assert "It is odd" in str(caught.value)


def test_a_large_blob_is_decoded_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_CHUNK", 1_000)
    vector = FakeVector(np.ones(2_500, np.float32))
    measured = inspect_blob(
        b"", spec=FakeSpec(2_500), expected_base=BASE, decode=lambda data, spec: FakeDelta(vector, BASE)
    )
    assert measured.norm == 50.0
    assert vector.largest == [1_000]


def test_the_largest_float32_numbers_have_a_finite_norm() -> None:
    largest = float(np.finfo(np.float32).max)
    measured = inspect_blob(blob(largest, largest), spec=FakeSpec(2), expected_base=BASE, decode=decode)
    assert measured.norm == pytest.approx(largest * math.sqrt(2))


# ------------------------------------------------------------------------------------------ the norm bound

norms = st.lists(st.floats(0, 1e30), max_size=30)


@given(norms, st.floats(1, 10))
def test_no_clipped_norm_exceeds_the_bound_and_short_ones_are_untouched(
    sizes: list[float], clip: float
) -> None:
    factors = clip_factors(sizes, clip)
    bound = clip * float(np.median(sizes)) if sizes else 0.0
    for size, factor in zip(sizes, factors, strict=True):
        assert 0 <= factor <= 1
        assert size * factor <= bound * (1 + 1e-12)
        if size <= bound * (1 - 1e-12):
            assert factor == 1.0


@given(norms, st.randoms(use_true_random=False))
def test_the_factor_of_an_update_does_not_hang_on_the_order(sizes: list[float], random: Any) -> None:
    order = list(range(len(sizes)))
    random.shuffle(order)
    assert clip_factors([sizes[i] for i in order], 2.0) == [clip_factors(sizes, 2.0)[i] for i in order]


@given(st.lists(st.floats(1, 2), min_size=3, max_size=15), st.floats(1e3, 1e30), st.data())
def test_a_minority_of_giants_is_cut_to_honest_size(honest: list[float], giant: float, data: Any) -> None:
    giants = [giant] * data.draw(st.integers(1, (len(honest) - 1) // 2))
    factors = clip_factors(honest + giants, 3.0)
    assert all(factor == 1.0 for factor in factors[: len(honest)])
    assert all(giant * factor <= 3 * 2 * (1 + 1e-9) for factor in factors[len(honest) :])


def test_clipping_by_hand() -> None:
    assert clip_factors([1.0, 2.0, 30.0], 3.0) == [1.0, 1.0, 0.2]
    assert clip_factors([1.0, 3.0], 1.0) == [1.0, 2 / 3]
    assert clip_factors([0.0, 0.0, 5.0], 3.0) == [1.0, 1.0, 0.0]
    assert clip_factors([], 3.0) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_a_norm_that_is_none_is_a_programming_error(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        clip_factors([1.0, bad], 3.0)


# -------------------------------------------------------------------------------------------- the reasons


def test_every_reason_has_a_code_and_a_sentence() -> None:
    for reason in Reason:
        assert reason.value == reason.name.lower().replace("_", "-")
        assert reason.sentence.endswith(".")
        assert Reason(UpdateRefused(reason).reason) is reason
