"""A blob on its way in: written to a temporary name, in any order, and named only when it is whole.

Beside ``<digest>.part`` lies ``<digest>.ranges``, a line ``start stop`` for every stretch that is there, so
that a node that was killed goes on where it stopped. A line is written after its bytes; should a loss of
power keep the line and lose the bytes, the final hash finds out and the transfer begins anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from banyan.node.store.errors import BlobMismatch, StoreError, disk_full, is_disk_full

T = TypeVar("T")


class PartialBlob:
    """Assembles one blob of ``size`` bytes; a :class:`~banyan.node.network.transport.BlobSink`.

    Blocks; used from threads, one call at a time. When the disk is full it removes what arrived, keeps the
    reason in :attr:`failure` and raises it from every further call.
    """

    def __init__(self, part: Path, target: Path, digest: bytes, size: int) -> None:
        self.digest = digest
        self.size = size
        self.failure: StoreError | None = None
        self._part = part
        self._target = target
        self._ranges_file = part.with_suffix(".ranges")
        self._file = self._guarded(lambda: os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._journal = self._guarded(
            lambda: os.open(self._ranges_file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        )
        self._ranges = merge(self._read_ranges())

    def present(self) -> tuple[tuple[int, int], ...]:
        """The ``(start, stop)`` stretches that are here, sorted and apart from each other."""
        return self._ranges

    @property
    def received(self) -> int:
        """How many different bytes are here."""
        return sum(stop - start for start, stop in self._ranges)

    def write_at(self, offset: int, data: bytes) -> None:
        """Put ``data`` at ``offset``. Outside the blob it is a :class:`BlobMismatch`."""
        if offset < 0 or offset + len(data) > self.size:
            raise BlobMismatch(
                f"A peer sent more than the {self.size} bytes of blob {self.digest.hex()[:12]}",
                "It is asked of another peer",
            )

        def write() -> None:
            position = offset
            view = memoryview(data)
            while view:
                written = os.pwrite(self._file, view, position)
                position, view = position + written, view[written:]
            os.write(self._journal, f"{offset} {offset + len(data)}\n".encode())

        self._guarded(write)
        self._ranges = merge((*self._ranges, (offset, offset + len(data))))

    def finish(self) -> bool:
        """Whether what is here is the blob; then it is in the store, durably. If not, it is forgotten."""
        return self._guarded(self._finish)

    def _finish(self) -> bool:
        os.ftruncate(self._file, self.size)
        with open(self._file, "rb", closefd=False) as reader:
            reader.seek(0)
            found = hashlib.file_digest(reader, "sha256").digest()
        if self.received != self.size or found != self.digest:
            os.ftruncate(self._file, 0)
            os.ftruncate(self._journal, 0)
            self._ranges = ()
            return False
        os.fsync(self._file)
        place(self._part, self._target)
        self._ranges_file.unlink(missing_ok=True)
        self._close()
        return True

    def abort(self) -> None:
        """Stop for now; what arrived stays for a later attempt."""
        self._close()

    def discard(self) -> None:
        """Stop and remove what arrived."""
        self._close()
        self._part.unlink(missing_ok=True)
        self._ranges_file.unlink(missing_ok=True)

    def _close(self) -> None:
        for descriptor in {self._file, self._journal} - {-1}:
            with suppress(OSError):
                os.close(descriptor)
        self._file = self._journal = -1

    def _guarded(self, action: Callable[[], T]) -> T:
        if self.failure is not None:
            raise self.failure
        try:
            return action()
        except OSError as error:
            if not is_disk_full(error):
                raise
            self.failure = disk_full(f"a blob of {self.size:,} bytes")
            self.discard()
            raise self.failure from error

    def _read_ranges(self) -> Iterable[tuple[int, int]]:
        there = os.fstat(self._file).st_size
        text = os.pread(self._journal, os.fstat(self._journal).st_size, 0)
        return _ranges(text, min(there, self.size))


def received(part: Path) -> int:
    """How many different bytes lie in the ``.part`` file of a download that nobody goes on with at the moment."""
    try:
        text, there = part.with_suffix(".ranges").read_bytes(), part.stat().st_size
    except FileNotFoundError:
        return 0
    return sum(stop - start for start, stop in merge(_ranges(text, there)))


def _ranges(text: bytes, limit: int) -> Iterable[tuple[int, int]]:
    for line in text.split(b"\n"):
        numbers = line.split(b" ")
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):
            start, stop = int(numbers[0]), int(numbers[1])
            if start < stop <= limit:
                yield start, stop


def merge(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same bytes as the fewest stretches, sorted."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return tuple(merged)


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
