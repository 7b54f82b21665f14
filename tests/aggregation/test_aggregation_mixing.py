"""Mixing rules against their definitions, and what a liar among the neighbours can do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from banyan.aggregation import (
    AggregationError,
    Balance,
    TooFewInputs,
    build,
    build_mixing,
    encode,
    mixing_rules,
)


def nna(own, x, f):
    nearest = np.argsort(np.linalg.norm(x - own, axis=1))[: len(x) - f]
    return np.mean([own, *x[nearest]], axis=0)


def clip(step, radius):
    return step * min(1.0, radius / max(np.linalg.norm(step), 1e-300))


def clipped_gossip(own, x, f):
    lengths = sorted(np.linalg.norm(x - own, axis=1))
    radius = math.sqrt(sum(v * v for v in lengths[: len(x) - f]) / f) if f else math.inf
    return own + sum(clip(row - own, radius) for row in x) / (len(x) + 1)


def clipped_sum(own, x, f):
    farthest = sorted(np.linalg.norm(x - own, axis=1), reverse=True)
    radius = farthest[2 * f] if f and len(x) > 2 * f else 0.0 if f else math.inf
    return own + sum(clip(row - own, radius) for row in x) / (len(x) + 1)


def balance(own, x, f):
    near = [row for row in x if np.linalg.norm(row - own) <= 0.3 * math.exp(-0.5) * np.linalg.norm(own)]
    return 0.5 * own + 0.5 * np.mean(near, axis=0) if near else own


ORACLES = {"nna": nna, "clipped-gossip": clipped_gossip, "cs+": clipped_sum, "balance": balance}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize(("n", "f"), [(1, 0), (4, 0), (4, 1), (4, 2), (9, 2), (12, 4)])
def test_mixing_rule_equals_its_definition(name, n, f):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        own = rng.normal(size=60) * 4
        x = own + rng.normal(size=(n, 60)) * rng.uniform(0.1, 1.5, size=(n, 1))
        own, x = own.astype(np.float32), x.astype(np.float32)
        result = mixing_rules()[name](f)(own, x, progress=0.5)
        expected = ORACLES[name](own.astype(np.float64), x.astype(np.float64), f)
        assert np.allclose(result.vector, expected, atol=2e-6)
        assert result.own + result.weights.sum() == pytest.approx(1)
        assert np.allclose(result.distances, np.linalg.norm(x - own, axis=1), rtol=1e-5)
        assert set(result.left_out) == set(np.flatnonzero(result.weights == 0))


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("codec", [None, "int8"])
def test_order_of_the_neighbours_changes_no_bit(name, codec):
    rng = np.random.default_rng(0)
    own = rng.normal(size=3000).astype(np.float32)
    x = list((own + rng.normal(size=(8, 3000))).astype(np.float32))
    if codec:
        own, x = encode(own, codec), [encode(row, codec) for row in x]
    order = rng.permutation(8)
    rule = mixing_rules()[name](2)
    first, second = rule(own, x), rule(own, [x[i] for i in order])
    assert first.vector.tobytes() == second.vector.tobytes()
    assert np.array_equal(first.weights[order], second.weights)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("size", [1e6, 1e30])
def test_a_liar_moves_the_node_no_further_than_an_honest_neighbour_could(name, size):
    rng = np.random.default_rng(0)
    own = rng.normal(size=200).astype(np.float32)
    honest = (own + 0.1 * rng.normal(size=(7, 200))).astype(np.float32)
    lies = np.full((2, 200), size, np.float32)
    moved = mixing_rules()[name](2)(own, np.concatenate([honest, lies])).vector - own
    assert np.linalg.norm(moved) < 2 * np.linalg.norm(honest - own, axis=1).max()


def test_a_node_with_no_acceptable_neighbour_keeps_to_itself():
    own = np.ones(50, np.float32)
    result = Balance()(own, np.full((3, 50), 9, np.float32))
    assert np.array_equal(result.vector, own)
    assert (result.own, result.left_out) == (1.0, (0, 1, 2))


@pytest.mark.parametrize("name", ["mean", "multi-krum", "geometric-median", "nnm+trimmed-mean", "median"])
@pytest.mark.parametrize("codec", [None, "int8"])
def test_a_pooled_rule_is_the_rule_with_the_node_as_one_more_input(name, codec):
    rng = np.random.default_rng(0)
    own = rng.normal(size=300).astype(np.float32)
    x = list((own + rng.normal(size=(7, 300)) * rng.uniform(0.1, 3, size=(7, 1))).astype(np.float32))
    x = [encode(row, codec) for row in x] if codec else x
    result, expected = build_mixing(name, f=1)(own, x), build(name, f=1)([own, *x])
    assert result.vector.tobytes() == expected.vector.tobytes()
    plain = np.array([row.decode() for row in x] if codec else x)
    assert np.allclose(result.distances, np.linalg.norm(plain - own, axis=1), rtol=1e-4)
    if expected.weights is None:
        assert (result.own, result.weights) == (None, None)
    else:
        assert result.own + result.weights.sum() == pytest.approx(1)
        assert set(result.left_out) == set(np.flatnonzero(result.weights == 0))


def test_a_pooled_rule_that_clips_clips_around_the_node():
    own = np.full(50, 100, np.float32)
    x = np.full((4, 50), 101, np.float32)
    moved = build_mixing("centered-clipping", f=1)(own, x).vector
    assert np.linalg.norm(moved - own) < 10


def test_a_pooled_rule_needs_one_neighbour_fewer_than_the_rule_inputs():
    rule = build_mixing("multi-krum", f=1)
    own, x = np.zeros(9, np.float32), np.eye(9, dtype=np.float32)
    assert rule.minimum_n == 4
    rule(own, x[:4])
    with pytest.raises(TooFewInputs, match="multi-krum"):
        rule(own, x[:3])


def test_mixing_rules_are_found_by_name_and_an_unknown_one_names_them_all():
    assert repr(build_mixing("cs+", f=2)) == "cs+(f=2)"
    with pytest.raises(AggregationError, match=r"'x'.*trimmed-mean.*nna, clipped-gossip, cs\+, balance"):
        build_mixing("nnm+x")
