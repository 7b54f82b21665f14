"""Products of LoRA factors: judged and combined without forming them, whatever the gauge and the rank."""

from __future__ import annotations

import numpy as np
import pytest

from banyan.aggregation import AggregationError, NotFinite, TooFewInputs, build
from banyan.aggregation.lora import Factors, aggregate_products, product_distances

SHAPES = {"q": (40, 30), "v": (24, 30)}


def adapter(rng, rank=4):
    return {
        name: Factors(
            rng.normal(size=(out, rank)).astype(np.float32), rng.normal(size=(rank, inn)).astype(np.float32)
        )
        for name, (out, inn) in SHAPES.items()
    }


def turned(one, rng):
    """The same products from other factors: B·Q and Qᵀ·A with an orthogonal Q."""
    out = {}
    for name, (b, a) in one.items():
        q, r = np.linalg.qr(rng.normal(size=(b.shape[1], b.shape[1])))
        q *= np.sign(np.diagonal(r))  # uniform over all rotations, which bare QR is not
        out[name] = Factors((b @ q).astype(np.float32), (q.T @ a).astype(np.float32))
    return out


def product(one):
    return np.concatenate([(one[name].b.astype(np.float64) @ one[name].a).ravel() for name in sorted(one)])


def test_distances_are_those_of_the_products():
    rng = np.random.default_rng(0)
    some = [adapter(rng, rank) for rank in (2, 4, 4, 7)]
    flat = np.array([*map(product, some), np.zeros(len(product(some[0])))])
    expected = np.array([((flat - row) ** 2).sum(axis=1) for row in flat])
    assert np.allclose(product_distances(some), expected, rtol=1e-10, atol=1e-9)


def test_two_factorisations_of_one_product_are_at_distance_zero():
    rng = np.random.default_rng(0)
    one = adapter(rng)
    squared = product_distances([one, turned(one, rng)])
    assert squared[0, 1] < 1e-12 * squared[0, 2]  # float32 factors: 1e-7 of the length, squared


def test_small_differences_between_products_keep_their_digits():
    rng = np.random.default_rng(0)
    one = adapter(rng)
    other = {name: Factors(b.copy(), a) for name, (b, a) in one.items()}
    other["q"].b[3, 2] += np.float32(1e-6)
    step = float(other["q"].b[3, 2]) - float(one["q"].b[3, 2])
    expected = step**2 * float((one["q"].a[2].astype(np.float64) ** 2).sum())
    assert product_distances([one, other])[0, 1] == pytest.approx(expected, rel=1e-5)


def test_averaging_factors_is_wrong_by_most_of_the_product_and_averaging_products_is_not():
    rng = np.random.default_rng(0)
    one = adapter(rng)
    clients = [turned(one, rng) for _ in range(20)]
    by_factor = {
        name: Factors(
            np.mean([c[name].b for c in clients], axis=0), np.mean([c[name].a for c in clients], axis=0)
        )
        for name in one
    }
    error = np.linalg.norm(product(by_factor) - product(one)) / np.linalg.norm(product(one))
    assert error == pytest.approx(0.89, abs=0.1)
    result = aggregate_products(build("mean"), clients, rank=4)
    assert np.linalg.norm(product(result.adapter) - product(one)) < 1e-5 * np.linalg.norm(product(one))
    assert result.residual < 1e-5


def test_truncation_is_the_best_there_is_and_its_residual_is_reported():
    rng = np.random.default_rng(0)
    clients = [{"q": adapter(rng)["q"]} for _ in range(5)]
    exact = np.mean([c["q"].b.astype(np.float64) @ c["q"].a for c in clients], axis=0)
    lengths = np.linalg.svd(exact, compute_uv=False)
    for rank in (1, 4, 20, 64):
        result = aggregate_products(build("mean"), clients, rank)
        left = np.linalg.norm(result.adapter["q"].b @ result.adapter["q"].a - exact)
        assert left == pytest.approx(np.sqrt((lengths[rank:] ** 2).sum()), abs=1e-4)
        assert result.residual == pytest.approx(left / np.linalg.norm(exact), abs=1e-5)


def test_krum_in_product_space_is_not_fooled_by_gauges():
    rng = np.random.default_rng(0)
    fooled = 0
    for _ in range(10):
        target = adapter(rng)
        honest = []
        for _ in range(16):
            noisy = {
                n: Factors(b + 0.05 * rng.normal(size=b.shape).astype(np.float32), a)
                for n, (b, a) in target.items()
            }
            honest.append(turned(noisy, rng))
        evil = {n: Factors(-b, a) for n, (b, a) in target.items()}
        some = [*honest, evil, evil, evil, evil]
        flat = np.array([np.concatenate([m.ravel() for n in sorted(c) for m in c[n]]) for c in some])
        fooled += int(np.argmax(build("krum", 4)(flat).weights) >= 16)
        result = aggregate_products(build("krum", 4), some, rank=4)
        assert np.argmax(result.weights) < 16
        assert {16, 17, 18, 19} <= set(result.left_out)
    assert fooled == 10  # on the factors themselves


@pytest.mark.parametrize("name", ["multi-krum", "nnm+multi-krum", "geometric-median", "centered-clipping", "cge",
                                  "arc+geometric-median", "bucketing+multi-krum"])  # fmt: skip
def test_rules_on_factors_equal_rules_on_the_products(name):
    rng = np.random.default_rng(2)
    some = [adapter(rng, rank) for rank in (2, 3, 4, 4, 4, 5, 4, 2, 3, 4, 4, 4, 4)]
    dense = np.array([product(one) for one in some]).astype(np.float32)
    rule = build(name, 2)
    result = aggregate_products(rule, some, rank=48)
    if "bucketing" in name:
        assert np.isfinite(product(result.adapter)).all()
        return
    assert np.allclose(product(result.adapter), rule(dense).vector, atol=2e-4)
    assert np.allclose(result.weights, rule(dense).weights, atol=1e-5)


def test_order_of_the_adapters_changes_no_bit():
    rng = np.random.default_rng(2)
    some = [adapter(rng) for _ in range(7)]
    order = rng.permutation(7)
    first = aggregate_products(build("nnm+geometric-median", 2), some, 4)
    second = aggregate_products(build("nnm+geometric-median", 2), [some[i] for i in order], 4)
    assert all(first.adapter[n].b.tobytes() == second.adapter[n].b.tobytes() for n in SHAPES)
    assert np.array_equal(first.weights[order], second.weights)


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(0)
    some = [adapter(rng) for _ in range(5)]
    with pytest.raises(AggregationError, match="column by column"):
        aggregate_products(build("median", 1), some, 4)
    with pytest.raises(AggregationError, match="other targets"):
        aggregate_products(build("mean"), [*some, {"q": some[0]["q"]}], 4)
    with pytest.raises(AggregationError, match="another shape"):
        aggregate_products(build("mean"), [*some, {**some[0], "q": some[0]["v"]}], 4)
    with pytest.raises(AggregationError, match="nothing to aggregate"):
        aggregate_products(build("mean"), [], 4)
    with pytest.raises(AggregationError, match="rank 1"):
        aggregate_products(build("mean"), some, 0)
    with pytest.raises(TooFewInputs):
        aggregate_products(build("krum", 2), some, 4)
    some[3]["q"].b[0, 0] = np.nan
    with pytest.raises(NotFinite):
        aggregate_products(build("mean"), some, 4)
