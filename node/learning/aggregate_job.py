"""Close a round, or check how another node closed it. Numpy only."""

from __future__ import annotations

import numpy as np

from banyan.aggregation import EncodedVector, build, encode
from banyan.node.learning.blobs import Blobs, read_blob, write_float32
from banyan.node.learning.directions import directions
from banyan.node.learning.errors import AdapterError
from banyan.node.learning.layout import Vector
from banyan.protocol.effects import Aggregate, Aggregated, Direction, Input
from banyan.security.admission import clip_factors, norm
from banyan.security.model import AdapterSpec

AGREEMENT = 1e-6
"""Two nodes agree if the norm of their changes' difference is at most this share of the change's norm. Choices are
exact on every machine; only the last bits of sums may differ between matrix libraries."""


def aggregate(job: Aggregate, *, blobs: Blobs, spec: AdapterSpec) -> Aggregated:
    """Clip, apply the rule, add to the base; write the change and the new adapter as float32 blobs.

    Where ``job.expected`` is given and agrees, ``change`` *is* that blob and ``adapter`` is built on it (one
    float32 addition, the same bits everywhere), so every cosigner names the leader's digests. Where it does not
    agree, both are this node's own.

    Raises ``AggregationError`` (too few inputs for the rule and f, …), :class:`AdapterError`, ``DeltaRefused``.
    """
    inputs = sorted(job.inputs, key=lambda each: each.key)
    if len({each.key for each in inputs}) != len(inputs):
        raise AdapterError("Two inputs of one aggregation have the same key")
    vectors = [_change(each, blobs, spec) for each in inputs]
    pointing = directions([each.key for each in inputs], vectors)
    factors = clip_factors([norm(vector) for vector in vectors], job.clip)
    shortened = [
        vector.scaled(factor) if factor < 1 else vector
        for vector, factor in zip(vectors, factors, strict=True)
    ]
    result = build(job.rule, job.f)(shortened)
    change, agrees, error = result.vector, None, 0.0
    if job.expected is not None:
        theirs = read_blob(blobs, job.expected, spec).vector.decode()
        error = _relative_error(change, theirs)
        agrees = error <= AGREEMENT
        change = theirs if agrees else change
    above = read_blob(blobs, job.base, spec).vector.decode() if job.base is not None else 0
    change_digest, change_size = write_float32(blobs, change, spec)
    adapter_digest, adapter_size = write_float32(blobs, np.add(above, change, dtype=np.float32), spec)
    weights = None
    if result.weights is not None:
        weights = {each.key: float(share) for each, share in zip(inputs, result.weights, strict=True)}
    return Aggregated(
        branch=job.branch,
        height=job.height,
        job=job.job,
        change=change_digest,
        change_size=change_size,
        adapter=adapter_digest,
        adapter_size=adapter_size,
        weights=weights,
        clipped=tuple(each.key for each, factor in zip(inputs, factors, strict=True) if factor < 1),
        agrees=agrees,
        error=error,
        directions=pointing,
        heads=_heads(job.heads, blobs, spec),
    )


def _heads(digests: tuple[bytes, ...], blobs: Blobs, spec: AdapterSpec) -> tuple[Direction, ...]:
    """Where these adapters point."""
    names = list(dict.fromkeys(digests))
    return directions(names, [read_blob(blobs, digest, spec).vector for digest in names])


def _change(each: Input, blobs: Blobs, spec: AdapterSpec) -> EncodedVector:
    """An input as a change: a delta as it was signed, or the float32 difference of two adapters."""
    vector = read_blob(blobs, each.blob, spec).vector
    if each.minus is None:
        return vector
    return encode(vector.decode() - read_blob(blobs, each.minus, spec).vector.decode(), "float32")


def _relative_error(mine: Vector, theirs: Vector) -> float:
    apart = float(np.linalg.norm(mine.astype(np.float64) - theirs))
    size = float(np.linalg.norm(mine.astype(np.float64)))
    return apart / size if size else float(apart > 0)
