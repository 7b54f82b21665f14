"""A blob on its way in: written to a temporary name, hashed while it grows, named only when it is whole."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from banyan.node.store.errors import BlobMismatch, disk_full, is_disk_full

_READ = 1 << 20


class PartialBlob:
    """A download of ``size`` bytes whose SHA-256 must be ``digest``; survives a restart of the node.

    ``offset`` is how many bytes are already here: ask peers for the rest from there. :meth:`write` appends;
    :meth:`finish` checks the whole, makes it durable and gives the blob its name. A partial whose bytes turn
    out wrong is removed, so that the next attempt begins anew instead of failing for ever.

    ``size`` None means that the length is not known beforehand; ``limit`` then bounds it.

    Blocks; use it from a thread.
    """

    def __init__(self, path: Path, target: Path, digest: bytes, size: int | None, limit: int) -> None:
        self.digest = digest
        self.size = size
        self._limit = limit if size is None else size
        self._path = path
        self._target = target
        self._hash = hashlib.sha256()
        self.offset = 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = open(path, "a+b")  # noqa: SIM115 - it outlives this call; close() or discard() ends it
        self._rehash()

    def _rehash(self) -> None:
        self._file.seek(0)
        while chunk := self._file.read(_READ):
            self._hash.update(chunk)
            self.offset += len(chunk)
        if self.offset > self._limit:
            self._restart()

    def _restart(self) -> None:
        self._file.truncate(0)
        self._file.seek(0)
        self._hash = hashlib.sha256()
        self.offset = 0

    def write(self, data: bytes) -> None:
        """Append ``data``. Past the length it is a :class:`BlobMismatch`; on any error the partial goes."""
        if self.offset + len(data) > self._limit:
            self.discard()
            raise BlobMismatch(
                f"A peer sent more than the {self._limit} bytes of blob {self.digest.hex()[:12]}",
                "It is asked of another peer",
            )
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            self.discard()
            if is_disk_full(error):
                raise disk_full(f"a blob of {self._limit:,} bytes") from error
            raise
        self._hash.update(data)
        self.offset += len(data)

    def finish(self) -> Path:
        """Check length and hash, make the blob durable and give it its name. Raises :class:`BlobMismatch`."""
        if (self.size is not None and self.offset != self.size) or self._hash.digest() != self.digest:
            self.discard()
            raise BlobMismatch(
                f"What arrived as blob {self.digest.hex()[:12]} ({self.offset} bytes) has another hash",
                "It is fetched anew",
            )
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            place(self._path, self._target)
        except OSError as error:
            self.discard()
            if is_disk_full(error):
                raise disk_full(f"a blob of {self.offset:,} bytes") from error
            raise
        return self._target

    def close(self) -> None:
        """Stop for now; the bytes stay for a later attempt."""
        self._file.close()

    def discard(self) -> None:
        """Stop and remove what arrived."""
        with suppress(OSError):  # closing flushes, and that may fail on the same full disk
            self._file.close()
        self._path.unlink(missing_ok=True)


def place(temporary: Path, target: Path) -> None:
    """Rename the fsynced file ``temporary`` to ``target`` so that the new name survives a loss of power."""
    parent = target.parent
    if not parent.is_dir():
        parent.mkdir(mode=0o700, exist_ok=True)
        sync_folder(parent.parent)
    os.rename(temporary, target)
    sync_folder(parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
