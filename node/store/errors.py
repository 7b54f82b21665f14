"""What can go wrong with a node's disk, in its owner's words."""

from __future__ import annotations

import errno
import sqlite3

from banyan.security.errors import BanyanError

#: ``errno`` values that mean "no room": the disk is full, or the user's quota or file size limit is reached.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StoreError(BanyanError):
    """Something is wrong with this node's state directory."""


class DiskFull(StoreError):
    """There is no room left. Nothing half-written was left behind; what was acknowledged before is intact."""


class HomeInUse(StoreError):
    """Another daemon works on the same state directory."""


class StoreTooNew(StoreError):
    """The database was written by a newer Banyan."""


class StoreDamaged(StoreError):
    """The database cannot be read."""


class BlobMissing(StoreError):
    """A blob that was asked for is not in the store."""


class BlobMismatch(StoreError):
    """Bytes were offered under a digest or length that is not theirs."""


def is_disk_full(error: BaseException) -> bool:
    """Whether ``error`` (from the file system or from SQLite) says that there is no room."""
    if isinstance(error, OSError):
        return error.errno in NO_ROOM
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
    return isinstance(error, DiskFull)


def disk_full(what: str) -> DiskFull:
    """The error for ``what`` (a noun phrase) that found no room on the disk."""
    return DiskFull(
        f"There is no room left on the disk for {what}",
        "Free some space; the node goes on by itself, and nothing it had acknowledged is lost",
    )
