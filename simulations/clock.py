"""A clock that jumps from event to event: years pass in a second, and always in the same order."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable
from typing import Final

__all__ = ["STAGE", "Clock"]

STAGE: Final = 0
"""Who arranges what happens to the world itself, such as mishaps; devices count from 1."""


class Clock:
    """Virtual milliseconds and what is to happen when.

    Ties go by who arranged it, the stage first, and then by that one's turn. So in which order things happen to a
    device hangs on nothing that happens to others at the same moment, and is the same in whichever process it lives.
    """

    def __init__(self, start: int = 1_700_000_000_000) -> None:
        self.now = start
        self._queue: list[tuple[int, int, int, Callable[[], None]]] = []
        self._turns: defaultdict[int, int] = defaultdict(int)

    def at(self, time: int, action: Callable[[], None], by: int = STAGE) -> None:
        """Do ``action`` at ``time``, or now if that has passed; ``by`` arranges it."""
        self.put(time, by, self.turn(by), action)

    def after(self, delay: int, action: Callable[[], None], by: int = STAGE) -> None:
        """Do ``action`` in ``delay`` ms."""
        self.put(self.now + delay, by, self.turn(by), action)

    def turn(self, by: int) -> int:
        """The number of the next thing that ``by`` arranges."""
        turn = self._turns[by] = self._turns[by] + 1
        return turn

    def put(self, time: int, by: int, turn: int, action: Callable[[], None]) -> None:
        """Do at ``time`` what ``by`` has arranged as its ``turn``."""
        heapq.heappush(self._queue, (max(time, self.now), by, turn, action))

    @property
    def next(self) -> int | None:
        """When the next thing happens."""
        return self._queue[0][0] if self._queue else None

    def step(self, until: int) -> bool:
        """Let the next thing happen if it is due by ``until``; False when there is none."""
        queue = self._queue
        if queue and queue[0][0] <= until:
            self.now, _, _, action = heapq.heappop(queue)
            action()
            return True
        self.now = max(self.now, until)
        return False
