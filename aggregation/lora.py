"""LoRA adapters whose A and B are both trained: aggregated as the products B·A, without forming them.

Averaging the factors of adapters is not averaging the adapters: equal products can have different factors,
and (mean B)(mean A) is wrong by 20 to 90 % where they do. Robust rules that judge factors judge gauges. So
adapters are compared and combined here in the space of their products:

- One thin QR of all B side by side and one of all A above each other give orthonormal bases in which every
  product is a small core matrix; distances of cores are distances of products, to the last digits. (Inner
  products from r×r Gram matrices are cheaper and lose everything below differences of 1e-6.)
- The weighted sum of products is the weighted sum of cores; a truncated SVD of it gives the factors of the
  result, the best there are for the rank, and says what the truncation left behind.

Networks founded by Banyan do not need this: they share one frozen A, where everything is linear in B.
Adapters may differ in rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from .arithmetic import Matrix, total
from .errors import AggregationError
from .geometry import around_medoid
from .points import Points
from .rows import Float32s, Rows
from .rule import Rule


class Factors(NamedTuple):
    """One LoRA matrix ``ΔW = b @ a``: b float32 (rows_out, r), a float32 (r, cols_in)."""

    b: Float32s
    a: Float32s


Adapter: TypeAlias = Mapping[str, Factors]
"""The LoRA matrices of one adapter by the name of their target."""


@dataclass(frozen=True, eq=False)
class ProductAggregate:
    """A robust aggregate of products, factored again.

    - ``adapter``: factors of the asked-for rank (or less where the matrices are smaller).
    - ``residual``: the share of the aggregate's Frobenius norm that truncation to this rank left behind.
    - ``weights``, ``left_out``, ``scores``: as in :class:`banyan.aggregation.Aggregate`.
    """

    adapter: dict[str, Factors]
    residual: float
    weights: Matrix
    left_out: tuple[int, ...]
    scores: Matrix | None


def product_distances(adapters: Sequence[Adapter]) -> Matrix:
    """Squared Frobenius distances (n + 1, n + 1) between the products of n adapters; the last row is the
    distance from zero.

    Raises :class:`AggregationError` where adapters differ in targets or shapes other than the rank.

    >>> rng = np.random.default_rng(0)
    >>> b, a = rng.normal(size=(2, 6, 6)).astype(np.float32)
    >>> turned = {"w": Factors(b[:, ::-1], a[::-1])}
    >>> bool(product_distances([{"w": Factors(b, a)}, turned])[0, 1] < 1e-9)
    True
    """
    squared = np.zeros((len(adapters) + 1, len(adapters) + 1))
    for name in _targets(adapters):
        cores = _Cores([adapter[name] for adapter in adapters]).cores
        flat = np.concatenate([cores.reshape(len(cores), -1), np.zeros((1, cores[0].size))])
        squared += np.array([np.add.reduce((flat - row) ** 2, axis=1) for row in flat])
    return squared


def aggregate_products(rule: Rule, adapters: Sequence[Adapter], rank: int) -> ProductAggregate:
    """Apply a rule that gives weights (Krum, NNM, geometric median, ...) to the products of n adapters.

    The result has rank ``rank``. Cost: for each target, two QR of matrices with Σ rᵢ columns.
    Raises :class:`AggregationError` for rules that work column by column (a product's columns depend on no
    basis, but what they would trim does), and wherever the rule does.

    >>> from banyan.aggregation import GeometricMedian
    >>> rng = np.random.default_rng(0)
    >>> some = [{"w": Factors(*rng.normal(size=(2, 4, 4)).astype(np.float32))} for _ in range(5)]
    >>> result = aggregate_products(GeometricMedian(f=1), some, rank=4)
    >>> result.adapter["w"].b.shape, result.residual < 1e-6
    ((4, 4), True)
    """
    if rank < 1:
        raise AggregationError(f"an adapter has at least rank 1, not {rank}")
    names = _targets(adapters)
    rows = Rows(_flattened(adapters, names))
    rows.refuse_nonfinite()
    rule.check(rows.n)
    ordered = [adapters[i] for i in rows.order]
    squared = product_distances(ordered)
    shares, scores = rule.decide(Points.measured(rows, around_medoid(squared, rows.n)))
    used, kept, whole = {}, 0.0, 0.0
    for name in names:
        factors, lengths = _Cores([adapter[name] for adapter in ordered]).combined(shares[: rows.n], rank)
        used[name] = factors
        whole += total(lengths**2)
        kept += total(lengths[:rank] ** 2)
    residual = float(np.sqrt(max(0.0, 1 - kept / whole))) if whole else 0.0
    return ProductAggregate(used, residual, *_back(shares, scores, rows))


def nearest(factors: Factors, rank: int) -> tuple[Factors, Matrix]:
    """Factors of at most ``rank`` whose product is closest to that of ``factors``, and all singular values of it."""
    return _Cores([factors]).combined(np.ones(1), rank)


class _Cores:
    """n products of one target as small matrices in common orthonormal bases."""

    def __init__(self, factors: Sequence[Factors]) -> None:
        ends = np.cumsum([f.b.shape[1] for f in factors])[:-1]
        self._left, left = np.linalg.qr(np.concatenate([f.b for f in factors], axis=1).astype(np.float64))
        self._right, right = np.linalg.qr(np.concatenate([f.a for f in factors], axis=0).T.astype(np.float64))
        pairs = zip(np.split(left, ends, axis=1), np.split(right, ends, axis=1), strict=True)
        self.cores: Matrix = np.stack([b @ a.T for b, a in pairs])

    def combined(self, weights: Matrix, rank: int) -> tuple[Factors, Matrix]:
        """Factors of the weighted sum, truncated to ``rank``, and all its singular values."""
        core = np.add.reduce(self.cores * weights[:, None, None], axis=0)
        u, lengths, v = np.linalg.svd(core, full_matrices=False)
        root = np.sqrt(lengths[:rank])
        b = (self._left @ (u[:, :rank] * root)).astype(np.float32)
        a = ((root[:, None] * v[:rank]) @ self._right.T).astype(np.float32)
        return Factors(b, a), lengths


def _targets(adapters: Sequence[Adapter]) -> list[str]:
    """The targets' names, sorted, after checking that all adapters have them in the same shapes."""
    if not adapters:
        raise AggregationError("there is nothing to aggregate: pass at least one adapter")
    first = adapters[0]
    for i, adapter in enumerate(adapters):
        if set(adapter) != set(first):
            raise AggregationError(f"adapter {i} has other targets than adapter 0")
        for name, (b, a) in adapter.items():
            same_rank = b.ndim == a.ndim == 2 and b.shape[1] == a.shape[0]
            if not same_rank or b.dtype != np.float32 or a.dtype != np.float32:
                raise AggregationError(f"adapter {i}, {name}: factors are float32 (out, r) and (r, in)")
            if (b.shape[0], a.shape[1]) != (first[name].b.shape[0], first[name].a.shape[1]):
                raise AggregationError(f"adapter {i}, {name}: the product has another shape than adapter 0's")
    return sorted(first)


def _flattened(adapters: Sequence[Adapter], names: Sequence[str]) -> list[Float32s]:
    """The numbers of each adapter in one row, factors padded with zeros to the largest rank, so that rows
    tell adapters apart whatever their ranks."""
    rows = []
    for adapter in adapters:
        parts = []
        for name in names:
            rank = max(each[name].b.shape[1] for each in adapters)
            b, a = adapter[name]
            missing = rank - b.shape[1]
            parts += [np.pad(b, ((0, 0), (0, missing))).ravel(), np.pad(a, ((0, missing), (0, 0))).ravel()]
        rows.append(np.concatenate(parts))
    return rows


def _back(shares: Matrix, scores: Matrix | None, rows: Rows) -> tuple[Matrix, tuple[int, ...], Matrix | None]:
    """Weights, left-out positions and scores in the order of the inputs."""
    weights, judged = np.empty(rows.n), None
    weights[rows.order] = shares[: rows.n]
    if scores is not None:
        judged = np.empty(rows.n)
        judged[rows.order] = scores
    return weights, tuple(np.flatnonzero(weights == 0).tolist()), judged
