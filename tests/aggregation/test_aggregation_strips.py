"""Columns that some inputs do not have: what a rule makes of them, beside a plain oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.aggregation import EncodedVector, build, encode
from banyan.aggregation.encoding import Codec
from banyan.aggregation.errors import TooFewInputs
from banyan.aggregation.rows import Strip
from banyan.aggregation.strips import Group, aggregate_strips, column_groups, leading, strip, widened

ROWS, WIDTH = 97, 8
WIDE = Group(4, 8, ())


def matrix(seed: int, rank: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((ROWS, rank), dtype=np.float32)


def coded(seed: int, codec: Codec = "int8") -> EncodedVector:
    return encode(matrix(seed).ravel(), codec)


@given(st.lists(st.integers(1, 16), min_size=1, max_size=12))
def test_groups_cover_each_input_up_to_its_rank_and_no_further(ranks: list[int]) -> None:
    groups = column_groups(ranks)
    for at, rank in enumerate(ranks):
        trained = [
            column for group in groups if at in group.members for column in range(group.start, group.stop)
        ]
        assert trained == list(range(rank))


@given(st.integers(0, ROWS * 4), st.integers(0, ROWS * 4))
def test_a_strip_decodes_any_stretch_as_numpy_cuts_it(one: int, other: int) -> None:
    start, stop = sorted((one, other))
    vector = coded(1, "int4")
    expected = vector.decode().reshape(ROWS, WIDTH)[:, 4:8].ravel()
    cut = Strip(vector, WIDTH, 4, 8)
    assert cut.size == len(cut) == ROWS * 4
    assert np.array_equal(cut.decode(start, stop), expected[start:stop])
    assert np.array_equal(
        cut.scaled(0.5).decode(), vector.scaled(0.5).decode().reshape(ROWS, WIDTH)[:, 4:8].ravel()
    )


def test_an_input_with_no_other_columns_is_its_own_strip() -> None:
    vector = coded(1)
    assert strip(vector, WIDTH, Group(0, WIDTH, ())) is vector


@pytest.mark.parametrize(
    "name",
    [
        "mean",
        "krum",
        "multi-krum",
        "nnm+multi-krum",
        "trimmed-mean",
        "geometric-median",
        "centered-clipping",
        "bulyan",
        "arc+median",
    ],
)
def test_a_rule_on_strips_is_the_rule_on_the_columns_alone(name: str) -> None:
    rule = build(name, f=1)
    vectors = [coded(seed) for seed in range(9)]
    result = aggregate_strips(rule, [strip(each, WIDTH, WIDE) for each in vectors])
    alone = rule([each.decode().reshape(ROWS, WIDTH)[:, 4:8].ravel() for each in vectors])
    np.testing.assert_allclose(result.vector, alone.vector, rtol=1e-4, atol=1e-6)
    assert result.left_out == alone.left_out


def test_the_order_of_strips_changes_no_bit() -> None:
    rule = build("nnm+multi-krum", f=1)
    strips = [strip(coded(seed), WIDTH, WIDE) for seed in range(7)]
    one, other = aggregate_strips(rule, strips), aggregate_strips(rule, strips[::-1])
    assert np.array_equal(one.vector, other.vector)
    assert np.array_equal(one.weights, other.weights[::-1])


def test_distances_between_strips_are_those_of_exact_arithmetic() -> None:
    strips = [strip(coded(seed), WIDTH, WIDE) for seed in range(5)]
    scores = aggregate_strips(build("krum", f=1), strips).scores
    values = [each.decode().astype(np.longdouble) for each in strips]
    for at, score in enumerate(scores):
        apart = sorted(float(((values[at] - other) ** 2).sum()) for i, other in enumerate(values) if i != at)
        assert score == pytest.approx(sum(apart[:2]), rel=1e-12)


def test_too_few_strips_are_refused_as_too_few_vectors_are() -> None:
    with pytest.raises(TooFewInputs):
        aggregate_strips(build("krum", f=1), [strip(coded(seed), WIDTH, WIDE) for seed in range(4)])


def test_leading_columns_widen_to_the_same_columns_and_zeros() -> None:
    whole = matrix(3).ravel()
    again = widened(leading(whole, WIDTH, 3), 3, WIDTH).reshape(ROWS, WIDTH)
    assert np.array_equal(again[:, :3], matrix(3)[:, :3])
    assert not again[:, 3:].any()
    assert widened(whole, WIDTH, WIDTH) is whole
