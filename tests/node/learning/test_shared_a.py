"""The network's shared A: orthonormal, the same everywhere, strictly loaded."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.node.learning.errors import AdapterError
from banyan.node.learning.shared_a import draw, from_bytes, to_bytes
from banyan.security.model import TensorSpec

TENSORS = (TensorSpec("layers.0.down", 16, 40), TensorSpec("layers.0.up", 40, 16))


def test_rows_are_orthonormal() -> None:
    for a in draw(1, 16, TENSORS).values():
        assert a.dtype == np.float32
        np.testing.assert_allclose(a.astype(np.float64) @ a.T, np.eye(16), atol=1e-6)


def test_every_machine_draws_these_bits() -> None:
    """A changed hash means that two versions of Banyan could not share a network."""
    blob = to_bytes(draw(20261122, 16, TENSORS))
    assert (
        hashlib.sha256(blob).hexdigest() == "34a99b4c2f1f718f63d660b2794f9235ee41ada4aad513f1970018a0785ecfd7"
    )


def test_another_seed_or_name_gives_another_a() -> None:
    one = draw(1, 4, TENSORS)["layers.0.down"]
    assert not np.allclose(one, draw(2, 4, TENSORS)["layers.0.down"])
    assert not np.allclose(one, draw(1, 4, (TensorSpec("layers.1.down", 16, 40),))["layers.1.down"])


def test_a_tensor_does_not_depend_on_the_others() -> None:
    together, alone = draw(3, 4, TENSORS), draw(3, 4, TENSORS[1:])
    np.testing.assert_array_equal(together["layers.0.up"], alone["layers.0.up"])


def test_more_rows_than_inputs_are_refused_with_the_largest_rank() -> None:
    with pytest.raises(AdapterError, match=r"layers.0.up has 16 inputs.*rank of at most 16"):
        draw(1, 17, TENSORS)


@given(st.integers(0, 2**32), st.integers(1, 16))
def test_distances_between_adapters_are_distances_between_models(seed: int, rank: int) -> None:
    a = draw(5, rank, TENSORS)["layers.0.down"].astype(np.float64)
    b = np.random.default_rng(seed).normal(size=(2, 16, rank))
    in_adapters = np.linalg.norm(b[0] - b[1])
    in_models = np.linalg.norm(b[0] @ a - b[1] @ a)
    assert abs(in_adapters - in_models) <= 1e-5 * in_adapters


def test_what_is_written_is_read_back_exactly() -> None:
    drawn = draw(9, 8, TENSORS)
    read = from_bytes(to_bytes(drawn), 8, TENSORS)
    assert all(np.array_equal(read[name], drawn[name]) for name in drawn)


@pytest.mark.parametrize("spoil", ["rank", "missing", "extra", "dtype", "nan", "cut", "garbage"])
def test_an_a_that_is_not_the_charters_is_refused(spoil: str) -> None:
    matrices = draw(9, 8, TENSORS)
    rank, tensors = 8, TENSORS
    if spoil == "rank":
        rank = 4
    elif spoil == "missing":
        matrices.pop("layers.0.up")
    elif spoil == "extra":
        tensors = TENSORS[:1]
    elif spoil == "nan":
        matrices["layers.0.up"][0, 0] = np.nan
    data = to_bytes(matrices)
    if spoil == "dtype":
        from safetensors.numpy import save

        data = save({name: a.astype(np.float64) for name, a in matrices.items()})
    elif spoil == "cut":
        data = data[:-4]
    elif spoil == "garbage":
        data = b"\xff" * 100
    with pytest.raises(AdapterError):
        from_bytes(data, rank, tensors)
