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


def read_blob(blobs: Blobs, digest: bytes, spec: AdapterSpec, season: int = 0) -> Delta:
    """The delta or adapter stored as ``digest``, strictly decoded; one of another season is refused."""
    return read_delta(blobs.read(digest), spec, season)


def read_any(blobs: Blobs, digest: bytes, spec: AdapterSpec) -> Delta:
    """As :func:`read_blob`, of whichever season it is."""
    return read_delta(blobs.read(digest), spec, None)


def read_sum(blobs: Blobs, digests: Iterable[bytes], spec: AdapterSpec, season: int = 0) -> Vector:
    """The sum of adapters, float32 ``(dimension,)``, added in the order given; zero for none. One of another season is
    refused: its B is in terms of another A."""
    total = np.zeros(spec.dimension, np.float32)
    for digest in digests:
        total += read_blob(blobs, digest, spec, season).whole(spec)
    return total


def read_layers(blobs: Blobs, digests: Iterable[bytes], spec: AdapterSpec) -> dict[int, Vector]:
    """The sums of adapters by their seasons, oldest first, each as :func:`read_sum`: what a whole model is."""
    layers: dict[int, Vector] = {}
    for digest in digests:
        delta = read_any(blobs, digest, spec)
        total = layers.setdefault(delta.season, np.zeros(spec.dimension, np.float32))
        total += delta.whole(spec)
    return dict(sorted(layers.items()))


def read_whole(blobs: Blobs, digests: Iterable[bytes], spec: AdapterSpec) -> Vector:
    """The sum of adapters of any seasons, for a problem over flat vectors, which is its own A in each: float32
    ``(dimension,)``, zero for none."""
    total, *later = read_layers(blobs, digests, spec).values() or [np.zeros(spec.dimension, np.float32)]
    for layer in later:
        total += layer
    return total


def write_float32(
    blobs: Blobs, vector: Vector, spec: AdapterSpec, base: bytes = b"", season: int = 0
) -> tuple[bytes, int]:
    """Store ``vector`` unrounded; returns the blob's digest and size."""
    data = write_delta(encode(vector, "float32"), spec=spec, base=base, season=season)
    return blobs.put(data), len(data)
