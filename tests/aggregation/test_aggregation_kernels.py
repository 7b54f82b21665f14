"""The compiled kernel and NumPy give the same bits, and the kernel refuses what it cannot run."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banyan.aggregation import build
from banyan.aggregation.column_program import COMBINE, ColumnProgram, Draft
from banyan.aggregation.compiled import kernels
from banyan.aggregation.meamed import closest_to_median
from banyan.aggregation.median import middle
from banyan.aggregation.points import weighted_sum
from banyan.aggregation.trimmed_mean import trimmed

compiled = pytest.mark.skipif(kernels is None, reason="the compiled kernel was not built, or is switched off")

LARGEST = float(np.finfo(np.float32).max)
PROGRAMS = {
    "trimmed-mean": lambda n, rng: trimmed(n, (n - 1) // 3),
    "median": lambda n, rng: middle(n),
    "meamed": lambda n, rng: closest_to_median(n, n - (n - 1) // 2),
    "mean": lambda n, rng: weighted_sum((1 / n,) * n),
    "weighted-mean": lambda n, rng: weighted_sum(
        tuple(rng.dirichlet(np.ones(n)).astype(np.float32).tolist())
    ),
}


def some_rows(rng, n, width, kind):
    """Rows with what floats are made of: ties, zeros of both signs, the smallest and the largest."""
    if kind == "few values":
        return rng.choice(np.float32([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45]), (n, width))
    scale = {"plain": 1, "tiny": 1e-42, "huge": 1e38}[kind]
    return (rng.standard_normal((n, width)).clip(-3, 3) * scale).astype(np.float32)


def some_mix(rng, n):
    """Mixtures of n rows: equal shares, unequal ones, and rows passed on as they are."""
    mix = np.where(rng.random((n, n)) < 0.6, np.float32(1 / n), np.float32(0))
    for row in mix[rng.random(n) < 0.5]:
        row[:] = rng.dirichlet(np.ones(n))
    for i in np.flatnonzero(rng.random(n) < 0.3):
        mix[i] = np.eye(n)[rng.integers(n)]
    return mix.astype(np.float32)


@compiled
@pytest.mark.parametrize("name", PROGRAMS)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 27),
    width=st.integers(1, 700),
    kind=st.sampled_from(["plain", "few values", "tiny", "huge"]),
    mixed=st.booleans(),
    shift=st.integers(0, 3),
)
def test_the_compiled_kernel_and_numpy_give_the_same_bits(name, seed, n, width, kind, mixed, shift):
    rng = np.random.default_rng(seed)
    program = PROGRAMS[name](n, rng)
    if mixed:
        program = program.after(some_mix(rng, n))
    rows = [row[shift:] for row in some_rows(rng, n, width + shift, kind)]
    outs = np.full((2, width), 7, np.float32)
    good = program.run_compiled(rows, outs[0]), program.run_numpy(rows, outs[1])
    assert good[0] == good[1]
    if good[0]:
        assert outs[0].tobytes() == outs[1].tobytes()
        assert not np.signbit(outs[0][outs[0] == 0]).any()
    for out in outs:
        program.run_wide(rows, out)
    assert outs[0].tobytes() == outs[1].tobytes()
    assert np.isfinite(outs).all()


HASHES = """
import hashlib, sys, numpy as np
from banyan.aggregation import build, encode
from banyan.aggregation.compiled import kernels
rng = np.random.default_rng(0)
x = (rng.normal(size=30_001) + rng.normal(size=(13, 30_001))).astype(np.float32)
wide = np.repeat(x, 2, axis=1)
kinds = {"plain": x, "strided": wide[:, ::2], "unaligned": [
    np.frombuffer(b"-" + row.tobytes(), np.uint8)[1:].view(np.float32) for row in x]}
kinds |= {codec: [encode(row, codec) for row in x] for codec in ("bf16", "int8", "int4")}
for kind, rows in kinds.items():
    for name in sys.argv[1:]:
        if kind in ("int8", "int4") or name in ("mean", "trimmed-mean", "median", "meamed"):
            print(kind, name, hashlib.sha256(build(name, 2)(rows).vector.tobytes()).hexdigest())
print(kernels is not None, file=sys.stderr)
"""


@compiled
def test_rules_give_the_same_bits_without_the_kernel():
    names = ["mean", "trimmed-mean", "median", "meamed", "bulyan", "nnm+trimmed-mean", "arc+median",
             "bucketing+trimmed-mean", "geometric-median", "norm-clipping+nnm+meamed"]  # fmt: skip
    found = {}
    for setting in ("on", "off"):
        run = subprocess.run(
            [sys.executable, "-c", HASHES, *names], env={**os.environ, "BANYAN_KERNELS": setting},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert run.stderr.strip().endswith(str(setting == "on"))
        found[setting] = run.stdout.splitlines()
    assert found["on"] == found["off"]
    assert len(found["on"]) == 4 * 4 + 2 * len(names)


@compiled
def test_an_array_is_taken_whole_in_the_order_that_is_given():
    x = np.random.default_rng(3).standard_normal((5, 1000), dtype=np.float32)
    program, order = weighted_sum((0.1, 0.2, 0.3, 0.4, 0.5)), [4, 0, 3, 1, 2]
    one, other = np.empty((2, 1000), np.float32)
    assert program.run_compiled((x, order), one)
    assert program.run_compiled([x[i] for i in order], other)
    assert one.tobytes() == other.tobytes()


@compiled
@pytest.mark.parametrize("p", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("d", [1, 7, 1024, 3001])
def test_inner_products_are_those_of_the_centred_rows(p, d):
    rng = np.random.default_rng(p * d)
    x = (10 + rng.standard_normal((p, d))).astype(np.float32)
    sums = np.ones((p, p))
    kernels.add_inner_products(list(x), p // 2, sums)
    apart = (x - x[p // 2]).astype(np.float64)
    lengths = np.sqrt((apart**2).sum(axis=1))
    error = np.abs(sums - 1 - apart @ apart.T)[np.triu_indices(p)]
    assert np.all(error <= 1e-6 * np.multiply.outer(lengths, lengths)[np.triu_indices(p)])


@compiled
def test_the_kernel_refuses_what_it_cannot_run():
    packed = trimmed(3, 1)._packed
    whole, out = np.ones((3, 8), np.float32), np.empty(8, np.float32)
    x = list(whole)
    bad_slot = ColumnProgram(3, 1, *sum_of_one(slot=99))._packed
    steps, terms, factors, inputs, buffers, strip, check = packed
    for program, rows, result in [
        (packed, x[:2], out),
        (packed, [*x[:2], x[2][:7]], out),
        (packed, x, out[:7]),
        (packed, [], out),
        (packed, tuple(x), out),
        (packed, (whole, [0, 1]), out),
        (packed, (whole, [0, 1, 3]), out),
        (packed, (whole, [0, 1, -1]), out),
        (packed, (whole, []), out),
        (packed, (whole, 3), out),
        (packed, (whole[:2], [0, 1, 2]), out),
        (bad_slot, x, out),
        ((steps, terms, factors, inputs, -1, strip, check), x, out),
        ((steps, terms, factors, inputs, buffers, 0, check), x, out),
        ((steps, terms, 2 * factors, inputs, buffers, strip, check), x, out),
    ]:
        with pytest.raises(ValueError):
            kernels.run(*program, rows, result)
    with pytest.raises(TypeError):
        kernels.run(*packed, (whole, ["0", 1, 2]), out)
    with pytest.raises((ValueError, BufferError)):
        kernels.run(*packed, (np.ones((3, 16), np.float32)[:, ::2], [0, 1, 2]), out)
    with pytest.raises((ValueError, BufferError)):
        kernels.run(*packed, [row[::2] for row in np.ones((3, 16), np.float32)], out)
    with pytest.raises(ValueError):
        kernels.add_inner_products(x, 3, np.zeros((3, 3)))
    with pytest.raises(ValueError):
        kernels.add_inner_products(x, 0, np.zeros((2, 2)))


def sum_of_one(slot):
    """The steps, terms and factors of a sum of one row that is in ``slot``."""
    program = weighted_sum((1.0,))
    return program.steps, np.array([slot], np.int32), program.factors


def test_a_draft_leaves_out_what_the_result_does_not_need():
    comparisons = trimmed(20, 4).steps["op"] != COMBINE
    assert np.count_nonzero(comparisons) == 160
    draft = Draft(3)
    draft.minimum(0, 1)
    program = draft.finish(draft.combine([draft.maximum(1, 2)]))
    assert len(program.steps) == 2
    assert program.buffers == 1


def test_sums_beyond_float32_are_done_in_float64_where_they_are():
    x = np.full((7, 3), LARGEST, np.float32)
    x[:, 1] = np.arange(7)
    x[3:, 2] = -LARGEST
    for name in ("mean", "trimmed-mean", "nnm+trimmed-mean"):
        result = build(name, 1)(x).vector
        assert result[0] == np.float32(LARGEST)
        assert abs(result[1] - 3) < 1e-6
        assert np.isfinite(result[2])
