"""A clock that jumps from event to event: years pass in a second, and always in the same order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Clock", "Scheduled"]


@dataclass(order=True, slots=True)
class Scheduled:
    """Something that will happen at ``at`` (ms), unless it is cancelled first."""

    at: int
    order: int
    action: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        self.action = None


class Clock:
    """Virtual milliseconds and what is to happen when. Ties happen in the order in which they were scheduled."""

    def __init__(self, start: int = 1_700_000_000_000) -> None:
        self.now = start
        self._queue: list[Scheduled] = []
        self._count = 0

    def at(self, time: int, action: Callable[[], None]) -> Scheduled:
        """Do ``action`` at ``time``, or now if that has passed."""
        self._count += 1
        scheduled = Scheduled(max(time, self.now), self._count, action)
        heapq.heappush(self._queue, scheduled)
        return scheduled

    def after(self, delay: int, action: Callable[[], None]) -> Scheduled:
        return self.at(self.now + delay, action)

    def step(self, until: int) -> bool:
        """Let the next thing happen if it is due by ``until``; False when there is none."""
        while self._queue and self._queue[0].at <= until:
            scheduled = heapq.heappop(self._queue)
            if scheduled.action is not None:
                self.now = scheduled.at
                scheduled.action()
                return True
        self.now = max(self.now, until)
        return False
