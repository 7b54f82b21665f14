"""The inputs of a rule: n rows of d numbers, read a block of columns at a time.

Rows may be arrays, memory maps, torch tensors or encoded vectors, and are never copied whole:
a rule sees lists of float32 views of one block of columns, small enough for the processor's cache. That
bounds the memory of every rule, whatever n and d.

Rows are brought into a canonical order, by their content, before anything is computed: so no result
depends on the order in which inputs arrived, not even in its last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from mmap import mmap
from typing import Any, Final, TypeAlias, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from .column_program import finite
from .compiled import kernels
from .device import DeviceRow
from .encoding import EncodedVector
from .errors import AggregationError, NotFinite
from .memory_maps import give_back, map_behind

Float32s: TypeAlias = npt.NDArray[np.float32]
Row: TypeAlias = "Float32s | EncodedVector | DeviceRow | Strip"

CACHE: Final = 1 << 20
"""Bytes of one block of all rows. Smaller: more calls; larger: the block leaves the second-level cache."""

_HEAD: Final = 16
"""Columns that tell rows apart but for duplicates."""

_RELEASE: Final = 1 << 24
"""Bytes read from all memory maps before their pages are given back."""


@dataclass(frozen=True, eq=False)
class Strip:
    """Columns [start, stop) of a matrix of ``width`` columns that lies row by row in ``vector``, as one row of numbers.

    Nothing is copied: what is asked for is decoded when it is.
    """

    vector: EncodedVector
    width: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.vector.size // self.width * (self.stop - self.start)

    def __len__(self) -> int:
        return self.size

    def decode(self, start: int = 0, stop: int | None = None, out: Float32s | None = None) -> Float32s:
        """The float32 values [start, stop) of the strip, written to ``out`` where given."""
        stop = self.size if stop is None else stop
        wide = self.stop - self.start
        first, last = start // wide, -(-stop // wide)
        lines = self.vector.decode(first * self.width, last * self.width).reshape(-1, self.width)
        piece = lines[:, self.start : self.stop].ravel()[start - first * wide : stop - first * wide]
        if out is None:
            return piece
        out[:] = piece
        return out

    def scaled(self, factor: float) -> Strip:
        """This strip times ``factor`` >= 0."""
        return Strip(self.vector.scaled(factor), self.width, self.start, self.stop)


class Rows:
    """``n`` rows of ``d`` columns in canonical order; ``order[i]`` is the position of row i in the input, and
    ``place[order[i]]`` is i again.

    ``twin[i]`` is the first row identical to row i (i itself where there is none before it).
    """

    def __init__(self, updates: Any) -> None:
        given = self._given = _checked(updates)
        if not len(given):
            raise AggregationError("there is nothing to aggregate: pass at least one input")
        self.n, self.d = len(given), len(given[0])
        if isinstance(given, list) and (lengths := list(map(len, given))).count(self.d) < self.n:
            raise AggregationError(f"inputs must have the same length, but have lengths {lengths}")
        if not self.d:
            raise AggregationError("inputs are empty: a row needs at least one number")
        self.order, self.twin = _canonical_order(given, self.d, _heads(given, min(self.d, _HEAD)))

    @cached_property
    def rows(self) -> list[Row]:
        """The rows, in canonical order."""
        return [self._given[i] for i in self.order]

    @cached_property
    def whole(self) -> Float32s | None:
        """The array that all rows are, where it lies in plain memory; its rows in the order of the input."""
        given = self._given
        return given if isinstance(given, np.ndarray) and _in_plain_memory([given]) else None

    @cached_property
    def place(self) -> list[int]:
        """Where in the canonical order each input is."""
        place = [0] * self.n
        for at, i in enumerate(self.order):
            place[i] = at
        return place

    @cached_property
    def plain(self) -> bool:
        """Whether all rows lie side by side in memory, and none of them in a memory map."""
        return self.whole is not None or _in_plain_memory(self.rows)

    @property
    def integer_block(self) -> int:
        """Columns per scale where all rows are integer codes in the same blocks, else 0."""
        first = self.rows[0]
        if not isinstance(first, EncodedVector) or first.scales is None:
            return 0
        kinds = {(row.codec, row.block) if isinstance(row, EncodedVector) else None for row in self.rows}
        return first.block if len(kinds) == 1 else 0

    def width(self, multiple: int = 1) -> int:
        """Columns of one block: a multiple of ``multiple`` such that all rows of it fit the cache."""
        fit = CACHE // (4 * (self.n + 2))
        return max(1, fit // multiple) * multiple

    def mapped(self, points: Sequence[Row]) -> list[mmap]:
        """The memory map behind each of the points that lies in one."""
        behind: dict[int, mmap | None] = {}
        maps = []
        for row in points:
            array = row.codes if isinstance(row, EncodedVector) else row
            base = getattr(array, "base", None)
            if base is not None and id(base) not in behind:
                behind[id(base)] = map_behind(array)
            maps.append(behind.get(id(base)))
        return [each for each in maps if each is not None]

    def spans(self, width: int, points: Sequence[Row]) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) over all columns, ``width`` at a time, and keep the memory of maps small."""
        mapped = self.mapped(points)
        maps = list({id(each): each for each in mapped}.values())
        kept = 0
        for start in range(0, self.d, width):
            stop = min(self.d, start + width)
            yield start, stop
            if (stop - kept) * 4 * len(mapped) >= _RELEASE:
                kept = stop
                give_back(maps)
        give_back(maps)

    def blocks(
        self, width: int, points: Sequence[Row] | None = None
    ) -> Iterator[tuple[int, int, list[Float32s]]]:
        """Yield (start, stop, views): one float32 view (stop - start,) per row, valid until the next step.

        Reads ``points`` instead of all rows where given. A view may be part of an input: never write to it.
        """
        points = self.rows if points is None else points
        plain = [in_memory(row) for row in points]
        scratch = [np.empty(0 if each else min(width, self.d), np.float32) for each in plain]
        for start, stop in self.spans(width, points):
            yield start, stop, [read(row, start, stop, at) for row, at in zip(points, scratch, strict=True)]

    def stretches(self, width: int, points: list[Row]) -> Iterable[tuple[int, int, list[Float32s]]]:
        """:meth:`blocks` for the compiled kernel, which cuts them up itself: rows that lie in plain memory
        come whole."""
        if kernels is not None and (self.plain if points is self.rows else _in_plain_memory(points)):
            return [(0, self.d, cast("list[Float32s]", points))]
        return self.blocks(width, points)

    def sample(self, index: int, step: int) -> bytes:
        """Every ``step``-th number of a row, as the bytes of their float32 values."""
        row = self.rows[index]
        if isinstance(row, np.ndarray):
            return row[::step].tobytes()
        return np.concatenate([row.decode(at, at + 1) for at in range(0, self.d, step)]).tobytes()

    def refuse_nonfinite(self) -> None:
        """Raise :class:`NotFinite` naming every row with NaN or an infinity, by its position in the input."""
        bad: set[int] = set()
        for _, _, views in self.blocks(self.width()):
            bad.update(self.order[i] for i, view in enumerate(views) if not finite(view))
        if bad:
            raise NotFinite(sorted(bad))


def read(row: Row, start: int, stop: int, scratch: Float32s) -> Float32s:
    """Columns [start, stop) of a row as contiguous numbers: a view of it, or written to ``scratch``."""
    if in_memory(row):
        return row[start:stop]
    if isinstance(row, np.ndarray):
        scratch[: stop - start] = row[start:stop]
        return scratch[: stop - start]
    return row.decode(start, stop, scratch[: stop - start])


def in_memory(row: Row) -> TypeGuard[Float32s]:
    """Whether a row's numbers lie side by side in memory, so that they need not be copied to be used."""
    return isinstance(row, np.ndarray) and (flags := row.flags).c_contiguous and flags.aligned


def _in_plain_memory(points: Sequence[Row]) -> bool:
    """Whether all rows lie side by side in memory, and none of them in a memory map."""
    owners: dict[int, Float32s] = {}
    for row in points:
        if not in_memory(row):
            return False
        owners[id(row.base)] = row  # the rows of one array share what owns their memory: looked at once
    return not any(map(map_behind, owners.values()))


def origin(like: Rows) -> Row:
    """A row of zeros beside ``like``, without the memory: integer codes where the rows are, so that
    distances to it stay exact."""
    block = like.integer_block
    first = like.rows[0]
    if block and isinstance(first, EncodedVector):
        codes = np.broadcast_to(np.zeros(1, first.codes.dtype), first.codes.shape)
        return EncodedVector(first.codec, like.d, block, codes, np.zeros(-(-like.d // block), np.float32))
    return np.broadcast_to(np.float32(0), (like.d,))


def reference(vector: Any, like: Rows, name: str) -> Row:
    """One more row beside ``like``, such as a node's own vector: checked like an input."""
    try:
        row = _row(vector, 0)
    except AggregationError as error:
        raise AggregationError(f"{name}: {error}") from None
    if len(row) != like.d:
        raise AggregationError(f"{name} has length {len(row)}, but the inputs have length {like.d}")
    try:
        Rows([row]).refuse_nonfinite()
    except NotFinite:
        raise AggregationError(f"{name} is not finite (NaN or infinity)") from None
    return row


def _checked(updates: Any) -> list[Row] | Float32s:
    """The rows of a float32 array (n, d), which is left whole, of a tensor, or of a sequence of rows, each checked."""
    if isinstance(updates, np.ndarray):
        if updates.ndim != 2:
            raise AggregationError(
                f"inputs are an array (n, d) or a sequence of rows, not shape {updates.shape}"
            )
        if updates.dtype == np.float32:
            return updates
    elif _is_tensor(updates):
        if updates.ndim != 2:
            raise AggregationError(
                f"inputs are a tensor (n, d) or a sequence of rows, not {tuple(updates.shape)}"
            )
        updates = list(updates)
    elif isinstance(updates, EncodedVector):
        raise AggregationError("got one encoded vector: pass a sequence of them")
    elif isinstance(updates, (str, bytes)) or not isinstance(updates, Sequence):
        raise AggregationError(
            f"inputs are an array (n, d) or a sequence of rows, not {type(updates).__name__}"
        )
    return [_row(row, i) for i, row in enumerate(updates)]


def _row(row: Any, index: int) -> Row:
    if isinstance(row, DeviceRow | Strip):
        return row
    if isinstance(row, EncodedVector):
        return row.codes if row.codec == "float32" else row
    if _is_tensor(row):
        row = _tensor(row, index)
        if isinstance(row, DeviceRow):
            return row
    if not isinstance(row, np.ndarray):
        raise AggregationError(
            f"input {index} is a {type(row).__name__}: pass float32 arrays or encoded vectors"
        )
    if row.ndim != 1:
        raise AggregationError(f"input {index} has shape {row.shape}: a row has one dimension")
    if row.dtype != np.float32:
        raise AggregationError(
            f"input {index} is {row.dtype}: rules take float32, or encoded vectors, which carry their scales; "
            "convert it with .astype(numpy.float32)"
        )
    return row


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def _tensor(value: Any, index: int) -> Float32s | DeviceRow:
    """A tensor (d,) as an array that shares its memory, or as a row to be read from its device."""
    kind = str(value.dtype).removeprefix("torch.")
    if kind != "float32" or value.ndim != 1:
        raise AggregationError(
            f"input {index} is a {kind} tensor of shape {tuple(value.shape)}: rows are float32 (d,); use .float()"
        )
    if value.device.type != "cpu":
        return DeviceRow(value.detach())
    array: Float32s = value.detach().numpy()
    return array


def _heads(rows: Sequence[Row] | Float32s, width: int) -> list[bytes]:
    """The bits of the first columns of each row; of an array in one piece, since many small reads take longer than
    the mean of short rows."""
    if not isinstance(rows, np.ndarray):
        return [_bits(row, 0, width) for row in rows]
    size, together = 4 * width, rows[:, :width].tobytes()
    return [together[at : at + size] for at in range(0, len(together), size)]


def _canonical_order(
    rows: Sequence[Row] | Float32s, d: int, keys: list[bytes]
) -> tuple[list[int], list[int]]:
    """The rows' positions sorted by their float32 bits, and for each sorted row its first identical one.

    Reads only as many columns as it takes to tell the rows apart; ``keys``, the first of them, do for rows without
    duplicates.
    """
    start = min(d, _HEAD)
    everyone = range(len(rows))
    if len(set(keys)) == len(rows):  # as always but for duplicates
        return sorted(everyone, key=keys.__getitem__), list(everyone)
    groups = _split([list(everyone)], rows, 0, start)
    while start < d and len(groups) < len(rows):
        groups = _split(groups, rows, start, min(d, 8 * start, start + (1 << 16)))
        start = min(8 * start, start + (1 << 16))
    order = [i for group in groups for i in group]
    twin: list[int] = []
    for group in groups:
        twin += [len(twin)] * len(group)
    return order, twin


def _split(groups: list[list[int]], rows: Sequence[Row] | Float32s, start: int, stop: int) -> list[list[int]]:
    """Split groups of rows that agree before ``start`` by their bits in [start, stop), in their order."""
    parts = []
    for group in groups:
        if len(group) == 1:
            parts.append(group)
            continue
        keys: dict[bytes, list[int]] = {}
        for i in group:
            keys.setdefault(_bits(rows[i], start, stop), []).append(i)
        parts += [keys[key] for key in sorted(keys)]
    return parts


def _bits(row: Row, start: int, stop: int) -> bytes:
    return (row[start:stop] if isinstance(row, np.ndarray) else row.decode(start, stop)).tobytes()
