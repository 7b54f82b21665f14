"""Which files of a folder to learn from, and when: each once, whole, and only if every row can be read.

Pure: it is shown what lies in the folder and what a file holds, and says what to do. :mod:`banyan.node.daemon.watch`
looks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from banyan.node.learning.dataset import below_folder, read_rows
from banyan.node.learning.errors import DataError
from banyan.security import canonical
from banyan.security.schema import Between, Digest, Length, from_plain, to_bytes

#: Contents that are known again, the newest; a file from before them would be learnt a second time.
MOST_CONTENTS: Final = 100_000

#: Files of a folder that are looked at; the rest, in the order of their names, wait until there are fewer.
MOST_FILES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Sight:
    """How a file looks from outside: bytes, and the time of its last change in ns since the epoch."""

    size: Annotated[int, Between(0, 1 << 62)]
    changed: Annotated[int, Between(-(1 << 62), 1 << 62)]


@dataclass(frozen=True, slots=True)
class Judged:
    """A file that was read as it looked then. ``digest`` is its content's hash; empty: it was refused."""

    path: Annotated[str, Length(1, 4096)]
    seen: Sight
    digest: Annotated[bytes, Length(0, 32)]


@dataclass(frozen=True, slots=True)
class Watched:
    """What outlives a restart: the files ``judged``, the hashes of all content ever ``learnt``, the ``lesson`` under
    way."""

    judged: Annotated[tuple[Judged, ...], Length(0, MOST_FILES)] = ()
    learnt: Annotated[tuple[Digest, ...], Length(0, MOST_CONTENTS)] = ()
    lesson: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Canonical msgpack."""
        return to_bytes(self)

    @classmethod
    def decode(cls, data: bytes) -> Watched:
        """Raises :class:`~banyan.security.errors.Refused`."""
        return from_plain(cls, canonical.decode(data, max_bytes=1 << 26, max_items=1 << 18))


class WatchedFolder:
    """Takes looks at a folder in, gives files to read out, and learns what they were."""

    def __init__(self, state: Watched) -> None:
        self._judged = {each.path: each for each in state.judged}
        self._learnt = dict.fromkeys(state.learnt)
        self._last: Mapping[str, Sight] = {}
        self.lesson = state.lesson

    def look(self, found: Mapping[str, Sight]) -> list[str]:
        """Files worth reading now, by name: new or changed since they were judged, and at rest since the look before.

        A file that is still being written looks different each time and waits. Files that are gone are forgotten, their
        content is not: it does not count again when it returns.
        """
        self._judged = {path: each for path, each in self._judged.items() if path in found}
        resting = sorted(path for path, seen in found.items() if self._last.get(path) == seen)
        self._last = dict(found)
        return [path for path in resting if not self._is_judged(path, found[path])]

    def _is_judged(self, path: str, seen: Sight) -> bool:
        return path in self._judged and self._judged[path].seen == seen

    def judge(self, path: str, digest: bytes) -> bool:
        """The file that the last look gave has this content hash (empty: it cannot be learnt from). Whether it is
        new."""
        self._judged[path] = Judged(path, self._last[path], digest)
        is_new = bool(digest) and digest not in self._learnt
        if is_new:
            self._learnt[digest] = None
        return is_new

    def begin(self, files: list[str], *, add: bool) -> None:
        """``files`` are the lesson from now on, beside those of the running one where it is not over (``add``)."""
        self.lesson = tuple(dict.fromkeys([*(self.lesson if add else ()), *files]))

    def state(self) -> Watched:
        """What to keep."""
        judged = tuple(self._judged[path] for path in sorted(self._judged))
        return Watched(judged, tuple(self._learnt)[-MOST_CONTENTS:], self.lesson)


def look_at(folder: Path) -> dict[str, Sight]:
    """Every file below ``folder`` that is data, at most :data:`MOST_FILES`; empty where there is no folder."""
    found: dict[str, Sight] = {}
    for path, why in below_folder(folder):
        if why:
            continue
        try:
            stat = path.stat()
            str(path).encode()
        except (OSError, UnicodeEncodeError):
            continue  # gone again, or with a name that is no text and that no message could carry
        if path.is_file() and len(found) < MOST_FILES:
            found[str(path)] = Sight(stat.st_size, stat.st_mtime_ns)
    return found


def read_file(path: Path) -> bytes:
    """The content's SHA-256. Raises :class:`DataError` naming the first line that is no row, or if there is none."""
    if not sum(1 for _ in read_rows(path)):
        raise DataError(str(path), None, "there is no row in it", "Add rows to it")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
