"""Elementwise arithmetic on the columns of n rows: what trimmed means, medians and weighted sums come down to.

A program is a straight list of steps, each of which makes one row out of earlier ones. It treats every
column alike, and each step rounds correctly in an order that is fixed, so the result has the same bits on
every machine, whatever runs it: the compiled kernel over strips that stay in the first-level cache, NumPy
over wide blocks, or torch on an accelerator.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from .compiled import kernels

Float32s: TypeAlias = npt.NDArray[np.float32]
Record: TypeAlias = tuple[int, int, int, int, int, int, float]

MINIMUM, MAXIMUM, COMBINE, CLOSER = range(4)
"""What a step makes of rows a, b, c, d: ``min(a, b)``; ``max(a, b)``; ``scale · Σ factorᵢ termᵢ``, added from
first to last, of the b terms from number a of the list on; ``b`` where ``c + b < d`` and ``a`` elsewhere."""

_STEP: Final = np.dtype([(name, "i4") for name in ("op", "a", "b", "c", "d", "out")] + [("scale", "f4")])

_STRIP: Final = 1 << 15
"""Bytes that all rows of a strip may take: a first-level cache."""

_LONG_STRIP: Final = 4096
"""Columns of a strip where nothing but a sum is kept: long runs are read fastest (measured)."""

_WIDE: Final = 1 << 13
"""Columns that are computed at once in float64."""


@dataclass(frozen=True, eq=False)
class ColumnProgram:
    """Steps on numbered rows: first the ``inputs``, then the result, then ``buffers`` to work in.

    ``steps``: records (op, a, b, c, d, out, scale). ``terms`` and ``factors``: what the sums add up.
    Written by :class:`Draft`.
    """

    inputs: int
    buffers: int
    steps: npt.NDArray[Any]
    terms: npt.NDArray[np.int32]
    factors: Float32s

    def run(self, views: list[Float32s], out: Float32s) -> bool:
        """Write the result for these contiguous rows (w,) to ``out`` (w,); whether it is finite, and so are
        the rows, where NaN could vanish in comparisons.

        Where only the result is not, a sum left float32's range: see :meth:`run_wide`. A zero in the result
        is never negative.
        """
        return self.run_numpy(views, out) if kernels is None else self.run_compiled(views, out)

    def run_compiled(self, views: list[Float32s] | tuple[Float32s, list[int]], out: Float32s) -> bool:
        """:meth:`run`, by the compiled kernel; also on all the rows of an array (n, w), in the order given with it."""
        assert kernels is not None  # run() asked
        good: bool = kernels.run(*self._packed, views, out)
        return good

    def run_numpy(self, views: Sequence[Float32s], out: Float32s) -> bool:
        """:meth:`run`, by NumPy."""
        if self.compares and not all(map(finite, views)):
            return False
        with np.errstate(over="ignore", invalid="ignore"):  # looked for in the result, which costs less
            self.evaluate(views, out, np.empty((self.buffers + 1, len(out)), np.float32))
        out += np.float32(0)
        return finite(out)

    def run_wide(self, views: Sequence[Float32s], out: Float32s) -> None:
        """Compute the columns of ``out`` that are not finite again, in float64."""
        largest = np.finfo(np.float32).max
        for start in range(0, len(out), _WIDE):
            piece = out[start : start + _WIDE]
            bad = ~np.isfinite(piece)
            if bad.any():
                wide, *space = np.empty((self.buffers + 2, len(piece)))
                self.evaluate([view[start : start + _WIDE].astype(np.float64) for view in views], wide, space)
                piece[bad] = np.clip(wide[bad], -largest, largest)

    @cached_property
    def compares(self) -> bool:
        """Whether values are compared, and not only added up."""
        return bool(np.any(self.steps["op"] != COMBINE))

    @cached_property
    def _packed(self) -> tuple[bytes, bytes, bytes, int, int, int, bool]:
        strip = _LONG_STRIP
        if self.buffers:
            fit = _STRIP // (4 * (self.inputs + 1 + self.buffers))
            strip = min(256, max(128, 1 << max(fit, 1).bit_length() - 1))
        whole = (self.steps.tobytes(), self.terms.tobytes(), self.factors.tobytes())
        return *whole, self.inputs, self.buffers, strip, self.compares

    @cached_property
    def _added(self) -> list[tuple[int, float]]:
        return list(zip(self.terms.tolist(), self.factors.tolist(), strict=True))

    @cached_property
    def _shared(self) -> list[tuple[int, float]]:
        """Terms with a factor that several sums share, worth multiplying once."""
        often = Counter(self._added).items()
        return [(slot, f) for (slot, f), count in often if count > 1 and f != 1 and slot < self.inputs]

    def evaluate(self, views: Sequence[Any], out: Any, space: Any, library: Any = np) -> None:
        """Take all steps in NumPy or torch, in the dtype of ``out`` (w,); ``space``: (buffers + 1, w)."""
        slots = [*views, out, *space[1:]]
        scaled = {(slot, f): slots[slot] * f for slot, f in self._shared}

        def term(slot: int, f: float) -> Any:
            if f == 1:
                return slots[slot]
            return scaled[slot, f] if (slot, f) in scaled else library.multiply(slots[slot], f, out=space[0])

        for op, a, b, c, d, to, scale in self.steps.tolist():
            target = slots[to]
            if op == MINIMUM:
                library.minimum(slots[a], slots[b], out=target)
            elif op == MAXIMUM:
                library.maximum(slots[a], slots[b], out=target)
            elif op == CLOSER:
                target[:] = library.where(slots[c] + slots[b] < slots[d], slots[b], slots[a])
            else:
                first, *others = self._added[a : a + b]
                target[:] = term(*first)
                for other in others:
                    library.add(target, term(*other), out=target)
                if scale != 1:
                    library.multiply(target, scale, out=target)

    def after(self, mix: Float32s) -> ColumnProgram:
        """This program on mixtures of m rows: ``mix`` (inputs, m) holds the weights of the rows in each.

        Mixtures that are one of the rows cost nothing.
        """
        n = mix.shape[1]
        steps: list[Record] = []
        terms: list[int] = []
        factors: list[float] = []
        place: list[int] = []
        for weights in mix:
            used = np.flatnonzero(weights).tolist() or [0]
            if len(used) == 1 and weights[used[0]] == 1:
                place.append(used[0])
                continue
            place.append(n + 1 + len(steps))
            steps.append((COMBINE, len(terms), len(used), 0, 0, place[-1], 1))
            terms += used
            factors += weights[used].tolist()
        moved = np.array([*place, n, *range(n + 1 + len(steps), n + 1 + len(steps) + self.buffers)], np.int32)
        rest = self.steps.copy()
        compare = rest["op"] != COMBINE
        for name in ("a", "b", "c", "d"):
            rest[name][compare] = moved[rest[name][compare]]
        rest["out"] = moved[rest["out"]]
        rest["a"][~compare] += len(terms)
        return ColumnProgram(
            n,
            self.buffers + len(steps),
            np.concatenate([np.array(steps, _STEP), rest]),
            np.concatenate([np.array(terms, np.int32), moved[self.terms]]),
            np.concatenate([np.array(factors, np.float32), self.factors]),
        )


class Draft:
    """A program being written: each method adds a step and returns the number of the row that it makes.

    >>> draft = Draft(2)
    >>> a, b = draft.inputs
    >>> smaller = draft.finish(draft.combine([draft.minimum(a, b)]))
    >>> out = np.empty(2, np.float32)
    >>> smaller.run([np.float32([1, 5]), np.float32([3, 4])], out), out
    (True, array([1., 4.], dtype=float32))
    """

    def __init__(self, inputs: int) -> None:
        self.inputs: Final = range(inputs)
        self._steps: Final[list[tuple[int, tuple[int, ...], tuple[float, ...], float]]] = []

    def minimum(self, a: int, b: int) -> int:
        return self._add(MINIMUM, (a, b))

    def maximum(self, a: int, b: int) -> int:
        return self._add(MAXIMUM, (a, b))

    def closer(self, value: int, other: int, beside: int, twice: int) -> int:
        """``other`` where ``beside + other < twice``, and ``value`` elsewhere."""
        return self._add(CLOSER, (value, other, beside, twice))

    def combine(self, rows: Sequence[int], factors: Sequence[float] = (), scale: float = 1.0) -> int:
        """``scale · Σ factorᵢ rowᵢ``, added from first to last; all factors are 1 unless given."""
        return self._add(COMBINE, tuple(rows), tuple(factors) or (1.0,) * len(rows), scale)

    def _add(
        self, op: int, rows: tuple[int, ...], factors: tuple[float, ...] = (), scale: float = 1.0
    ) -> int:
        self._steps.append((op, rows, factors, scale))
        return len(self.inputs) + len(self._steps) - 1

    def finish(self, result: int) -> ColumnProgram:
        """The program that makes row ``result``, the last one written, without the steps it does not need.

        A buffer is used again as soon as no later step reads what it holds.
        """
        n = len(self.inputs)
        last = {result: n + len(self._steps)}
        for made in range(n + len(self._steps) - 1, n - 1, -1):
            if made in last:
                for row in self._steps[made - n][1]:
                    last.setdefault(row, made)
        slots = {row: row for row in self.inputs} | {result: n}
        free: list[int] = []
        buffers = 0
        steps: list[Record] = []
        terms: list[int] = []
        factors: list[float] = []
        for made in (row for row in sorted(last) if row >= n):
            op, rows, shares, scale = self._steps[made - n]
            given = [slots[row] for row in rows]
            done = [slots[row] for row in dict.fromkeys(rows) if row >= n and last[row] == made]
            if op != COMBINE:  # which reads its terms after it wrote its first sums
                free += done
            if made != result:
                if not free:
                    buffers += 1
                    free.append(n + buffers)
                slots[made] = free.pop()
            if op == COMBINE:
                free += done
                steps.append((op, len(terms), len(given), 0, 0, slots[made], scale))
                terms += given
                factors += shares
            else:
                a, b, c, d = (*given, 0, 0)[:4]
                steps.append((op, a, b, c, d, slots[made], scale))
        return ColumnProgram(
            n, buffers, np.array(steps, _STEP), np.array(terms, np.int32), np.array(factors, np.float32)
        )


def finite(values: Float32s) -> bool:
    """Whether all values are finite: one product over them where they are, which is the common case."""
    return math.isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())
