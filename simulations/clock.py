"""A clock that jumps from event to event: years pass in a second, and always in the same order."""

from __future__ import annotations

import heapq
from collections.abc import Callable

__all__ = ["Clock", "Scheduled"]


class Scheduled:
    """Something that will happen at ``at`` (ms), unless it is cancelled first."""

    __slots__ = ("action", "at")

    def __init__(self, at: int, action: Callable[[], None]) -> None:
        self.at = at
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Clock:
    """Virtual milliseconds and what is to happen when. Ties happen in the order in which they were scheduled."""

    def __init__(self, start: int = 1_700_000_000_000) -> None:
        self.now = start
        self._queue: list[tuple[int, int, Scheduled]] = []
        self._count = 0

    def at(self, time: int, action: Callable[[], None]) -> Scheduled:
        """Do ``action`` at ``time``, or now if that has passed."""
        self._count += 1
        scheduled = Scheduled(max(time, self.now), action)
        heapq.heappush(self._queue, (scheduled.at, self._count, scheduled))
        return scheduled

    def after(self, delay: int, action: Callable[[], None]) -> Scheduled:
        return self.at(self.now + delay, action)

    def step(self, until: int) -> bool:
        """Let the next thing happen if it is due by ``until``; False when there is none."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            at, _, scheduled = heapq.heappop(queue)
            if scheduled.action is not None:
                self.now = at
                scheduled.action()
                return True
        self.now = max(self.now, until)
        return False
