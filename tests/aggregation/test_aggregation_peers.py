"""Agreement with ByzFL and Flower where they follow the papers; each is skipped where it is not installed."""

from __future__ import annotations

import numpy as np
import pytest

from banyan.aggregation import build

peers = pytest.importorskip("benchmarks.aggregation.peers", reason="run pytest from the repository's root")


def some_updates(n):
    return np.random.default_rng(n).normal(size=(n, 2_000)).astype(np.float32)


@pytest.mark.parametrize("rule", ["mean", "trimmed-mean", "median", "krum", "multi-krum"])
@pytest.mark.parametrize("n", [7, 11, 20])
def test_flower_agrees(rule, n):
    f = peers.malicious(rule, n)
    call = peers.flower_call(rule, some_updates(n), f)
    if call is None:
        pytest.skip("Flower is not installed")
    call.prepare()
    assert np.allclose(call(), build(rule, f)(some_updates(n)).vector, atol=1e-5)


@pytest.mark.parametrize(
    "rule", ["mean", "trimmed-mean", "median", "meamed", "multi-krum", "nnm+trimmed-mean"]
)
@pytest.mark.parametrize("n", [7, 11, 20])
def test_byzfl_agrees(rule, n):
    f = peers.malicious(rule, n)
    call = peers.byzfl_call(rule, some_updates(n), f)
    if call is None:
        pytest.skip("ByzFL is not installed")
    assert np.allclose(call(), build(rule, f)(some_updates(n)).vector, atol=1e-5)


def test_what_is_not_installed_is_named_with_its_cure():
    for sentence in peers.missing():
        assert "is not installed" in sentence
        assert "pip install" in sentence
