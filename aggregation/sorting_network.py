"""Order statistics of many columns at once, by networks of compare-exchanges.

Sorting n numbers of a column one column at a time cannot use vector instructions; a sorting network can:
its steps do not depend on the data, so each compare-exchange of two wires is one ``minimum`` and one
``maximum`` over whole rows of a block. Batcher's odd-even merge sort gives the network; what the caller
does not need of its output is pruned away, which for a trimmed mean is most of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from .rows import Float32s


class Exchange(NamedTuple):
    """Put the smaller value on wire ``low`` and the larger on ``high``, as far as either is needed."""

    low: int
    high: int
    need_low: bool
    need_high: bool


@lru_cache(maxsize=256)
def batcher(n: int) -> tuple[tuple[int, int], ...]:
    """Compare-exchanges (low wire, high wire) that sort n wires (Batcher 1968; Knuth 5.2.2 M)."""
    pairs: list[tuple[int, int]] = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(min(k, n - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        pairs.append((i + j, i + j + k))
            k //= 2
        p *= 2
    return tuple(pairs)


@lru_cache(maxsize=256)
def network(n: int, needed: frozenset[int], together: frozenset[int] = frozenset()) -> tuple[Exchange, ...]:
    """The part of a sorting network whose outputs on the wires ``needed`` are the sorted values there.

    The wires ``together`` (needed too) only have to hold their values in any order, as for a sum: then
    exchanges among them at the end are left out.
    """
    wanted, unordered = set(needed | together), set(together)
    kept: list[Exchange] = []
    for low, high in reversed(batcher(n)):
        if low in unordered and high in unordered:
            continue
        need_low, need_high = low in wanted, high in wanted
        if need_low or need_high:
            kept.append(Exchange(low, high, need_low, need_high))
            wanted |= {low, high}
            unordered -= {low, high}
    return tuple(reversed(kept))


class Sorter:
    """A network for n rows, compiled to a straight list of ``minimum`` and ``maximum`` over slots.

    The first n slots are the caller's rows, which are only read; the others are buffers, reused as soon as
    no later step reads them, and kept from block to block.
    """

    def __init__(self, n: int, needed: Iterable[int], together: Iterable[int] = ()) -> None:
        self.n: Final = n
        self._program: list[tuple[np.ufunc, int, int, int]] = []
        self._place = list(range(n))
        self._free: list[int] = []
        self._buffers = 0
        for step in network(n, frozenset(needed), frozenset(together)):
            self._compile(step)
        self._space = np.empty((0, 0), np.float32)

    def __call__(self, views: Sequence[Float32s]) -> list[Float32s]:
        """The wires after the network: those that were asked for hold their sorted values.

        ``views``: n rows of one length. What is returned is valid until the next call, and may be a view.
        """
        width = len(views[0])
        if self._space.shape[1] < width:
            self._space = np.empty((self._buffers, width), np.float32)
        slots = [*views, *self._space[:, :width]]
        for choose, a, b, out in self._program:
            choose(slots[a], slots[b], slots[out])
        return [slots[i] for i in self._place]

    def _compile(self, step: Exchange) -> None:
        a, b = self._place[step.low], self._place[step.high]
        if step.need_low and step.need_high:
            smaller = self._take()
            self._program.append((np.minimum, a, b, smaller))
            larger = b if b >= self.n else a if a >= self.n else self._take()
            self._program.append((np.maximum, a, b, larger))
            self._place[step.low], self._place[step.high] = smaller, larger
            self._give(a, unless=larger)
            return
        out = a if a >= self.n else b if b >= self.n else self._take()
        self._program.append((np.minimum if step.need_low else np.maximum, a, b, out))
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
