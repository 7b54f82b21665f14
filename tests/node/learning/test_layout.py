"""The flat vector of an adapter and its matrices."""

from __future__ import annotations

import numpy as np
import pytest

from banyan.node.learning.errors import AdapterError
from banyan.node.learning.layout import Layout
from banyan.security.model import AdapterSpec, TensorSpec

TENSORS = (TensorSpec("b", 3, 8), TensorSpec("a", 2, 8))


def test_matrices_lie_in_the_order_of_their_names() -> None:
    vector = np.arange(10, dtype=np.float32)
    matrices = Layout(2, TENSORS).split(vector)
    np.testing.assert_array_equal(matrices["a"], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(matrices["b"], [[4, 5], [6, 7], [8, 9]])


def test_join_undoes_split() -> None:
    layout = Layout(2, TENSORS)
    vector = np.random.default_rng(0).normal(size=10).astype(np.float32)
    np.testing.assert_array_equal(layout.join(layout.split(vector)), vector)


def test_it_agrees_with_the_charter_on_the_dimension() -> None:
    spec = AdapterSpec(2, 1.0, 0, bytes(32), 0, tuple(sorted(TENSORS, key=lambda t: t.name)))
    assert Layout(2, TENSORS).dimension == spec.dimension == 10


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m.pop("a"), "'a'"),
        (lambda m: m.update(c=m["a"]), "'c'"),
        (lambda m: m.update(a=m["a"].T[:1]), "B of a"),
    ],
)
def test_other_matrices_than_the_specs_are_refused_by_name(change, named: str) -> None:
    layout = Layout(2, TENSORS)
    matrices = layout.split(np.zeros(10, np.float32))
    change(matrices)
    with pytest.raises(AdapterError, match=named):
        layout.join(matrices)


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(AdapterError, match="10 numbers, not 9"):
        Layout(2, TENSORS).split(np.zeros(9, np.float32))
