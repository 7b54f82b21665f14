"""A uniform sample of bounded size from all the rows that a task has ever shown.

Reservoir sampling (Vitter 1985, "Random sampling with a reservoir") in the form that gives every row a random ticket
and keeps the lowest ``capacity`` (Efraimidis & Spirakis 2006, A-Res with equal weights). The ticket is a keyed hash
of the row. So a row that is shown again, in the next round or after a crash, is not counted twice; a smaller sample
is a prefix of a larger one; and two samples with one key join into a sample of both. Vitter's Algorithm R has none of
these."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from banyan.node.learning.tokens import Example


@dataclass(frozen=True, slots=True)
class Reservoir:
    """``kept`` rows in the order of their tickets under ``seed`` (63 bits)."""

    seed: int
    kept: tuple[Example, ...] = ()

    def offer(self, rows: Iterable[Example], capacity: int) -> Reservoir:
        """This sample after ``rows`` were shown too, at most ``capacity`` rows large."""
        tickets = {self._ticket(row): row for row in (*self.kept, *rows)}
        lowest = heapq.nsmallest(capacity, tickets)
        return Reservoir(self.seed, tuple(tickets[ticket] for ticket in lowest))

    def _ticket(self, row: Example) -> bytes:
        key = self.seed.to_bytes(8)
        ids, labels = (np.asarray(each, "<i4").tobytes() for each in (row.ids, row.labels))
        return hashlib.blake2b(ids + labels, key=key, digest_size=16).digest()
