"""Replay: a few rows of earlier tasks join every step (Robins 1995; Chaudhry et al. 2019, "On tiny episodic
memories")."""

from __future__ import annotations

from collections.abc import Sequence

from banyan.node.learning.continual.memory import Task
from banyan.node.learning.continual.protection import Protection
from banyan.node.learning.tokens import Example
from banyan.node.learning.trainer import row_order


class Replay(Protection):
    """Adds ``ratio`` rows of the reservoirs of ``earlier`` for each new row, the tasks taking turns.

    The loss stays the mean over all tokens of the step. Where a step has too few rows for every task, the tasks that
    were left out come first in the next step. Rows come in an order that ``seed`` fixes, from the step numbered
    ``step`` on."""

    def __init__(self, earlier: Sequence[Task], ratio: float, *, seed: int, step: int, batch: int) -> None:
        kept = [task.reservoir.kept for task in earlier if task.reservoir.kept]
        self._ratio = ratio
        self._turn = step * round(batch * ratio)
        self._samples = [
            (rows, row_order(len(rows), seed + at, len(range(at, self._turn, len(kept)))))
            for at, rows in enumerate(kept)
        ]

    def rows(self, new: int) -> Sequence[Example]:
        """See :class:`Protection`."""
        chosen = []
        for _ in range(round(new * self._ratio) if self._samples else 0):
            rows, order = self._samples[self._turn % len(self._samples)]
            chosen.append(rows[next(order)])
            self._turn += 1
        return chosen
