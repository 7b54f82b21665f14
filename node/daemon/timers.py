"""Wakes the core when it asked to be woken."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable

import trio

from banyan.node.daemon.clock import Clock

#: The clock of the day may be set while we sleep, so nobody sleeps longer than this at once (seconds).
LONGEST_NAP = 30.0


class Timers:
    """Timers by key, in wall-clock milliseconds; setting a key again replaces its earlier time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        self._changed = trio.Event()

    def set(self, key: str, at: int) -> None:
        """Fire ``key`` at ``at`` (ms), and no longer when it was set to before."""
        self._due[key] = at
        heapq.heappush(self._heap, (at, key))
        self._changed.set()

    def clear(self) -> None:
        """Forget every timer."""
        self._due.clear()
        self._heap.clear()

    def __len__(self) -> int:
        return len(self._due)

    def _take_due(self, now: int) -> list[str]:
        fired = []
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            if self._due.get(key) == at:
                del self._due[key]
                fired.append(key)
        return fired

    async def run(self, fire: Callable[[str], Awaitable[None]]) -> None:
        """Call ``fire`` with each key whose time has come, in the order of their times; runs for ever."""
        while True:
            for key in self._take_due(self._clock()):
                await fire(key)
            self._changed = trio.Event()
            nap = LONGEST_NAP
            if self._heap:
                nap = min(nap, max(0.0, (self._heap[0][0] - self._clock()) / 1000))
            with trio.move_on_after(nap):
                await self._changed.wait()
