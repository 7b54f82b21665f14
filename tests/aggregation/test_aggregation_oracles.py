"""Every rule agrees with an oracle written from its paper's definition: slow, obvious, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from banyan.aggregation import build, encode

CASES = [
    (n, f) for n in (3, 4, 5, 7, 8, 11, 16, 21) for f in (0, 1, 2, 4) if n >= 4 * f + 3 or n == 2 * f + 3
]


def krum_score(x, i, f):
    others = sorted(float(((x[i] - x[j]) ** 2).sum()) for j in range(len(x)) if j != i)
    return sum(others[: max(1, len(x) - f - 2)])


def krum(x, f):
    return x[min(range(len(x)), key=lambda i: krum_score(x, i, f))]


def multi_krum(x, f):
    best = sorted(range(len(x)), key=lambda i: krum_score(x, i, f))[: len(x) - f]
    return x[best].mean(axis=0)


def trimmed_mean(x, f):
    return np.array([np.mean(sorted(column)[f : len(x) - f]) for column in x.T])


def median(x, f):
    return np.median(x, axis=0)


def meamed(x, f, kept=None):
    kept = len(x) - f if kept is None else kept
    out = []
    for column in x.T:
        middle = np.median(column)
        out.append(np.mean(sorted(sorted(column), key=lambda value: abs(value - middle))[:kept]))
    return np.array(out)


def geometric_median(x, f):
    """Subgradient-free: Weiszfeld smoothed ever less, from many starts' best, until nothing moves."""
    best = min(x, key=lambda p: sum(np.linalg.norm(x - p, axis=1)))
    v = x.mean(axis=0)
    for _ in range(3000):
        weights = 1 / np.maximum(np.linalg.norm(x - v, axis=1), 1e-12)
        v = weights @ x / weights.sum()

    def cost(p):
        return np.linalg.norm(x - p, axis=1).sum()

    return v if cost(v) <= cost(best) else best


def centered_clipping(x, f, steps=3):
    v = np.zeros(x.shape[1])
    for _ in range(steps):
        radius = np.median(np.linalg.norm(x - v, axis=1))
        v = v + np.mean(
            [(row - v) * min(1, radius / max(1e-300, np.linalg.norm(row - v))) for row in x], axis=0
        )
    return v


def bulyan(x, f):
    left, chosen = list(range(len(x))), []
    for _ in range(len(x) - 2 * f):
        rest = x[left]
        best = min(range(len(rest)), key=lambda i: krum_score(rest, i, f))
        chosen.append(left.pop(best))
    return meamed(x[chosen], f, kept=len(chosen) - 2 * f)


def comparative_elimination(x, f):
    return x[np.argsort(np.linalg.norm(x, axis=1))[: len(x) - f]].mean(axis=0)


def mean(x, f):
    return sum(x) / len(x)


def nnm(x, f):
    mixed = []
    for row in x:
        nearest = np.argsort(np.linalg.norm(x - row, axis=1))[: len(x) - f]
        mixed.append(x[nearest].mean(axis=0))
    return np.array(mixed)


def norm_clipping(x, f):
    lengths = np.linalg.norm(x, axis=1)
    return x * np.minimum(1, np.median(lengths) / lengths)[:, None]


def arc(x, f):
    n = len(x)
    lengths = np.linalg.norm(x, axis=1)
    radius = sorted(lengths)[n - math.floor(2 * f / n * (n - f)) - 1]
    return x * np.minimum(1, radius / lengths)[:, None]


ORACLES = {
    "mean": mean,
    "weighted-mean": mean,
    "krum": krum,
    "multi-krum": multi_krum,
    "trimmed-mean": trimmed_mean,
    "median": median,
    "meamed": meamed,
    "geometric-median": geometric_median,
    "centered-clipping": centered_clipping,
    "bulyan": bulyan,
    "cge": comparative_elimination,
}
BEFORE = {"nnm": nnm, "norm-clipping": norm_clipping, "arc": arc}


def some_updates(n, f, d, seed):
    """Honest rows around a common direction, f of them replaced by something else."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=d) + rng.normal(size=(n, d)) * rng.uniform(0.1, 3)
    if f:
        x[rng.permutation(n)[:f]] = rng.normal(size=(f, d)) * 10.0 ** rng.integers(-1, 4) - x.mean(axis=0)
    return x.astype(np.float32)


def in_canonical_order(x):
    """Ties go to the row that comes first by content, so an oracle that takes the first sees rows so."""
    return np.array(sorted(x, key=lambda row: row.tobytes()), np.float64)


def assert_close(ours, exact):
    scale = max(np.linalg.norm(exact), 1e-6)
    assert np.linalg.norm(ours - exact) <= 3e-6 * scale + 1e-6 * np.abs(exact).max()


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize(("n", "f"), CASES)
def test_rule_equals_its_definition(name, n, f):
    rule = build(name, f)
    if n < rule.minimum_n:
        pytest.skip("too few inputs for this rule")
    for seed in range(2 if name == "geometric-median" else 6):
        x = some_updates(n, f, 37, seed)
        assert_close(rule(x).vector, ORACLES[name](in_canonical_order(x), f))


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("name", ["mean", "multi-krum", "trimmed-mean", "median"])
@pytest.mark.parametrize(("n", "f"), [(5, 1), (8, 1), (11, 2), (21, 4)])
def test_chain_equals_its_definition(before, name, n, f):
    rule = build(f"{before}+{name}", f)
    for seed in range(4):
        x = some_updates(n, f, 37, seed)
        assert_close(rule(x).vector, ORACLES[name](BEFORE[before](in_canonical_order(x), f), f))


@pytest.mark.parametrize("codec", ["float32", "bf16", "int8", "int4"])
@pytest.mark.parametrize(
    "name", [*ORACLES, "nnm+multi-krum", "nnm+trimmed-mean", "bucketing+median", "arc+median"]
)
def test_encoded_updates_give_what_their_decoded_values_give(name, codec):
    rule = build(name, 2)
    coded = [encode(row, codec) for row in some_updates(13, 2, 5000, seed=3)]
    decoded = np.array([each.decode() for each in coded])
    assert_close(rule(coded).vector, rule(decoded).vector)


def test_bucketing_averages_every_input_once():
    x = some_updates(9, 1, 50, seed=5)
    assert_close(build("bucketing+mean", 1)(x[:8]).vector, x[:8].mean(axis=0, dtype=np.float64))


def test_even_median_is_the_mean_of_the_two_middle_values():
    x = np.array([[1], [2], [4], [100]], np.float32)
    assert build("median", 1)(x).vector[0] == 3


def test_krum_counts_n_minus_f_minus_two_neighbours():
    # With one neighbour more, as some libraries count, 10 would win: its third neighbour is nearer.
    x = np.array([[0.0], [0.1], [9.0], [10.0], [11.2]], np.float32)
    assert build("krum", 1)(x).scores.argmin() == min(
        range(5), key=lambda i: krum_score(x.astype(float), i, 1)
    )
