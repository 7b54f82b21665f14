"""Distances: exact for integer codes, and with five good digits for floats wherever rows lie."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from banyan.aggregation import EncodedVector, build, encode
from banyan.aggregation.distances import lengths_from, measure
from banyan.aggregation.rows import Rows, origin


def measured(x):
    """Squared distances in the order of the inputs."""
    rows = Rows(x)
    squared = np.empty((rows.n, rows.n))
    squared[np.ix_(rows.order, rows.order)] = measure(rows.rows, rows).squared
    return squared


def exact(x):
    x = np.asarray(x, np.float64)
    return np.array([((x - row) ** 2).sum(axis=1) for row in x])


def worst_relative_error(x):
    off = ~np.eye(len(x), dtype=bool)
    truth = exact(x)[off]
    return float((np.abs(measured(x)[off] - truth) / np.maximum(truth, 1e-300)).max())


@pytest.mark.parametrize("n", [5, 20, 30, 50])
@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
def test_rows_that_differ_little_from_each_other_keep_five_digits(n, spread):
    rng = np.random.default_rng(n)
    weights = rng.normal(size=20_000)
    x = (weights + spread * rng.normal(size=(n, 20_000))).astype(np.float32)
    assert worst_relative_error(x) < 1e-5


@pytest.mark.parametrize("size", [1e3, 1e6, 1e12, 1e25])
def test_a_huge_row_does_not_spoil_the_distances_of_the_others(size):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=5_000) + 1e-3 * rng.normal(size=(12, 5_000))).astype(np.float32)
    x[[3, 7]] = size * rng.normal(size=(2, 5_000))
    assert worst_relative_error(x) < 1e-5


def test_nested_clusters_keep_five_digits_in_each():
    rng = np.random.default_rng(0)
    x = rng.normal(size=5_000) + np.zeros((12, 1))
    for i, scale in enumerate([1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5]):
        x[2 * i :] += scale * rng.normal(size=(1, 5_000))
        x[2 * i] += 0.1 * scale * rng.normal(size=5_000)
    x = x.astype(np.float32)
    distinct = np.unique(x, axis=0)
    assert worst_relative_error(distinct) < 1e-5


def test_an_attacker_who_knows_the_sampled_columns_does_not_spoil_the_centre():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=50_000) + 1e-4 * rng.normal(size=(11, 50_000))).astype(np.float32)
    starts = [(50_000 - 128) * k // 3 for k in range(4)]
    hidden = np.ones(50_000, bool)
    for start in starts:
        hidden[start : start + 128] = False
    for attacker in (4, 5):
        x[attacker] = x[6:].mean(axis=0)
        x[attacker, hidden] += 1e6
    assert worst_relative_error(x) < 1e-5


def test_identical_rows_are_at_distance_zero():
    x = np.random.default_rng(0).normal(size=(9, 4_000)).astype(np.float32)
    x[5] = x[1]
    x[8] = x[1]
    squared = measured(x)
    assert squared[5, 1] == squared[8, 1] == squared[8, 5] == 0
    assert np.count_nonzero(squared == 0) == 9 + 6


def python_distance(a, b):
    """The squared distance of two encoded vectors in exact arithmetic."""
    whole = Fraction(0)
    for start in range(0, a.size, a.block):
        k, stop = start // a.block, min(a.size, start + a.block)
        codes = []
        for vector in (a, b):
            space = np.empty(stop - start, np.float32)
            vector.integers(start, stop, space)
            codes.append([int(value) for value in space])
        s, t = Fraction(float(a.scales[k])), Fraction(float(b.scales[k]))
        pp = sum(p * p for p in codes[0])
        qq = sum(q * q for q in codes[1])
        pq = sum(p * q for p, q in zip(*codes, strict=True))
        whole += s * s * pp + t * t * qq - 2 * s * t * pq
    return whole


@pytest.mark.parametrize(
    ("codec", "block"), [("int8", 1024), ("int8", 64), ("int8", 4096), ("int4", 128), ("int4", 16)]
)
def test_distances_of_codes_are_exact_integers_times_scales(codec, block):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 9_001)).astype(np.float32)
    x[4] = x[3]
    x[4, 17] += 0.5
    coded = [encode(row, codec, block) for row in x]
    squared = measured(coded)
    lengths = [Fraction(float((row.decode().astype(np.float64) ** 2).sum())) for row in coded]
    for i in range(6):
        for j in range(i):
            truth = python_distance(coded[i], coded[j])
            assert abs(Fraction(squared[i, j]) - truth) <= Fraction(1, 2**48) * (lengths[i] + lengths[j])


def test_the_largest_codes_do_not_leave_what_float32_holds_exactly():
    d = 1024 * 8
    codes = np.full((4, d), 127, np.int8)
    codes[1] = -127
    codes[2, ::2] = -127
    coded = [EncodedVector("int8", d, 1024, row, np.ones(8, np.float32)) for row in codes]
    assert np.array_equal(measured(coded), exact(codes))


DECIDE = """
import hashlib, numpy as np
from banyan.aggregation import build, encode
rng = np.random.default_rng(0)
x = (rng.normal(size=60_000) + rng.normal(size=(20, 60_000))).astype(np.float32)
for rows in (x, [encode(row, "int8") for row in x], [encode(row, "int4") for row in x]):
    for name in ("mean", "multi-krum", "nnm+multi-krum", "nnm+trimmed-mean", "geometric-median", "bulyan",
                 "centered-clipping", "median", "arc+krum"):
        print(name, hashlib.sha256(build(name, 4)(rows).vector.tobytes()).hexdigest())
"""


def test_the_number_of_threads_changes_no_bit():
    answers = []
    for threads in ("1", "2"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        run = subprocess.run([sys.executable, "-c", DECIDE], env=environment, capture_output=True, check=True)
        answers.append(run.stdout)
    assert answers[0] == answers[1]


@pytest.mark.parametrize("codec", [None, "bf16", "int8", "int4"])
def test_lengths_are_distances_from_the_origin(codec):
    x = np.random.default_rng(0).normal(size=(7, 3_000)).astype(np.float32)
    rows = Rows([encode(row, codec) for row in x] if codec else x)
    decoded = np.array(
        [row.decode() if isinstance(row, EncodedVector) else row for row in rows.rows], np.float64
    )
    assert np.allclose(lengths_from(origin(rows), rows), (decoded**2).sum(axis=1), rtol=1e-6)


def test_geometry_of_mixtures_follows_from_that_of_the_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 500)).astype(np.float32)
    rows = Rows(x)
    weights = rng.dirichlet(np.ones(8), size=5)
    weights[4] = weights[3]
    mixed = measure(rows.rows, rows).mixed(weights, 5)
    points = weights @ x[rows.order].astype(np.float64)
    assert np.allclose(mixed.squared, exact(points), rtol=1e-5, atol=1e-12)
    assert mixed.squared[4, 3] == 0
    around = points - points[mixed.centre]
    assert np.allclose(mixed.inner, around @ around.T, rtol=1e-5, atol=1e-4)


def test_choices_do_not_flip_between_rows_that_differ_by_a_millionth():
    rng = np.random.default_rng(3)
    base = rng.normal(size=30_000)
    x = (base + 1e-6 * rng.normal(size=(30, 30_000)) * rng.uniform(1, 2, size=(30, 1))).astype(np.float32)
    truth = np.sort(exact(x), axis=1)[:, 1 : 30 - 4 - 2 + 1].sum(axis=1)
    assert np.argmin(build("krum", 4)(x).scores) == np.argmin(truth)
