"""Adapters and deltas in the blob store, as float32 vectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from banyan.aggregation.encoding import encode
from banyan.node.learning.layout import Vector
from banyan.protocol.delta import Delta, read_delta, write_delta
from banyan.security.model import AdapterSpec


class Blobs(Protocol):
    """Content-addressed bytes: on disk ``node.store.blobs.BlobStore``, in memory ``memory_blobs.MemoryBlobs``."""

    def read(self, digest: bytes) -> bytes: ...

    def put(self, data: bytes) -> bytes: ...


def read_blob(blobs: Blobs, digest: bytes, spec: AdapterSpec) -> Delta:
    """The delta or adapter stored as ``digest``, strictly decoded."""
    return read_delta(blobs.read(digest), spec)


def read_sum(blobs: Blobs, digests: Iterable[bytes], spec: AdapterSpec) -> Vector:
    """The sum of adapters, float32 ``(dimension,)``, added in the order given; zero for none."""
    total = np.zeros(spec.dimension, np.float32)
    for digest in digests:
        total += read_blob(blobs, digest, spec).whole(spec)
    return total


def write_float32(blobs: Blobs, vector: Vector, spec: AdapterSpec, base: bytes = b"") -> tuple[bytes, int]:
    """Store ``vector`` unrounded; returns the blob's digest and size."""
    data = write_delta(encode(vector, "float32"), spec=spec, base=base)
    return blobs.put(data), len(data)
