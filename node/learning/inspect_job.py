"""Look at an update before it counts: decode it strictly and measure it. Numpy only."""

from __future__ import annotations

from banyan.node.learning.blobs import Blobs
from banyan.protocol.delta import read_delta
from banyan.protocol.effects import Inspect, Inspected
from banyan.security.admission import UpdateRefused, inspect_blob
from banyan.security.model import AdapterSpec


def inspect(job: Inspect, *, blobs: Blobs, spec: AdapterSpec) -> Inspected:
    """Never raises for what the blob contains: whatever is wrong with it becomes a reason of refusal.

    Whether the base is the announced one is for the caller to compare.
    """
    data = blobs.read(job.digest)
    try:
        found = inspect_blob(data, spec=spec, decode=lambda data, _: read_delta(data, spec, job.season))
    except UpdateRefused as refusal:
        return Inspected(job.digest, refusal.reason, detail=str(refusal))
    return Inspected(job.digest, None, found.norm, found.base)
