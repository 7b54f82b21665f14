"""The border between the processes that share one world: what crosses it, and how they keep step.

Nothing gets from one device to another in less than the network's least latency L. So what a process does before T can
be heard of elsewhere from T + L on, and each may go on until L after the time up to which all others have told what has
crossed (conservative synchronisation; R. M. Fujimoto, *Parallel discrete event simulation*, 1990). Each tells several
times within L, so that one that is slower for a moment holds nobody up.

All processes run the same program over the same seed, so they come to each :meth:`Border.together` in the same order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final

import msgpack

from banyan.security.errors import BanyanError
from banyan.simulations.clock import Clock

__all__ = ["Border", "Crossing"]

Crossing = tuple[int, int, int, int, str, tuple[Any, ...]]
"""When it arrives (ms), which device arranged it, as its which turn, to which device, what it is, and its content."""

STEPS: Final = 4
"""How often a process tells the others within the least latency. More let them run apart further, and talk more."""

CROSSED: Final = "crossed"
GATHERED: Final = "gathered"
FAILED: Final = "failed"


class Border:
    """One process's side of it.

    Args:
        rank: this process's number, from 0.
        lines: to each of the others, by rank.
        homes: in which process each device lives, by its number; the first device is number 1.
    """

    def __init__(self, rank: int, lines: Mapping[int, Connection], homes: Sequence[int]) -> None:
        self.rank = rank
        self.arrive: Callable[[Crossing], None] = lambda crossing: None
        """What takes in what has come."""
        self._homes = homes
        self._lines = {other: _Line(lines[other]) for other in sorted(lines)}
        self._out: dict[int, list[Crossing]] = {other: [] for other in self._lines}
        self._done = 0
        """The time before which all has happened here."""

    def is_here(self, device: int) -> bool:
        """Whether the device of that number lives in this process."""
        return self._homes[device - 1] == self.rank

    def send(self, crossing: Crossing) -> None:
        """Bring something to a device elsewhere."""
        self._out[self._homes[crossing[3] - 1]].append(crossing)

    def let_pass(self, clock: Clock, end: int, least: int) -> None:
        """Let all happen here that is due by ``end`` (ms), where nothing gets anywhere in less than ``least`` ms.

        Raises:
            BanyanError: another process failed or ended.
        """
        if not self._done:  # nothing happens anywhere before the world begins
            self._done = clock.now
            for line in self._lines.values():
                line.done = clock.now
        step = max(1, least // STEPS)
        while self._done <= end:
            for line in self._lines.values():
                while line.has_news or line.done + least <= self._done:
                    self._take_in(line)
            safe = min((line.done for line in self._lines.values()), default=end) + least
            self._done = min(safe, self._done + step, end + 1)
            while clock.step(self._done - 1):
                pass
            for other, line in self._lines.items():
                line.say(CROSSED, (self._done, self._out[other]))
                self._out[other] = []

    def together(self, value: Any) -> list[Any]:
        """What every process says, by rank. Maps, tuples, texts, bytes and numbers; lists come back as tuples.

        Raises:
            BanyanError: another process failed or ended.
        """
        for line in self._lines.values():
            line.say(GATHERED, value)
        said = {self.rank: value}
        for other, line in self._lines.items():
            while line.gathered is None:
                self._take_in(line)
            (said[other],), line.gathered = line.gathered, None
        return [said[rank] for rank in sorted(said)]

    def fail(self, why: str) -> None:
        """Tell the others that this process cannot go on."""
        for line in self._lines.values():
            line.say(FAILED, why)

    def _take_in(self, line: _Line) -> None:
        """Hear the next thing that is said on a line, and take in what has crossed."""
        kind, content = line.hear()
        if kind == FAILED:
            raise BanyanError(f"A process of the run failed: {content}", "Run it in one process to see where")
        if kind == GATHERED:
            line.gathered = (content,)
        else:
            line.done, crossings = content
            for crossing in crossings:
                self.arrive(crossing)


class _Line:
    """To one other process. What it says is read as it comes, so that neither waits for room to speak."""

    def __init__(self, connection: Connection) -> None:
        self.done = 0
        """The time before which all that crosses from there is here."""
        self.gathered: tuple[Any] | None = None
        """What it says where all say something, until that is asked for: it says no more before it has its answer."""
        self._connection = connection
        self._heard: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                data = self._connection.recv_bytes()
                kind, content = msgpack.unpackb(data, use_list=False, strict_map_key=False)
                self._heard.put((kind, content))
        self._heard.put((FAILED, "it has ended without a word, perhaps for want of memory"))

    def say(self, kind: str, content: Any) -> None:
        with suppress(OSError):  # one that has ended is noticed where something is heard of it
            self._connection.send_bytes(msgpack.packb((kind, content)))

    def hear(self) -> tuple[str, Any]:
        """The next thing that was said, as soon as it is.

        Raises RuntimeError where it waits for us to say something first: the processes are out of step.
        """
        if self.gathered is not None:
            raise RuntimeError("a process of the run waits for all to come together, and this one does not")
        return self._heard.get()

    @property
    def has_news(self) -> bool:
        """Whether something was said that can be heard."""
        return self.gathered is None and not self._heard.empty()
