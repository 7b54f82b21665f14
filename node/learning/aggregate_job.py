"""Close a round, or check how another node closed it. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from banyan.aggregation import EncodedVector, build, encode
from banyan.aggregation.strips import aggregate_strips, column_groups, strip
from banyan.node.learning.blobs import Blobs, read_blob, read_sum, write_float32
from banyan.node.learning.directions import directions
from banyan.node.learning.errors import AdapterError
from banyan.node.learning.layout import Vector
from banyan.protocol.delta import Delta
from banyan.protocol.effects import Aggregate, Aggregated, Direction, Input
from banyan.security.admission import clip_factors, norm
from banyan.security.model import AdapterSpec

AGREEMENT = 1e-6
"""Two nodes agree if the norm of their changes' difference is at most this share of the change's norm. Choices are
exact on every machine; only the last bits of sums may differ between matrix libraries."""


def aggregate(job: Aggregate, *, blobs: Blobs, spec: AdapterSpec) -> Aggregated:
    """Clip, apply the rule, add to the base; write the step and the sum as float32 blobs. So for the lift.

    Columns of B that some devices did not train are clipped and judged over those that did
    (:mod:`banyan.aggregation.strips`). Where these are fewer than ``job.least`` or the rule's own minimum the columns
    stay as they are, and ``narrowed_to`` says how many moved. Children always have all columns.

    Where ``expected`` is given and agrees, the step *is* that blob and the sum is built on it (one
    float32 addition, the same bits everywhere), so every cosigner names the leader's digests. Where it does not
    agree, both are this node's own.

    Raises ``AggregationError`` (too few inputs for the rule and f, …), :class:`AdapterError`, ``DeltaRefused``.
    """
    change = lift = None
    agreement = 0.0
    pointing: tuple[Direction, ...] = ()
    heads: tuple[Direction, ...] = ()
    if job.inputs:
        inputs = _ordered(job.inputs)
        deltas = [read_blob(blobs, each.blob, spec) for each in inputs]
        pointing = _directions(inputs, deltas)
        change = _combine(inputs, deltas, job.rule, job.f, job.clip, spec, job.least)
        change = change.written(job.base, job.expected, blobs, spec)
    if job.lift is not None:
        inputs, before = _ordered(job.lift.inputs), job.lift.base
        held = [_beyond(each, before, blobs, spec) for each in inputs]
        heads = _directions(inputs, held)
        lift = _combine(inputs, held, job.lift.rule, job.lift.f, job.clip, spec)
        agreement = cosine_between([each.vector for each in held], lift.vector)
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
        directions=pointing,
        heads=heads,
        narrowed_to=change.moved if change and change.moved < spec.rank else 0,
    )


@dataclass(slots=True)
class _Step:
    """What a rule made of some inputs, zero beyond the first ``moved`` columns of B, and what became of it."""

    vector: Vector
    moved: int
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
            theirs = read_blob(blobs, expected, spec).whole(spec)
            self.error = _relative_error(self.vector, theirs)
            self.agrees = self.error <= AGREEMENT
            self.vector = theirs if self.agrees else self.vector
        before = read_blob(blobs, base, spec).whole(spec) if base is not None else 0
        self.step, self.step_size = write_float32(blobs, self.vector, spec)
        total = np.add(before, self.vector, dtype=np.float32)
        self.total, self.total_size = write_float32(blobs, total, spec)
        return self


def _ordered(inputs: tuple[Input, ...]) -> list[Input]:
    if len({each.key for each in inputs}) != len(inputs):
        raise AdapterError("Two inputs of one aggregation have the same key")
    return sorted(inputs, key=lambda each: each.key)


def _combine(
    inputs: Sequence[Input],
    deltas: Sequence[Delta],
    rule: str,
    f: int,
    clip: float,
    spec: AdapterSpec,
    least: int = 1,
) -> _Step:
    """Clip and apply the rule in each group of columns. Where all have all columns there is one group: the whole
    vectors. An input's weight is its share averaged over the columns that moved."""
    built = build(rule, f)
    vector = np.zeros((spec.dimension // spec.rank, spec.rank), np.float32)
    shares = np.zeros(len(deltas))
    moved, clipped, is_weighed = 0, set[int](), True
    for group in column_groups([delta.rank for delta in deltas]):
        if moved and len(group.members) < max(least, built.minimum_n):
            break  # the next groups have fewer still
        strips = [strip(deltas[at].vector, deltas[at].rank, group) for at in group.members]
        factors = clip_factors([norm(each) for each in strips], clip)
        shortened = [
            each.scaled(factor) if factor < 1 else each for each, factor in zip(strips, factors, strict=True)
        ]
        result = aggregate_strips(built, shortened)
        width = group.stop - group.start
        vector[:, group.start : group.stop] = result.vector.reshape(-1, width)
        clipped.update(at for at, factor in zip(group.members, factors, strict=True) if factor < 1)
        if result.weights is None:
            is_weighed = False
        else:
            shares[list(group.members)] += result.weights * width
        moved = group.stop
    weights = None
    if is_weighed:
        weights = {each.key: float(share) for each, share in zip(inputs, shares / moved, strict=True)}
    return _Step(vector.ravel(), moved, weights, tuple(inputs[at].key for at in sorted(clipped)))


def _directions(inputs: Sequence[Input], deltas: Sequence[Delta]) -> tuple[Direction, ...]:
    """Where the inputs point in the columns that all of them have."""
    common, *_ = column_groups([delta.rank for delta in deltas])
    return directions(
        [each.key for each in inputs], [strip(delta.vector, delta.rank, common) for delta in deltas]
    )


def _beyond(child: Input, base: bytes | None, blobs: Blobs, spec: AdapterSpec) -> Delta:
    """B of a child: what it holds beyond what was lifted from it before."""
    held = read_sum(blobs, [blob for blob in (child.blob, child.also) if blob], spec)
    change = held - (read_blob(blobs, base, spec).whole(spec) if base else 0)
    return Delta(encode(change, "float32"), b"", spec.rank)


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
