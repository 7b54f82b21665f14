"""The border between the processes that share one world: what crosses it, and how they keep step.

Nothing gets from one device to another in less than the network's least latency L. So while no process is ahead of the
earliest thing that is to happen anywhere by L or more, none can hear of anything that it should have known: each lets
such a window of time pass alone, then all exchange what has crossed (conservative synchronisation in windows; R. M.
Fujimoto, *Parallel discrete event simulation*, 1990).

All processes run the same program over the same seed, so they come to each exchange in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

import msgpack

from banyan.security.errors import BanyanError

__all__ = ["Border", "Crossing"]

Crossing = tuple[int, int, int, int, str, tuple[Any, ...]]
"""When it arrives (ms), which device arranged it, as its which turn, to which device, what it is, and its content."""

WINDOW: Final = "window"
GATHERING: Final = "gathering"
FAILURE: Final = "failure"


class Border:
    """One process's side of it.

    Args:
        rank: this process's number, from 0.
        lines: to each of the others, by rank.
        homes: in which process each device lives, by its number; the first device is number 1.
    """

    def __init__(self, rank: int, lines: Mapping[int, Connection], homes: Sequence[int]) -> None:
        self.rank = rank
        self._lines = dict(sorted(lines.items()))
        self._homes = homes
        self._out: dict[int, list[Crossing]] = {other: [] for other in self._lines}

    def is_here(self, device: int) -> bool:
        """Whether the device of that number lives in this process."""
        return self._homes[device - 1] == self.rank

    def send(self, crossing: Crossing) -> None:
        """Bring something to a device elsewhere, with the next exchange."""
        self._out[self._homes[crossing[3] - 1]].append(crossing)

    def exchange(self, following: int | None) -> tuple[int | None, list[Crossing]]:
        """Give and get what has crossed. ``following``: when the next thing happens here.

        Returns when the next thing happens anywhere, None if nothing ever does, and what has come.
        """
        leaving = [crossing[0] for crossings in self._out.values() for crossing in crossings]
        mine = min([*leaving, *(() if following is None else (following,))], default=None)
        answers = self._swap(WINDOW, {other: (mine, out) for other, out in self._out.items()})
        self._out = {other: [] for other in self._lines}
        times = [time for time in (mine, *(theirs for theirs, _ in answers.values())) if time is not None]
        return min(times, default=None), [crossing for _, came in answers.values() for crossing in came]

    def together(self, value: Any) -> list[Any]:
        """What every process says, by rank. Maps, tuples, texts, bytes and numbers; lists come back as tuples."""
        answers = self._swap(GATHERING, dict.fromkeys(self._lines, value))
        return [answers[rank] if rank != self.rank else value for rank in sorted({self.rank, *answers})]

    def fail(self, why: str) -> None:
        """Tell the others that this process cannot go on."""
        for line in self._lines.values():
            with suppress(OSError):  # one that has ended need not be told
                line.send_bytes(_packed(FAILURE, why))

    def _swap(self, kind: str, words: Mapping[int, Any]) -> dict[int, Any]:
        """Say something to each of the others and hear the same of them. Of two the lower speaks first, so that both
        never wait for room in a full line."""
        heard = {}
        for other, line in self._lines.items():
            try:
                if self.rank < other:
                    line.send_bytes(_packed(kind, words[other]))
                said, heard[other] = _unpacked(line.recv_bytes())
                if self.rank > other and said != FAILURE:
                    line.send_bytes(_packed(kind, words[other]))
            except (EOFError, OSError):
                said, heard[other] = FAILURE, _last_words(line)
            if said == FAILURE:
                raise BanyanError(
                    f"A process of the run failed: {heard[other]}", "Run it in one process to see where"
                )
            if said != kind:
                raise RuntimeError(f"process {other} is at a {said} where process {self.rank} is at a {kind}")
        return heard


def _last_words(line: Connection) -> str:
    """What a process has said on its end of a line that has ended."""
    with suppress(EOFError, OSError):
        while line.poll():
            said, why = _unpacked(line.recv_bytes())
            if said == FAILURE:
                return str(why)
    return "it has ended without a word, perhaps for want of memory"


def _packed(kind: str, content: Any) -> bytes:
    data: bytes = msgpack.packb((kind, content))
    return data


def _unpacked(data: bytes) -> tuple[str, Any]:
    kind, content = msgpack.unpackb(data, use_list=False, strict_map_key=False)
    return kind, content
