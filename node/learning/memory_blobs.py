"""Blobs in memory, for tests and simulations."""

from __future__ import annotations

import hashlib


class MemoryBlobs:
    """A dictionary of bytes by their SHA-256; reading one that is not there raises KeyError."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}

    def read(self, digest: bytes) -> bytes:
        return self.data[digest]

    def put(self, data: bytes) -> bytes:
        digest = hashlib.sha256(data).digest()
        self.data[digest] = bytes(data)
        return digest
