"""Jobs of content-addressed inputs, done once a world: a virtual device finds what another has already computed.

Inspecting a delta, closing a round and adding up a model are pure functions of the blobs they name, and every member
of a committee or a branch does the same ones. A device gets a result only if it holds the inputs itself; else the job
fails as it would alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from banyan.node.learning.aggregate_job import aggregate
from banyan.node.learning.inspect_job import inspect
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.protocol.effects import Aggregate, Aggregated, Inspect, Inspected
from banyan.protocol.reader import Recent
from banyan.security.model import AdapterSpec
from banyan.simulations.layers import read_model
from banyan.simulations.tasks import Vector

__all__ = ["SharedJobs"]

REMEMBERED: Final = 16_384
"""Results of each kind that are kept, the newest."""

MODELS: Final = 64 << 20
"""Bytes of models that are kept."""


class SharedJobs:
    """Inspects and aggregates for every device of one world."""

    def __init__(self, spec_at: Callable[[str], AdapterSpec]) -> None:
        """``spec_at``: the shape of a branch's adapters."""
        self._spec_at = spec_at
        self._inspected: OrderedDict[tuple[bytes, bytes, int], Inspected] = OrderedDict()
        self._aggregated: OrderedDict[Aggregate, tuple[Aggregated, dict[bytes, bytes]]] = OrderedDict()
        self._models: Recent[Vector] = Recent(MODELS)

    def inspect(self, job: Inspect, blobs: MemoryBlobs) -> Inspected:
        """What is in a blob of ``blobs``."""
        spec = self._spec_at(job.branch)
        key = (job.digest, spec.digest, job.season)
        known = self._inspected.get(key) if job.digest in blobs.data else None
        if known is None:
            known = self._inspected[key] = inspect(job, blobs=blobs, spec=spec)
            _forget(self._inspected)
        return known

    def model(self, digests: Sequence[bytes], blobs: MemoryBlobs, branch: str) -> Vector:
        """The model of ``branch`` that is the sum of these adapters in ``blobs``, float32 (dimension,), not to be
        written to. Raises what :func:`~banyan.simulations.layers.read_model` raises."""
        spec = self._spec_at(branch)
        key = spec.digest + b"".join(digests)
        known = self._models.get(key) if all(each in blobs.data for each in digests) else None
        if known is None:
            known = read_model(blobs, digests, spec)
            known.flags.writeable = False
            self._models.put(key, known, known.nbytes)
        return known

    def aggregate(self, job: Aggregate, blobs: MemoryBlobs) -> Aggregated:
        """The aggregate of what is in ``blobs``, and its results put there. Raises what the job raises."""
        known = self._aggregated.get(job) if _holds_inputs(job, blobs) else None
        if known is None:
            result = aggregate(job, blobs=blobs, spec=self._spec_at(job.branch))
            made = {result.change, result.adapter, result.lift, result.lifted} - {b""}
            known = (result, {digest: blobs.read(digest) for digest in made if digest in blobs.data})
            self._aggregated[job] = known
            _forget(self._aggregated)
        result, written = known
        blobs.data.update(written)
        return result


def _holds_inputs(job: Aggregate, blobs: MemoryBlobs) -> bool:
    lift = job.lift
    inputs = (*job.inputs, *(lift.inputs if lift else ()))
    needed = [blob for each in inputs for blob in (each.blob, each.also)]
    needed += [job.base, job.expected, *((lift.base, lift.expected) if lift else ())]
    return all(blob in blobs.data for blob in needed if blob)


def _forget(results: OrderedDict[Any, Any]) -> None:
    while len(results) > REMEMBERED:
        results.popitem(last=False)
