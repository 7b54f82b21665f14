"""A clock that jumps from event to event: years pass in a second, and always in the same order."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable
from typing import Final

__all__ = ["STAGE", "Clock"]

STAGE: Final = 0
"""Who arranges what happens to the world itself, such as mishaps; devices count from 1."""

PAGE: Final = 32
"""ms that are kept together, and put in order when their time has come: an order of all that is ever to happen would be
looked through, far and wide, for each single thing (a calendar queue: R. Brown, 1988)."""

Entry = tuple[int, int, int, Callable[[], None]]


class Clock:
    """Virtual milliseconds and what is to happen when.

    Ties go by who arranged it, the stage first, and then by that one's turn. So in which order things happen to a
    device hangs on nothing that happens to others at the same moment, and is the same in whichever process it lives.
    """

    def __init__(self, start: int = 1_700_000_000_000) -> None:
        self.now = start
        self._open: list[Entry] = []
        """A heap of what is to happen on the open page and before it."""
        self._page = start // PAGE
        self._pages: dict[int, list[Entry]] = {}
        """What is to happen later, by page, in no order."""
        self._next: list[int] = []
        """A heap of their numbers."""
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
        entry = (max(time, self.now), by, turn, action)
        page = time // PAGE
        if page <= self._page:
            heapq.heappush(self._open, entry)
        elif page in self._pages:
            self._pages[page].append(entry)
        else:
            self._pages[page] = [entry]
            heapq.heappush(self._next, page)

    def step(self, until: int) -> bool:
        """Let the next thing happen if it is due by ``until``; False when there is none."""
        if not self._open and self._next and self._next[0] * PAGE <= until:
            self._page = heapq.heappop(self._next)
            self._open = self._pages.pop(self._page)
            heapq.heapify(self._open)
        if self._open and self._open[0][0] <= until:
            self.now, _, _, action = heapq.heappop(self._open)
            action()
            return True
        self.now = max(self.now, until)
        return False
