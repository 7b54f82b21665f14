"""What rules refuse, and in which words."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from banyan.aggregation import (
    AggregationError,
    Bucketing,
    CenteredClipping,
    MultiKrum,
    NotFinite,
    TooFewInputs,
    WeightedMean,
    build,
    encode,
    mixing_rules,
    pre_aggregations,
    rules,
)

X = np.random.default_rng(0).normal(size=(11, 40)).astype(np.float32)
EVERY = [*rules(), *(f"{before}+trimmed-mean" for before in pre_aggregations()), "nnm+multi-krum"]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 17, 39])
def test_rows_that_are_not_finite_are_named(name, value, column):
    x = X.copy()
    x[[3, 8], column] = value
    with pytest.raises(NotFinite, match=r"inputs 3, 8 not finite") as refusal:
        build(name, 2)(x)
    assert refusal.value.rows == (3, 8)


@pytest.mark.parametrize("name", ["multi-krum", "median", "mean"])
def test_nan_in_bf16_codes_is_named_too(name):
    coded = [encode(row, "bf16") for row in X]
    codes = coded[5].codes.copy()
    codes[7] = 0x7FC0
    coded[5] = type(coded[5])("bf16", 40, 0, codes, None)
    with pytest.raises(NotFinite) as refusal:
        build(name, 2)(coded)
    assert refusal.value.rows == (5,)


def test_opposite_infinities_do_not_hide_each_other():
    x = X.copy()
    x[1, 5], x[2, 5] = np.inf, -np.inf
    for name in EVERY:
        with pytest.raises(NotFinite):
            build(name, 2)(x)


@pytest.mark.parametrize(
    ("name", "minimum"),
    [("mean", 1), ("krum", 9), ("multi-krum", 9), ("trimmed-mean", 7), ("median", 7), ("meamed", 7),
     ("geometric-median", 7), ("centered-clipping", 7), ("bulyan", 15), ("cge", 7), ("nnm+multi-krum", 9),
     ("nnm+mean", 7), ("bucketing+median", 13), ("bucketing+krum", 17), ("arc+bulyan", 15)],
)  # fmt: skip
def test_fewer_inputs_than_the_guarantee_needs_are_refused(name, minimum):
    rule = build(name, 3)
    assert rule.minimum_n == minimum
    x = np.random.default_rng(0).normal(size=(minimum, 30)).astype(np.float32)
    rule(x)
    if minimum > 1:
        with pytest.raises(
            TooFewInputs, match=f"needs at least {minimum} inputs to survive f = 3"
        ) as refusal:
            rule(x[1:])
        assert (refusal.value.n, refusal.value.minimum_n) == (minimum - 1, minimum)


@pytest.mark.parametrize(
    ("updates", "words"),
    [
        (np.zeros((0, 5), np.float32), "nothing to aggregate"),
        ([], "nothing to aggregate"),
        (np.zeros((5, 0), np.float32), "at least one number"),
        (np.zeros(5, np.float32), "not shape"),
        (np.zeros((5, 3, 2), np.float32), "not shape"),
        (np.zeros((5, 3)), "float64"),
        (np.zeros((5, 3), np.int8), "int8"),
        (np.zeros((5, 3), np.float16), "float16"),
        (np.zeros((5, 3), ">f4"), "float32"),
        ([np.zeros(3, np.float32), np.zeros(4, np.float32)], r"lengths \[3, 4\]"),
        ([np.zeros((1, 3), np.float32)] * 3, "one dimension"),
        ([[1.0, 2.0]] * 5, "input 0 is a list"),
        ("updates", "not str"),
        (None, "not NoneType"),
        (encode(X[0], "int8"), "one encoded vector"),
        ([X[0], encode(X[0], "float32"), encode(X[0][:7], "int8")], "lengths"),
    ],
)
@pytest.mark.parametrize("name", ["mean", "median", "nnm+multi-krum"])
def test_inputs_of_another_kind_are_refused(updates, words, name):
    with pytest.raises(AggregationError, match=words):
        build(name)(updates)


@pytest.mark.parametrize("f", [-1, 1.5, "2", True, None])
def test_f_counts(f):
    with pytest.raises(AggregationError, match="f counts malicious inputs"):
        build("median", f)


OUT_OF_RANGE = [
    lambda: MultiKrum(1, m=0),
    lambda: Bucketing(size=0),
    lambda: CenteredClipping(radius=0.0),
    lambda: CenteredClipping(steps=0),
    lambda: WeightedMean(weights=[1, -1]),
    lambda: WeightedMean(weights=[0, 0]),
    lambda: WeightedMean(weights=[np.nan]),
]


@pytest.mark.parametrize("make", OUT_OF_RANGE)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(AggregationError):
        make()


def test_as_many_weights_as_inputs():
    with pytest.raises(AggregationError, match="11 inputs but 2 weights"):
        WeightedMean(weights=[1, 2])(X)


def test_weights_follow_their_inputs_whatever_the_order():
    weights = np.arange(1.0, 12.0)
    result = WeightedMean(weights=weights)(X)
    assert np.allclose(result.weights, weights / weights.sum())
    assert np.allclose(result.vector, weights @ X / weights.sum(), atol=1e-6)


def test_a_centre_of_another_length_is_refused():
    with pytest.raises(AggregationError, match="the centre has length 3, but the inputs have length 40"):
        CenteredClipping(1)(X, around=np.zeros(3, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_centre_or_an_own_vector_that_is_not_finite_is_refused(value):
    vector = X[0].copy()
    vector[7] = value
    with pytest.raises(AggregationError, match="the centre is not finite"):
        CenteredClipping(1)(X, around=vector)
    for rule in mixing_rules().values():
        with pytest.raises(AggregationError, match="own vector is not finite"):
            rule(1)(vector, X)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(AggregationError, match=r"there is no rule 'krumm'.*multi-krum"):
        build("krumm")
    with pytest.raises(AggregationError, match=r"there is no pre-aggregation 'median'.*nnm, bucketing"):
        build("median+krum")


def test_names_build_what_they_say():
    for name, rule in rules().items():
        assert type(build(name, 1)) is rule
        assert build(name, 1).label == name
    for before in pre_aggregations():
        assert build(f"{before}+median", 1).label == f"{before}+median"
    assert build("nnm+bucketing+krum", 1).label == "nnm+bucketing+krum"


def test_breakdown_is_halved_by_buckets_of_two():
    assert build("median", 1).breakdown == 0.5
    assert build("bucketing+median", 1).breakdown == 0.25
    assert build("nnm+median", 1).breakdown == 0.5
    assert build("mean", 1).breakdown == 0


@pytest.mark.parametrize("view", ["fortran", "strided", "reversed", "read-only", "list"])
@pytest.mark.parametrize("name", ["mean", "nnm+trimmed-mean", "krum"])
def test_any_layout_of_float32_is_taken_and_none_is_written_to(view, name):
    plain = X.copy()
    x = {
        "fortran": lambda: np.asfortranarray(plain),
        "strided": lambda: np.repeat(plain, 2, axis=1)[:, ::2],
        "reversed": lambda: np.ascontiguousarray(plain[:, ::-1])[:, ::-1],
        "read-only": lambda: plain,
        "list": lambda: [row.copy() for row in plain],
    }[view]()
    if view == "read-only":
        x.flags.writeable = False
    assert np.array_equal(build(name, 2)(x).vector, build(name, 2)(X).vector)
    assert np.array_equal(np.array(x), X)


@pytest.mark.parametrize("name", ["mean", "multi-krum", "nnm+median"])
def test_torch_tensors_are_taken_without_importing_torch_first(name):
    torch = pytest.importorskip("torch")
    expected = build(name, 2)(X).vector
    assert np.array_equal(build(name, 2)(torch.from_numpy(X)).vector, expected)
    assert np.array_equal(build(name, 2)([torch.from_numpy(row) for row in X]).vector, expected)
    with pytest.raises(AggregationError, match="float64"):
        build(name, 2)(torch.zeros(9, 4, dtype=torch.float64))


def test_importing_the_library_does_not_import_torch():
    code = "import sys, banyan.aggregation; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", mixing_rules())
def test_mixing_rules_refuse_what_rules_refuse(name):
    rule = mixing_rules()[name](2)
    x = X.copy()
    x[4, 3] = np.nan
    with pytest.raises(NotFinite) as refusal:
        rule(X[0], x)
    assert refusal.value.rows == (4,)
    with pytest.raises(AggregationError, match="own vector"):
        rule(X[0].astype(np.float64), X)
    with pytest.raises(AggregationError, match="own vector has length 3"):
        rule(X[0, :3], X)
    with pytest.raises(AggregationError, match="progress"):
        rule(X[0], X, progress=1.5)
    if rule.minimum_n > 1:
        with pytest.raises(TooFewInputs):
            rule(X[0], X[: rule.minimum_n - 1])
