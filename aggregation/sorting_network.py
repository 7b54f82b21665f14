"""Order statistics of many columns at once, by networks of compare-exchanges.

Sorting a column of n numbers by itself cannot use vector instructions; a sorting network can: its steps
do not depend on the data, so each compare-exchange of two wires is one ``minimum`` and one ``maximum``
over whole rows of a block. Batcher's odd-even merge sort gives the network; what the caller does not need
of its output is pruned away. For the trimmed mean of 20 rows 160 of 206 operations are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from .rows import Float32s

Wires: TypeAlias = tuple[int, ...]


class Exchange(NamedTuple):
    """Put the smaller value on wire ``low`` and the larger on ``high``, as far as either is needed."""

    low: int
    high: int
    need_low: bool = True
    need_high: bool = True


@lru_cache(maxsize=64)
def sorting_network(n: int) -> tuple[tuple[Exchange, ...], Wires]:
    """Exchanges that sort n wires, and the wires in the order of their sorted values.

    Batcher's odd-even merge sort (1968), halves sorted first and then merged, for any n.
    """
    steps: list[Exchange] = []
    wires = _sort(tuple(range(n)), steps)
    return tuple(steps), wires


def _sort(wires: Wires, steps: list[Exchange]) -> Wires:
    if len(wires) < 2:
        return wires
    half = len(wires) // 2
    return _merge(_sort(wires[:half], steps), _sort(wires[half:], steps), steps)


def _merge(x: Wires, y: Wires, steps: list[Exchange]) -> Wires:
    """Merge two sorted lists of wires: their odd places, their even places, then neighbours."""
    if not x or not y:
        return x + y
    if len(x) == len(y) == 1:
        steps.append(Exchange(x[0], y[0]))
        return x + y
    odd, even = _merge(x[0::2], y[0::2], steps), _merge(x[1::2], y[1::2], steps)
    merged = [odd[0]]
    for low, high in zip(even, odd[1:], strict=False):
        steps.append(Exchange(low, high))
        merged += [low, high]
    paired = min(len(even), len(odd) - 1)
    return (*merged, *even[paired:], *odd[paired + 1 :])


def prune(steps: Sequence[Exchange], ordered: Iterable[int], together: Iterable[int]) -> list[Exchange]:
    """The part of a network on which the values of some wires depend.

    Wires in ``together`` only have to hold their values in any order, as for a sum: exchanges among them
    at the end are left out. Wires in ``ordered`` hold exactly their own.
    """
    unordered = set(together)
    wanted = unordered.union(ordered)
    kept: list[Exchange] = []
    for low, high, *_ in reversed(steps):
        if {low, high} <= unordered or not {low, high} & wanted:
            continue
        kept.append(Exchange(low, high, low in wanted, high in wanted))
        wanted |= {low, high}
        unordered -= {low, high}
    return kept[::-1]


class Sorter:
    """A network for n rows, compiled to a straight list of ``minimum`` and ``maximum`` over slots.

    The first n slots are the caller's rows, which are only read; the others are buffers, reused as soon as
    no later step reads them, and kept from block to block.

    ``ordered``: the ranks (0 the smallest) whose values are needed; ``together``: ranks whose values are
    needed in any order.
    """

    def __init__(self, n: int, ordered: Iterable[int] = (), together: Iterable[int] = ()) -> None:
        steps, wires = sorting_network(n)
        self.n: Final = n
        self.program: Final[list[tuple[np.ufunc, int, int, int]]] = []
        self._place = list(range(n))
        self._free: list[int] = []
        self._buffers = 0
        for step in prune(steps, [wires[rank] for rank in ordered], [wires[rank] for rank in together]):
            self._compile(step)
        self._result = [self._place[wire] for wire in wires]
        self._space = np.empty((0, 0), np.float32)

    def __call__(self, views: Sequence[Float32s]) -> list[Float32s]:
        """Rows by rank: those that were asked for hold their sorted values, the others anything.

        ``views``: n rows of one length. What is returned is valid until the next call, and may be a view.
        """
        width = len(views[0])
        if self._space.shape[1] < width:
            self._space = np.empty((self._buffers, width), np.float32)
        slots = [*views, *self._space[:, :width]]
        for choose, a, b, out in self.program:
            choose(slots[a], slots[b], out=slots[out])
        return [slots[i] for i in self._result]

    def _compile(self, step: Exchange) -> None:
        a, b = self._place[step.low], self._place[step.high]
        if step.need_low and step.need_high:
            smaller = self._take()
            self.program.append((np.minimum, a, b, smaller))
            larger = b if b >= self.n else a if a >= self.n else self._take()
            self.program.append((np.maximum, a, b, larger))
            self._place[step.low], self._place[step.high] = smaller, larger
            self._give(a, unless=larger)
            return
        out = a if a >= self.n else b if b >= self.n else self._take()
        self.program.append((np.minimum if step.need_low else np.maximum, a, b, out))
        self._place[step.low if step.need_low else step.high] = out
        self._give(a, unless=out)
        self._give(b, unless=out)

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        self._buffers += 1
        return self.n + self._buffers - 1

    def _give(self, slot: int, unless: int) -> None:
        if slot >= self.n and slot != unless:
            self._free.append(slot)
