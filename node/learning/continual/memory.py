"""What a device remembers of the tasks that one branch's adapter was trained on. It never leaves the device.

One file a branch: a mark, the SHA-256 of what follows, and canonical msgpack. It is replaced in one step that
survives a loss of power, so after ``kill -9`` there is the old memory or the new one. Rows are kept as token ids:
they are what a step needs, and a home has one base model and so one tokenizer.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import numpy as np

from banyan.node.home import write_durably
from banyan.node.learning.continual.reservoir import Reservoir
from banyan.node.learning.errors import LearningError
from banyan.node.learning.layout import Vector
from banyan.node.learning.tokens import IGNORED, Example
from banyan.security import canonical
from banyan.security.errors import BanyanError
from banyan.security.schema import Between, Length, from_plain, to_bytes

MARK: Final = b"banyan-memory/1\n"

#: Tasks that are remembered one by one. Beyond it the oldest is no longer measured and its rows join the next oldest's.
MOST_TASKS: Final = 16

#: Hashes of rows by which a task is known again.
SKETCH: Final = 64

#: Rows and names take at most this many bytes of a file, besides the vectors.
ROWS_BYTES: Final = 256 << 20


#: Longer names of sources are cut.
NAME_BYTES: Final = 4096


class MemoryDamaged(LearningError):
    """A memory's file is not what was written."""


@dataclass(frozen=True, slots=True)
class Task:
    """One data source that was trained on.

    ``name`` is where it lay, ``began`` when it was first met (seconds since the epoch), ``sketch`` the lowest hashes
    of its rows, ``held_out`` the rows that measure it, ``loss`` what its own training reached on them (nats a token;
    None before), ``reservoir`` its share of the rows kept for replay.
    """

    name: str
    began: int
    sketch: tuple[bytes, ...]
    held_out: tuple[Example, ...]
    loss: float | None
    reservoir: Reservoir


@dataclass(frozen=True, slots=True)
class Memory:
    """``tasks`` in the order in which they were trained on last; the last is the one under way.

    ``anchor`` is B when that one began, ``fisher`` and ``span`` what EWC and orthogonal steps keep of the earlier
    ones; all float32 ``(dimension,)`` or None.
    """

    tasks: tuple[Task, ...] = ()
    anchor: Vector | None = field(default=None, compare=False)
    fisher: Vector | None = field(default=None, compare=False)
    span: Vector | None = field(default=None, compare=False)

    def find(self, contents: Collection[bytes]) -> Task | None:
        """The task that rows with these hashes go on with: at least half of the rows it is known by are among them.

        So a file that grows, moves or is copied stays one task, as do the rounds of a branch, and a file whose rows
        were replaced is a new one.
        """
        rows = set(contents)
        known = ((len(rows.intersection(task.sketch)) / len(task.sketch), task) for task in self.tasks)
        share, task = max(known, key=lambda each: each[0], default=(0.0, None))
        return task if share >= 0.5 else None

    def bytes(self) -> int:
        """How many bytes it takes on the disk."""
        return len(_encode(self))


def sketch_of(contents: Iterable[bytes]) -> tuple[bytes, ...]:
    """The lowest of the rows' hashes, which are a uniform sample of them."""
    return tuple(heapq.nsmallest(SKETCH, set(contents)))


def with_task(tasks: Sequence[Task], task: Task, rows: int) -> tuple[Task, ...]:
    """``tasks`` with ``task`` last, the reservoirs cut to equal shares of ``rows``, at most :data:`MOST_TASKS`."""
    kept = [*tasks, task]
    while len(kept) > MOST_TASKS:
        oldest, heir = kept[:2]
        joined = heir.reservoir.offer(oldest.reservoir.kept, rows)
        kept[:2] = [replace(heir, reservoir=joined)]
    share = rows // len(kept)
    return tuple(replace(each, reservoir=each.reservoir.offer((), share)) for each in kept)


def place(folder: Path, branch: str, season: int = 0) -> Path:
    """The memory's file of ``branch`` in a node's folder for memories. Each season has its own: what mattered to a task
    is measured in terms of the season's A, and what was learned before is frozen anyway."""
    suffix = f"@{season}" if season else ""
    return folder / f"{quote(branch, safe='')}{suffix}.memory"


def load(path: Path, dimension: int) -> Memory:
    """The memory in ``path``, empty where there is none. Raises :class:`MemoryDamaged`, and for an adapter of another
    ``dimension``."""
    try:
        size = path.stat().st_size
        if size > ROWS_BYTES + 3 * 4 * dimension:
            raise MemoryDamaged(f"{path} has {size:,} bytes, more than any memory of this network")
        return _decode(path.read_bytes(), dimension)
    except FileNotFoundError:
        return Memory()
    except OSError as error:
        raise MemoryDamaged(f"{path} cannot be read ({error.strerror})") from error
    except MemoryDamaged:
        raise
    except BanyanError as error:
        raise MemoryDamaged(f"{path} is damaged: {error}") from error


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that a new memory can begin; where it is now."""
    aside = path.with_suffix(".damaged")
    path.replace(aside)
    return aside


def save(path: Path, memory: Memory) -> None:
    """Replace the memory in ``path``, durably; readable by its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for torn in path.parent.glob(f".{path.name}-*"):  # what a killed process had begun
        torn.unlink(missing_ok=True)
    write_durably(path, _encode(memory))


# ------------------------------------------------------------------------------------------- on the disk


@dataclass(frozen=True, slots=True)
class _Row:
    ids: bytes
    labels: bytes


@dataclass(frozen=True, slots=True)
class _Task:
    name: Annotated[str, Length(0, NAME_BYTES)]
    began: Annotated[int, Between(0, 1 << 40)]
    sketch: Annotated[tuple[bytes, ...], Length(1, SKETCH)]
    held_out: tuple[_Row, ...]
    loss: float | None
    seed: Annotated[int, Between(0, (1 << 63) - 1)]
    kept: tuple[_Row, ...]


@dataclass(frozen=True, slots=True)
class _Memory:
    tasks: Annotated[tuple[_Task, ...], Length(0, MOST_TASKS)]
    anchor: bytes | None
    fisher: bytes | None
    span: bytes | None


def _encode(memory: Memory) -> bytes:
    tasks = tuple(
        _Task(
            task.name.encode("utf-8", "replace")[:NAME_BYTES].decode("utf-8", "ignore"),
            task.began,
            task.sketch,
            tuple(map(_row, task.held_out)),
            task.loss,
            task.reservoir.seed,
            tuple(map(_row, task.reservoir.kept)),
        )
        for task in memory.tasks
    )
    vectors = (
        None if vector is None else np.asarray(vector, "<f4").tobytes()
        for vector in (memory.anchor, memory.fisher, memory.span)
    )
    body = to_bytes(_Memory(tasks, *vectors))
    return MARK + hashlib.sha256(body).digest() + body


def _decode(data: bytes, dimension: int) -> Memory:
    """Raises :class:`BanyanError`."""
    start = len(MARK) + 32
    mark, digest, body = data[: len(MARK)], data[len(MARK) : start], data[start:]
    if mark != MARK or hashlib.sha256(body).digest() != digest:
        raise MemoryDamaged("The memory's bytes are not those that were written")
    plain = canonical.decode(body, max_bytes=len(body), max_items=1 << 20, floats=True)
    stored = from_plain(_Memory, plain)
    tasks = tuple(
        Task(
            each.name,
            each.began,
            each.sketch,
            tuple(map(_example, each.held_out)),
            each.loss,
            Reservoir(each.seed, tuple(map(_example, each.kept))),
        )
        for each in stored.tasks
    )
    return Memory(tasks, *(_vector(part, dimension) for part in (stored.anchor, stored.fisher, stored.span)))


def _row(example: Example) -> _Row:
    return _Row(np.asarray(example.ids, "<i4").tobytes(), np.asarray(example.labels, "<i4").tobytes())


def _example(row: _Row) -> Example:
    if len(row.ids) != len(row.labels) or len(row.ids) % 4 or not row.ids:
        raise MemoryDamaged("A row's ids and labels do not belong together")
    ids, labels = (tuple(np.frombuffer(part, "<i4").tolist()) for part in (row.ids, row.labels))
    if min(ids) < 0 or any(label not in (token, IGNORED) for token, label in zip(ids, labels, strict=True)):
        raise MemoryDamaged("A row has labels that are not its own")
    return Example(ids, labels)


def _vector(data: bytes | None, dimension: int) -> Vector | None:
    if data is None:
        return None
    if len(data) != 4 * dimension:
        raise MemoryDamaged(
            f"A vector has {len(data):,} bytes where this network's adapters have {4 * dimension:,}"
        )
    vector = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise MemoryDamaged("A vector has numbers that are not finite")
    return vector
