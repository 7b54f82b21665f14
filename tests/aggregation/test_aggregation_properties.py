"""What holds for every rule on any input: order, scale, shift, and the distance that a minority can move it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banyan.aggregation import build, encode, rules

CHAINS = ["nnm+multi-krum", "nnm+trimmed-mean", "nnm+geometric-median", "bucketing+median", "arc+multi-krum"]
EVERY = [*rules(), *CHAINS]
# Buckets are drawn from the content, so other content is another lot.
SCALE = [name for name in EVERY if "bucketing" not in name]
# Bulyan's last choices are between two rows, a tie that goes to the first by content.
FIXED_POINT = ("cge", "centered-clipping", "bulyan", "arc+multi-krum")
TRANSLATION = [name for name in SCALE if name not in FIXED_POINT]
ATTACKS = st.sampled_from(["far", "huge", "copies", "zeros", "mirror", "near"])


def scene(seed, n, f, d, attack):
    """n - f honest rows and f others, and which rows are honest."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=d) * 2 + rng.normal(size=(n - f, d))
    middle = honest.mean(axis=0)
    evil = {
        "far": middle + 50 * rng.normal(size=(f, d)),
        "huge": 1e30 * rng.normal(size=(f, d)),
        "copies": np.repeat(honest[:1] + 3, f, axis=0),
        "zeros": np.zeros((f, d)),
        "mirror": -4 * np.repeat(middle[None], f, axis=0),
        "near": middle - 1.5 * honest.std(axis=0) * np.ones((f, 1)),
    }[attack]
    order = rng.permutation(n)
    return np.concatenate([honest, evil])[order].astype(np.float32), order < n - f


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    f=st.integers(0, 3),
    attack=ATTACKS,
    codec=st.sampled_from([None, "int8", "bf16"]),
)
def test_order_of_the_inputs_changes_no_bit(name, seed, f, attack, codec):
    rule = build(name, f)
    x, _ = scene(seed, max(rule.minimum_n, 4 * f + 3, 5), f, 300, attack)
    if codec and attack != "huge":
        x = [encode(row, codec, 64 if codec == "int8" else None) for row in x]
    order = np.random.default_rng(seed + 1).permutation(len(x))
    first, second = rule(x), rule([x[i] for i in order])
    assert first.vector.tobytes() == second.vector.tobytes()
    if first.scores is not None and attack != "copies" and attack != "zeros":
        assert np.array_equal(first.scores[order], second.scores)
        assert {int(np.flatnonzero(order == i)[0]) for i in first.left_out} == set(second.left_out)


@pytest.mark.parametrize("name", SCALE)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), power=st.integers(-60, 60), attack=ATTACKS.filter(lambda a: a != "huge"))
def test_scaling_the_inputs_by_a_power_of_two_scales_the_result(name, seed, power, attack):
    rule = build(name, 2)
    x, _ = scene(seed, 13, 2, 200, attack)
    factor = np.float32(2.0**power)
    plain, scaled = rule(x).vector * factor, rule(x * factor).vector
    # Iterations stop on relative changes, products may round below float32's range: not always to the bit.
    assert np.allclose(plain, scaled, rtol=1e-5, atol=1e-6 * float(np.abs(plain).max()))


@pytest.mark.parametrize("name", TRANSLATION)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), attack=ATTACKS.filter(lambda a: a not in ("huge", "zeros")))
def test_shifting_the_inputs_shifts_the_result(name, seed, attack):
    # In eighths, so that the shift itself does not round.
    x, _ = scene(seed, 13, 2, 200, attack)
    x = np.round(x * 8) / 8
    shift = np.float32(64.0)
    rule = build(name, 2)
    assert np.allclose(rule(x).vector + shift, rule(x + shift).vector, rtol=1e-5, atol=1e-4)


def kappa(name, n, f):
    """The proven (f, κ)-robustness of a rule: |F(x) - mean of S|² <= κ · variance of S for every S of n - f
    inputs (Allouah et al., Fixing by Mixing, 2023, table 1 and lemma 1)."""
    if name.startswith("nnm+"):
        return 8 * f / (n - f) * (kappa(name[4:], n, f) + 1)
    ratio = f / (n - 2 * f)
    return {
        "krum": 6 * (1 + ratio),
        "multi-krum": 6 * (1 + ratio),
        "trimmed-mean": 6 * ratio * (1 + ratio),
        "median": 4 * (1 + ratio) ** 2,
        "geometric-median": 4 * (1 + ratio) ** 2,
    }[name]


@pytest.mark.parametrize(
    "name",
    ["krum", "multi-krum", "trimmed-mean", "median", "geometric-median", "nnm+krum", "nnm+multi-krum",
     "nnm+trimmed-mean", "nnm+median", "nnm+geometric-median"],
)  # fmt: skip
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), f=st.integers(1, 4), more=st.integers(0, 6), attack=ATTACKS)
def test_f_arbitrary_rows_move_the_result_no_further_than_proved(name, seed, f, more, attack):
    rule = build(name, f)
    n = rule.minimum_n + more
    x, is_honest = scene(seed, n, f, 60, attack)
    honest = x[is_honest].astype(np.float64)
    middle = honest.mean(axis=0)
    variance = ((honest - middle) ** 2).sum(axis=1).mean()
    error = ((rule(x).vector - middle) ** 2).sum()
    assert error <= kappa(name, n, f) * variance * (1 + 1e-5)


@pytest.mark.parametrize("name", ["trimmed-mean", "median", "meamed", "bulyan"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), f=st.integers(1, 3), attack=ATTACKS)
def test_column_rules_stay_within_reach_of_the_honest_values(name, seed, f, attack):
    rule = build(name, f)
    x, is_honest = scene(seed, rule.minimum_n + 2, f, 60, attack)
    low, high = x[is_honest].min(axis=0), x[is_honest].max(axis=0)
    slack = (high - low) if name in ("meamed", "bulyan") else 0  # as close to the median as honest values
    result = rule(x).vector
    assert np.all(result >= low - slack - 1e-5)
    assert np.all(result <= high + slack + 1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), f=st.integers(1, 4), attack=ATTACKS)
def test_centered_clipping_goes_no_further_than_its_radius_allows(seed, f, attack):
    rule = build("centered-clipping", f)
    x, is_honest = scene(seed, rule.minimum_n + 2, f, 60, attack)
    longest = np.linalg.norm(x[is_honest].astype(np.float64), axis=1).max()
    # Each of three steps is at most the median distance, which an honest row bounds.
    assert np.linalg.norm(rule(x).vector) <= 7 * longest


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), f=st.integers(1, 4), attack=ATTACKS)
def test_comparative_elimination_is_no_longer_than_the_longest_honest_row(seed, f, attack):
    rule = build("cge", f)
    x, is_honest = scene(seed, rule.minimum_n + 2, f, 60, attack)
    longest = np.linalg.norm(x[is_honest].astype(np.float64), axis=1).max()
    assert np.linalg.norm(rule(x).vector) <= longest * (1 + 1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_equal_inputs_are_their_own_aggregate(name):
    row = np.random.default_rng(0).normal(size=100).astype(np.float32)
    result = build(name, 1)(np.tile(row, (9, 1))).vector
    if name == "centered-clipping":
        assert np.allclose(result, row, rtol=1e-5)
    else:
        assert np.allclose(result, row, rtol=3e-7)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("value", [0.0, 1e-40, 1e-30, 1e30, 3e38])
def test_extreme_values_stay_finite(name, value):
    x = np.random.default_rng(0).uniform(0.5, 1, size=(9, 50)).astype(np.float32) * np.float32(value)
    result = build(name, 1)(x).vector
    assert np.isfinite(result).all()
    assert np.all(result <= x.max() * 1.001)
    if name != "centered-clipping":
        assert np.all(result >= x.min() * 0.999)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("mean", "weighted-mean")])
@pytest.mark.parametrize("value", [-3e38, 3e38, 1e15, 1e25])
def test_one_huge_row_has_no_more_say_than_a_far_one(name, value):
    x = np.random.default_rng(0).normal(size=(9, 80)).astype(np.float32)
    far, huge = x.copy(), x.copy()
    far[4], huge[4] = 1e6 * np.sign(value), value
    near_far, near_huge = build(name, 1)(far).vector, build(name, 1)(huge).vector
    if "bucketing" in name:  # another content draws other buckets
        assert np.linalg.norm(near_huge) < 30
    else:
        assert np.allclose(near_far, near_huge, atol=1e-4)


@pytest.mark.parametrize("name", ["geometric-median", "krum", "multi-krum", "nnm+multi-krum", "median"])
def test_free_riders_who_send_zeros_do_not_win(name):
    rng = np.random.default_rng(1)
    honest = rng.normal(size=200) + 0.1 * rng.normal(size=(16, 200))
    x = np.concatenate([honest, np.zeros((4, 200))]).astype(np.float32)
    result = build(name, 4)(x).vector
    assert np.linalg.norm(result - honest.mean(axis=0)) < 0.15 * np.linalg.norm(honest.mean(axis=0))
