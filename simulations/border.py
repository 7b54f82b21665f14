"""The border between the processes that share one world: what crosses it, and how they keep step.

Nothing gets from one device to another in less than the network's least latency L. So what a process does before T can
be heard of elsewhere from T + L on, and each may go on until L after the time up to which all others have told what has
crossed (conservative synchronisation; R. M. Fujimoto, *Parallel discrete event simulation*, 1990). Each tells several
times within L, so that one that is slower for a moment holds nobody up.

All processes run the same program over the same seed, so they come to each :meth:`Border.together` in the same order.
"""

from __future__ import annotations

import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgpack

from banyan.security.errors import BanyanError
from banyan.simulations.clock import Clock

__all__ = ["Border", "Crossing"]

Crossing = tuple[int, int, int, int, str, tuple[Any, ...]]
"""When it arrives (ms), which device arranged it, as its which turn, to which device, what it is, and its content."""

STEPS: Final = 8
"""How often a process tells the others within the least latency. More let them run apart further, and talk more."""

LENGTH: Final = struct.Struct(">Q")
"""Comes before each message."""

READ: Final = 1 << 20
"""Bytes that are read at once."""

PATIENCE: Final = 1.0
"""Seconds for which one that fails waits for room to say so."""

CROSSED: Final = "crossed"
GATHERED: Final = "gathered"
FAILED: Final = "failed"


class Border:
    """One process's side of it.

    Args:
        rank: this process's number, from 0.
        lines: connected sockets to each of the others, by rank.
        homes: in which process each device lives, by its number; the first device is number 1.
    """

    def __init__(self, rank: int, lines: Mapping[int, socket.socket], homes: Sequence[int]) -> None:
        self.rank = rank
        self.arrive: Callable[[Crossing], None] = lambda crossing: None
        """What takes in what has come."""
        self._homes = homes
        self._lines = {other: _Line(lines[other]) for other in sorted(lines)}
        self._out: dict[int, list[Crossing]] = {other: [] for other in self._lines}
        self._selector = selectors.DefaultSelector()
        for line in self._lines.values():
            self._selector.register(line.end, selectors.EVENT_READ, line)
        self._done = 0
        """The time before which all has happened here."""

    def is_here(self, device: int) -> bool:
        """Whether the device of that number lives in this process."""
        return self._homes[device - 1] == self.rank

    def keeps_whole(self, groups: Iterable[str]) -> bool:
        """Whether all devices of each group live in one process; ``groups`` are those of the devices, in order."""
        pairs = set(zip(groups, self._homes, strict=True))
        return len(pairs) == len({group for group, _ in pairs})

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
            self._attend(0)
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
        while any(line.has_unsent for line in self._lines.values()):
            self._attend()  # the others read until they have it
        return [said[rank] for rank in sorted(said)]

    def fail(self, why: str) -> None:
        """Tell the others that this process cannot go on; those that do not listen will notice when it has ended."""
        for line in self._lines.values():
            line.say(FAILED, why)
        while any(line.has_unsent for line in self._lines.values()) and self._attend(PATIENCE):
            pass

    def _attend(self, seconds: float | None = None) -> bool:
        """Read and write on all lines what can be, or wait so long until something can (None: for ever); whether
        something could. Whoever waits reads, so no two processes wait for room to speak to each other."""
        for line in self._lines.values():
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if line.has_unsent else 0)
            if line.is_open and self._selector.get_key(line.end).events != wanted:
                self._selector.modify(line.end, wanted, line)
        ready = self._selector.select(seconds)
        for key, events in ready:
            line = key.data
            if events & selectors.EVENT_WRITE:
                line.write()
            if events & selectors.EVENT_READ:
                line.read()
            if not line.is_open:
                self._selector.unregister(line.end)
        return bool(ready)

    def _take_in(self, line: _Line) -> None:
        """Hear the next thing that is said on a line, and take in what has crossed.

        Raises RuntimeError where it waits for us to say something first: the processes are out of step.
        """
        if line.gathered is not None:
            raise RuntimeError("a process of the run waits for all to come together, and this one does not")
        while not line.heard:
            if not line.is_open:
                what = "A process of the run has ended without a word, perhaps for want of memory"
                raise BanyanError(what, "Run it in fewer")
            self._attend()
        kind, content = line.heard.popleft()
        if kind == FAILED:
            raise BanyanError(f"A process of the run failed: {content}", "Run it in one process to see where")
        if kind == GATHERED:
            line.gathered = (content,)
        else:
            line.done, crossings = content
            for crossing in crossings:
                self.arrive(crossing)


class _Line:
    """To one other process: whole messages, of which those that there is no room for wait here."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.done = 0
        """The time before which all that crosses from there is here."""
        self.gathered: tuple[Any] | None = None
        """What it says where all say something, until that is asked for: it says no more before it has its answer."""
        self.heard: deque[tuple[str, Any]] = deque()
        """What was said and is still to be taken in."""
        self.is_open = True
        """Whether the other may still say something."""
        self._unread = bytearray()
        self._unsent = bytearray()
        end.setblocking(False)

    def say(self, kind: str, content: Any) -> None:
        """Tell the other process, as soon as there is room."""
        data = msgpack.packb((kind, content))
        self._unsent += LENGTH.pack(len(data)) + data
        self.write()

    @property
    def has_unsent(self) -> bool:
        """Whether something waits for room."""
        return bool(self._unsent)

    @property
    def has_news(self) -> bool:
        """Whether something was said that can be taken in."""
        return self.gathered is None and bool(self.heard)

    def write(self) -> None:
        """Send what there is room for."""
        try:
            del self._unsent[: self.end.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:  # one that has ended is noticed where something is heard of it
            self._unsent.clear()

    def read(self) -> None:
        """Take what has come."""
        try:
            data = self.end.recv(READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.is_open = False
            self._unsent.clear()
        self._unread += data
        while len(self._unread) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._unread)
            if len(self._unread) < LENGTH.size + length:
                return
            message = bytes(self._unread[LENGTH.size : LENGTH.size + length])
            del self._unread[: LENGTH.size + length]
            self.heard.append(msgpack.unpackb(message, use_list=False, strict_map_key=False))
