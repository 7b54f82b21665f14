"""Mix a node's own model with its neighbours'. Numpy only."""

from __future__ import annotations

from banyan.aggregation import build_mixing
from banyan.node.learning.blobs import Blobs, read_blob, read_sum, write_float32
from banyan.protocol.effects import Mix, Mixed
from banyan.security.model import AdapterSpec


def mix(job: Mix, *, blobs: Blobs, spec: AdapterSpec) -> Mixed:
    """Apply the mixing rule around the sum of ``job.own``; write the mixture as a float32 adapter blob.

    Raises ``AggregationError`` (too few neighbours for the rule and f, …), ``DeltaRefused``.
    """
    neighbours = [read_blob(blobs, each.blob, spec, job.season).vector for each in job.neighbours]
    own = read_sum(blobs, job.own, spec, job.season)
    mixture = build_mixing(job.rule, job.f)(own, neighbours, progress=job.progress)
    adapter, size = write_float32(blobs, mixture.vector, spec, season=job.season)
    keys = [each.key for each in job.neighbours]
    weights = None
    if mixture.weights is not None:
        weights = {key: float(share) for key, share in zip(keys, mixture.weights, strict=True)}
    left_out = tuple(keys[index] for index in mixture.left_out)
    return Mixed(job.branch, job.height, job.step, adapter, size, weights, left_out)
