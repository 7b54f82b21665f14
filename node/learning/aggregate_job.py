"""Close a round, or check how another node closed it. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from banyan.aggregation import EncodedVector, build, encode
from banyan.node.learning.blobs import Blobs, read_blob, read_sum, write_float32
from banyan.node.learning.errors import AdapterError
from banyan.node.learning.layout import Vector
from banyan.protocol.effects import Aggregate, Aggregated, Input
from banyan.security.admission import clip_factors, norm
from banyan.security.model import AdapterSpec

AGREEMENT = 1e-6
"""Two nodes agree if the norm of their changes' difference is at most this share of the change's norm. Choices are
exact on every machine; only the last bits of sums may differ between matrix libraries."""


def aggregate(job: Aggregate, *, blobs: Blobs, spec: AdapterSpec) -> Aggregated:
    """Clip, apply the rule, add to the base; write the step and the sum as float32 blobs. So for the lift.

    Where ``expected`` is given and agrees, the step *is* that blob and the sum is built on it (one
    float32 addition, the same bits everywhere), so every cosigner names the leader's digests. Where it does not
    agree, both are this node's own.

    Raises ``AggregationError`` (too few inputs for the rule and f, …), :class:`AdapterError`, ``DeltaRefused``.
    """
    change = lift = None
    agreement = 0.0
    if job.inputs:
        inputs = _ordered(job.inputs)
        deltas = [read_blob(blobs, each.blob, spec).vector for each in inputs]
        change = _combine(inputs, deltas, job.rule, job.f, job.clip)
        change = change.written(job.base, job.expected, blobs, spec)
    if job.lift is not None:
        inputs, before = _ordered(job.lift.inputs), job.lift.base
        held = [_beyond(each, before, blobs, spec) for each in inputs]
        lift = _combine(inputs, held, job.lift.rule, job.lift.f, job.clip)
        agreement = cosine_between(held, lift.vector)
        lift.vector = np.multiply(lift.vector, job.lift.share, dtype=np.float32)
        lift = lift.written(before, job.lift.expected, blobs, spec)
    steps = [step for step in (change, lift) if step is not None]
    weights = [step.weights for step in steps if step.weights is not None]
    compared = [step.agrees for step in steps if step.agrees is not None]
    return Aggregated(
        branch=job.branch,
        height=job.height,
        job=job.job,
        change=change.step if change else b"",
        change_size=change.step_size if change else 0,
        adapter=change.total if change else job.base or b"",
        adapter_size=change.total_size if change else 0,
        weights={key: share for each in weights for key, share in each.items()} if weights else None,
        clipped=tuple(key for step in steps for key in step.clipped),
        agrees=all(compared) if compared else None,
        error=max((step.error for step in steps), default=0.0),
        lift=lift.step if lift else b"",
        lift_size=lift.step_size if lift else 0,
        lifted=lift.total if lift else (job.lift.base or b"" if job.lift else b""),
        lifted_size=lift.total_size if lift else 0,
        agreement=agreement,
    )


@dataclass(slots=True)
class _Step:
    """What a rule made of some inputs, and what became of it."""

    vector: Vector
    weights: dict[bytes, float] | None
    clipped: tuple[bytes, ...]
    agrees: bool | None = None
    error: float = 0.0
    step: bytes = b""
    step_size: int = 0
    total: bytes = b""
    total_size: int = 0

    def written(self, base: bytes | None, expected: bytes | None, blobs: Blobs, spec: AdapterSpec) -> _Step:
        """This step, compared with another node's and written, and its sum with ``base``."""
        if expected is not None:
            theirs = read_blob(blobs, expected, spec).vector.decode()
            self.error = _relative_error(self.vector, theirs)
            self.agrees = self.error <= AGREEMENT
            self.vector = theirs if self.agrees else self.vector
        before = read_blob(blobs, base, spec).vector.decode() if base is not None else 0
        self.step, self.step_size = write_float32(blobs, self.vector, spec)
        total = np.add(before, self.vector, dtype=np.float32)
        self.total, self.total_size = write_float32(blobs, total, spec)
        return self


def _ordered(inputs: tuple[Input, ...]) -> list[Input]:
    if len({each.key for each in inputs}) != len(inputs):
        raise AdapterError("Two inputs of one aggregation have the same key")
    return sorted(inputs, key=lambda each: each.key)


def _combine(inputs: list[Input], vectors: list[EncodedVector], rule: str, f: int, clip: float) -> _Step:
    factors = clip_factors([norm(vector) for vector in vectors], clip)
    shortened = [
        vector.scaled(factor) if factor < 1 else vector
        for vector, factor in zip(vectors, factors, strict=True)
    ]
    result = build(rule, f)(shortened)
    weights = None
    if result.weights is not None:
        weights = {each.key: float(share) for each, share in zip(inputs, result.weights, strict=True)}
    clipped = tuple(each.key for each, factor in zip(inputs, factors, strict=True) if factor < 1)
    return _Step(result.vector, weights, clipped)


def _beyond(child: Input, base: bytes | None, blobs: Blobs, spec: AdapterSpec) -> EncodedVector:
    """B of a child: what it holds beyond what was lifted from it before."""
    held = read_sum(blobs, [blob for blob in (child.blob, child.also) if blob], spec)
    return encode(held - (read_blob(blobs, base, spec).vector.decode() if base else 0), "float32")


def cosine_between(held: Sequence[EncodedVector], consensus: Vector) -> float:
    """Estimates the cosine between two of the n vectors ``held`` from their cosines with their ``consensus``.

    With the mean of n vectors of equal length as consensus, a cosine c with it means a mean cosine of
    (n c² - 1) / (n - 1) with the others. c is the median of all n, which no minority of the vectors decides. An only
    vector agrees with itself; 0 where a norm is zero.
    """
    n, length = len(held), float(np.linalg.norm(consensus.astype(np.float64)))
    norms = [norm(vector) for vector in held]
    if not length or not min(norms):
        return 0.0
    if n == 1:
        return 1.0
    cosines = [
        float(np.dot(vector.decode().astype(np.float64), consensus)) / (size * length)
        for vector, size in zip(held, norms, strict=True)
    ]
    middle = max(0.0, float(np.median(cosines)))
    return (n * middle**2 - 1) / (n - 1)


def _relative_error(mine: Vector, theirs: Vector) -> float:
    apart = float(np.linalg.norm(mine.astype(np.float64) - theirs))
    size = float(np.linalg.norm(mine.astype(np.float64)))
    return apart / size if size else float(apart > 0)
