"""Close a round, or check how another node closed it. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from banyan.aggregation import build, encode
from banyan.aggregation.strips import aggregate_strips, column_groups, strip
from banyan.node.learning.blobs import Blobs, read_blob, write_float32
from banyan.node.learning.errors import AdapterError
from banyan.node.learning.layout import Vector
from banyan.protocol.delta import Delta
from banyan.protocol.effects import Aggregate, Aggregated, Input
from banyan.security.admission import clip_factors, norm
from banyan.security.model import AdapterSpec

Vector64: TypeAlias = NDArray[np.float64]

AGREEMENT = 1e-6
"""Two nodes agree if the norm of their changes' difference is at most this share of the change's norm. Choices are
exact on every machine; only the last bits of sums may differ between matrix libraries."""


def aggregate(job: Aggregate, *, blobs: Blobs, spec: AdapterSpec) -> Aggregated:
    """Clip, apply the rule, add to the base; write the change and the new adapter as float32 blobs.

    Columns of B that some devices did not train are clipped and judged over those that did
    (:mod:`banyan.aggregation.strips`). Where these are fewer than ``job.least`` or the rule's own minimum the columns
    stay as they are, and ``narrowed_to`` says how many moved.

    Where ``job.expected`` is given and agrees, ``change`` *is* that blob and ``adapter`` is built on it (one
    float32 addition, the same bits everywhere), so every cosigner names the leader's digests. Where it does not
    agree, both are this node's own.

    Raises ``AggregationError`` (too few inputs for the rule and f, …), :class:`AdapterError`, ``DeltaRefused``.
    """
    inputs = sorted(job.inputs, key=lambda each: each.key)
    if len({each.key for each in inputs}) != len(inputs):
        raise AdapterError("Two inputs of one aggregation have the same key")
    whole = _aggregate(job, [_change(each, blobs, spec) for each in inputs], spec)
    change, agrees, error = whole.change, None, 0.0
    if job.expected is not None:
        theirs = read_blob(blobs, job.expected, spec).whole(spec)
        error = _relative_error(change, theirs)
        agrees = error <= AGREEMENT
        change = theirs if agrees else change
    above = read_blob(blobs, job.base, spec).whole(spec) if job.base is not None else 0
    change_digest, change_size = write_float32(blobs, change, spec)
    adapter_digest, adapter_size = write_float32(blobs, np.add(above, change, dtype=np.float32), spec)
    weights = None
    if whole.shares is not None:
        weights = {each.key: float(share) for each, share in zip(inputs, whole.shares, strict=True)}
    return Aggregated(
        branch=job.branch,
        height=job.height,
        job=job.job,
        change=change_digest,
        change_size=change_size,
        adapter=adapter_digest,
        adapter_size=adapter_size,
        weights=weights,
        clipped=tuple(each.key for at, each in enumerate(inputs) if at in whole.clipped),
        agrees=agrees,
        error=error,
        narrowed_to=whole.moved if whole.moved < spec.rank else 0,
    )


@dataclass(frozen=True)
class _Whole:
    """The aggregate of all columns: the ``change``, zero beyond its first ``moved`` columns, the ``shares`` of the
    inputs in what moved (None where the rule gives none) and the positions of those that were shortened anywhere."""

    change: Vector
    moved: int
    shares: Vector64 | None
    clipped: frozenset[int]


def _aggregate(job: Aggregate, deltas: Sequence[Delta], spec: AdapterSpec) -> _Whole:
    """Clip and apply the rule in each group of columns. Where all trained all there is one group: the whole vectors."""
    rule = build(job.rule, job.f)
    change = np.zeros((spec.dimension // spec.rank, spec.rank), np.float32)
    shares = np.zeros(len(deltas))
    moved, clipped, is_weighed = 0, set[int](), True
    for group in column_groups([delta.rank for delta in deltas]):
        if moved and len(group.members) < max(job.least, rule.minimum_n):
            break  # the next groups have fewer still
        strips = [strip(deltas[at].vector, deltas[at].rank, group) for at in group.members]
        factors = clip_factors([norm(each) for each in strips], job.clip)
        shortened = [
            each.scaled(factor) if factor < 1 else each for each, factor in zip(strips, factors, strict=True)
        ]
        result = aggregate_strips(rule, shortened)
        width = group.stop - group.start
        change[:, group.start : group.stop] = result.vector.reshape(-1, width)
        clipped.update(at for at, factor in zip(group.members, factors, strict=True) if factor < 1)
        if result.weights is None:
            is_weighed = False
        else:
            shares[list(group.members)] += result.weights * width
        moved = group.stop
    return _Whole(change.ravel(), moved, shares / moved if is_weighed else None, frozenset(clipped))


def _change(each: Input, blobs: Blobs, spec: AdapterSpec) -> Delta:
    """An input as a change: a delta as it was signed, or the float32 difference of two adapters."""
    delta = read_blob(blobs, each.blob, spec)
    if each.minus is None:
        return delta
    change = delta.whole(spec) - read_blob(blobs, each.minus, spec).whole(spec)
    return Delta(encode(change, "float32"), b"", spec.rank)


def _relative_error(mine: Vector, theirs: Vector) -> float:
    apart = float(np.linalg.norm(mine.astype(np.float64) - theirs))
    size = float(np.linalg.norm(mine.astype(np.float64)))
    return apart / size if size else float(apart > 0)
