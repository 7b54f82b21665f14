"""Memory is bounded by a block whatever the inputs; memory maps are given back while they are read."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from banyan.aggregation import build, encode, rules
from banyan.aggregation.rows import Rows

MEGABYTE = 1 << 20
CHAINS = ["nnm+trimmed-mean", "nnm+multi-krum", "bucketing+median", "arc+geometric-median"]


def extra_memory(rule, updates):
    """Bytes allocated at the peak of a call, the vector it returns included."""
    tracemalloc.start()
    try:
        rule(updates)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", [*rules(), *CHAINS])
def test_extra_memory_is_bounded_for_many_encoded_rows(name):
    # 44 rows of 400,000 numbers share their codes, so the test itself stays small.
    coded = encode(np.random.default_rng(0).normal(size=400_000).astype(np.float32), "int8")
    rows = [coded.scaled(1 + i / 50) for i in range(44)]
    assert extra_memory(build(name, 10), rows) < 64 * MEGABYTE + 4 * 400_000


@pytest.mark.parametrize("name", ["mean", "trimmed-mean", "multi-krum", "nnm+median"])
def test_extra_memory_does_not_grow_with_the_inputs(name):
    row = np.random.default_rng(0).normal(size=1_500_000).astype(np.float32)
    short, long = ([piece * np.float32(1 + i / 9) for i in range(9)] for piece in (row[:300_000], row))
    rule = build(name, 1)
    growth = extra_memory(rule, long) - extra_memory(rule, short)
    assert growth < 4 * 1_200_000 + MEGABYTE  # the vector itself and little else


def test_memory_maps_give_what_arrays_give(tmp_path):
    x = np.random.default_rng(0).normal(size=(7, 10_000)).astype(np.float32)
    maps = []
    for i, row in enumerate(x):
        row.tofile(tmp_path / f"{i}.f32")
        maps.append(np.memmap(tmp_path / f"{i}.f32", np.float32, "r"))
    x.tofile(tmp_path / "all.f32")
    whole = np.memmap(tmp_path / "all.f32", np.float32, "r", shape=(7, 10_000))
    for name in ("mean", "nnm+trimmed-mean", "multi-krum"):
        expected = build(name, 1)(x).vector
        assert np.array_equal(build(name, 1)(maps).vector, expected)
        assert np.array_equal(build(name, 1)(whole).vector, expected)


def resident_megabytes():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def test_pages_of_memory_maps_are_given_back_while_reading(tmp_path):
    try:
        resident_megabytes()
    except OSError:
        pytest.skip("this system does not tell a process's memory in /proc/self/status")
    rows = []
    for i in range(6):
        np.full(4_000_000, i, np.float32).tofile(tmp_path / f"{i}.f32")
        rows.append(np.memmap(tmp_path / f"{i}.f32", np.float32, "r"))
    before, most = resident_megabytes(), 0.0
    for _ in Rows(rows).blocks(100_000):
        most = max(most, resident_megabytes())
    assert most - before < 48  # of 96 MB


def test_a_private_map_keeps_what_was_written_to_it(tmp_path):
    np.zeros(3_000_000, np.float32).tofile(tmp_path / "x.f32")
    mine = np.memmap(tmp_path / "x.f32", np.float32, "c")
    mine[:] = 5
    assert build("mean")([mine] * 3).vector[0] == 5
    assert mine[0] == 5
    assert mine[-1] == 5
