"""Content-addressed files: a blob's name is the SHA-256 of its bytes.

Layout: ``blobs/ab/cdef…`` (the digest in hexadecimal, split after two characters) and
``blobs/incoming/`` for what is not whole yet. A file outside ``incoming`` is always complete and correct: it
was fsynced and then renamed, and its folder was fsynced.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from banyan.node.store.errors import BlobMismatch, BlobMissing, disk_full, is_disk_full
from banyan.node.store.partial import PartialBlob, place, received, sync_folder

DIGEST_BYTES = 32

#: A blob younger than this (seconds) is never collected: a job may just have written it and not told yet.
GRACE = 600.0

#: A download that nobody went on with for this long (seconds) is given up.
PARTIAL_LIFETIME = 7 * 24 * 3600.0

_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection of garbage removed."""

    blobs: int
    bytes: int


class BlobStore:
    """The blobs of one node. Every method blocks on the disk: call it from a thread.

    Several threads and processes may use one folder at once: writers of the same blob end with the same file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)

    # -------------------------------------------------------------------------------------------- reading

    def path(self, digest: bytes) -> Path:
        """Where the blob is, or would be."""
        name = _hex(digest)
        return self.root / name[:2] / name[2:]

    def __contains__(self, digest: bytes) -> bool:
        return self.path(digest).is_file()

    def size(self, digest: bytes) -> int | None:
        """The length in bytes of a blob that is here, else None."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, digest: bytes, start: int = 0, length: int | None = None) -> bytes:
        """``length`` bytes from ``start`` (fewer at the end). Raises :class:`BlobMissing`."""
        try:
            with open(self.path(digest), "rb") as file:
                file.seek(start)
                return file.read(-1 if length is None else length)
        except FileNotFoundError:
            raise BlobMissing(f"Blob {_hex(digest)[:12]} is not on this node") from None

    def open(self, digest: bytes) -> OpenBlob | None:
        """The blob opened for reading in pieces (a network ``BlobReader``), or None if it is not here."""
        try:
            return OpenBlob(self.path(digest))
        except (FileNotFoundError, ValueError):
            return None

    def digests(self) -> Iterator[bytes]:
        """Every whole blob."""
        for folder in sorted(self.root.iterdir()):
            if len(folder.name) == 2 and folder.is_dir():
                for file in sorted(folder.iterdir()):
                    with suppress(ValueError):
                        yield bytes.fromhex(folder.name + file.name)

    # -------------------------------------------------------------------------------------------- writing

    def put(self, data: bytes) -> bytes:
        """Keep ``data``; return its digest. Durable on return; :class:`DiskFull` leaves nothing."""
        digest = hashlib.sha256(data).digest()
        if not self._touch(digest):
            self._write(iter((data,)), digest)
        return digest

    def put_file(self, source: Path, digest: bytes | None = None) -> bytes:
        """Copy a file in; return its digest. Content other than ``digest`` is a :class:`BlobMismatch`."""
        if digest is not None and self._touch(digest):
            return digest
        return self._write(_chunks(source), digest)

    def _touch(self, digest: bytes) -> bool:
        """Whether the blob is here; if so it counts as young again, so that no collection takes it now."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        return True

    def _write(self, chunks: Iterator[bytes], expected: bytes | None) -> bytes:
        descriptor, name = tempfile.mkstemp(dir=self._incoming, prefix="put-")
        temporary = Path(name)
        found = hashlib.sha256()
        written = 0
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                    found.update(chunk)
                    written += len(chunk)
                file.flush()
                os.fsync(file.fileno())
            digest = found.digest()
            if expected is not None and digest != expected:
                raise BlobMismatch(
                    f"The content offered as blob {expected.hex()[:12]} has the hash {digest.hex()[:12]}",
                    "Take the file from where the network's founder took it",
                )
            place(temporary, self.path(digest))
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and is_disk_full(error):
                raise disk_full(f"a blob of more than {written:,} bytes") from error
            raise
        return digest

    def partial(self, digest: bytes, size: int) -> PartialBlob:
        """Begin, or go on with, the download of a blob. One at a time for each digest."""
        return PartialBlob(self._incoming / f"{_hex(digest)}.part", self.path(digest), digest, size)

    def received(self, digest: bytes) -> int:
        """How many bytes of an earlier download of the blob are here and not whole yet."""
        return received(self._incoming / f"{_hex(digest)}.part")

    # ----------------------------------------------------------------------------------------- collection

    def collect(self, keep: Iterable[bytes], *, grace: float = GRACE, now: float | None = None) -> Collected:
        """Remove every blob that is not in ``keep`` and older than ``grace`` seconds, and stale leftovers.

        ``keep`` is explicit and complete: what is not named may go. ``now``: seconds since the epoch.
        """
        kept = set(keep)
        moment = time.time() if now is None else now
        blobs = freed = 0
        for digest in list(self.digests()):
            if digest in kept:
                continue
            path = self.path(digest)
            with suppress(FileNotFoundError):
                stat = path.stat()
                if moment - stat.st_mtime >= grace:
                    path.unlink()
                    blobs += 1
                    freed += stat.st_size
        for leftover in self._incoming.iterdir():
            lifetime = PARTIAL_LIFETIME if leftover.suffix in (".part", ".ranges") else grace
            with suppress(FileNotFoundError):
                if moment - leftover.stat().st_mtime >= lifetime:
                    leftover.unlink()
        sync_folder(self.root)
        return Collected(blobs, freed)


class OpenBlob:
    """One open blob; removing the file meanwhile does not disturb its readers."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._descriptor).st_size

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``."""
        return os.pread(self._descriptor, length, offset)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._descriptor)


def _hex(digest: bytes) -> str:
    if len(digest) != DIGEST_BYTES:
        raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}")
    return digest.hex()


def _chunks(source: Path) -> Iterator[bytes]:
    with open(source, "rb") as file:
        while chunk := file.read(_READ):
            yield chunk
