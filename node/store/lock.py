"""One daemon per state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from banyan.node.store.errors import HomeInUse


class HomeLock:
    """An exclusive lock on ``home`` that the kernel releases when the process ends, however it ends.

    The file holds the process id of its owner for people to read; the lock itself is ``flock``, so a
    leftover file of a killed daemon stops nobody.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / "lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise :class:`HomeInUse`."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise HomeInUse(
                f"A node already runs on {self.path.parent}" + (f" (process {owner})" if owner else ""),
                "Stop it with `banyan down`, or choose another directory with --home",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._file = descriptor

    def release(self) -> None:
        """Give the lock back; doing so twice is harmless."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> HomeLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
