"""Rows on an accelerator are worked on there. Tensors on the processor stand in for those beyond: wrapped as
rows of a device they take the same way."""

from __future__ import annotations

import numpy as np
import pytest

from banyan.aggregation import NotFinite, build, mixing_rules, rules
from banyan.aggregation.centred_distances import measure_floats
from banyan.aggregation.device import DeviceRow
from banyan.aggregation.rows import Rows

torch = pytest.importorskip("torch")

CHAINS = ["nnm+trimmed-mean", "nnm+multi-krum", "arc+median", "bucketing+meamed", "norm-clipping+mean"]
SAME_BITS = ["mean", "trimmed-mean", "median", "meamed"]


class Watched(DeviceRow):
    """A row that counts the columns that were copied to the processor before the result."""

    copied = 0

    def decode(self, start=0, stop=None, out=None):
        piece = super().decode(start, stop, out)
        self.copied += len(piece)
        return piece


def some_rows(n=13, d=20_001, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=d) + rng.normal(size=(n, d))
    x[2], x[5] = -3 * x[2], 40 * x[5]
    return x.astype(np.float32)


def beyond(x):
    return [Watched(torch.from_numpy(row)) for row in x]


@pytest.mark.parametrize("name", [*rules(), *CHAINS])
def test_a_rule_gives_on_the_device_what_it_gives_on_the_processor(name):
    x, rule = some_rows(), build(name, 2)
    expected, rows = rule(x), beyond(x)
    found = rule(rows)
    assert isinstance(found.vector, np.ndarray)
    assert np.allclose(found.vector, expected.vector, rtol=1e-5, atol=1e-6)
    assert found.left_out == expected.left_out
    if name in SAME_BITS:
        assert found.vector.tobytes() == expected.vector.tobytes()
    assert max(row.copied for row in rows) <= 64 + 512 + 256  # what orders, centres and draws lots


@pytest.mark.parametrize("name", mixing_rules())
def test_a_mixing_rule_takes_rows_of_the_device(name):
    x, rule = some_rows(), mixing_rules()[name](2)
    expected, found = rule(x[0], x[1:]), rule(x[0], beyond(x[1:]))
    assert np.allclose(found.vector, expected.vector, rtol=1e-5, atol=1e-6)
    assert np.allclose(found.distances, expected.distances, rtol=1e-6)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])
def test_distances_keep_five_digits_at_any_scale_and_whatever_torch_is_told(scale, precision):
    rng = np.random.default_rng(1)
    x = ((rng.normal(size=5_000) + 1e-3 * rng.normal(size=(9, 5_000))) * scale).astype(np.float32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        rows = Rows(beyond(x))
        squared = measure_floats(rows.rows, rows).squared
    finally:
        torch.set_float32_matmul_precision(before)
    ordered = x[rows.order].astype(np.float64)
    exact = ((ordered[:, None] - ordered[None]) ** 2).sum(axis=2)
    apart = exact > 0
    assert np.all(np.abs(squared - exact)[apart] <= 1e-5 * exact[apart])


@pytest.mark.parametrize("name", ["mean", "median", "krum", "nnm+trimmed-mean", "cge"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_of_the_device_that_are_not_finite_are_refused_by_index(name, value):
    x = some_rows(d=3_000)
    x[4, 2_000] = value
    with pytest.raises(NotFinite) as refusal:
        build(name, 2)(beyond(x))
    assert refusal.value.rows == (4,)


def test_sums_beyond_float32_on_the_device_stay_finite():
    x = np.full((7, 100), np.finfo(np.float32).max, np.float32)
    assert np.array_equal(build("mean")(beyond(x)).vector, x[0])


@pytest.mark.parametrize("name", ["mean", "multi-krum", "trimmed-mean"])
def test_rows_of_the_processor_may_stand_beside_those_of_the_device(name):
    x, rule = some_rows(), build(name, 2)
    mixed = [x[0], *beyond(x[1:])]
    assert np.allclose(rule(mixed).vector, rule(x).vector, rtol=1e-5, atol=1e-6)
