"""The demo's side of a process that measures: orders go to it, and findings come back, as lines of JSON."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from banyan.node.demo.plan import CannotDemo
from banyan.node.demo.process import ChildProcess


class Measuring:
    """Talks with ``process``, which runs until it is ended, or where it ``may_finish`` until it has done all."""

    def __init__(self, process: ChildProcess, *, may_finish: bool = False) -> None:
        self._process = process
        self._well = (None, 0) if may_finish else (None,)
        self._findings: queue.Queue[Mapping[str, Any]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._findings.put(json.loads(line))

    def order(self, what: Mapping[str, object]) -> bool:
        """Whether an order could still be given; where not, :meth:`check` says why."""
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return False
        return True

    def found(self) -> Iterator[Mapping[str, Any]]:
        """What was found since the last time."""
        while not self._findings.empty():
            yield self._findings.get()

    def check(self) -> None:
        """Raise :class:`CannotDemo` if the process has failed."""
        if self._process.exit_code not in self._well:
            raise CannotDemo(
                f"The process that measures ended ({self._process.last_words()})",
                f"Look at {self._process.log}",
            )
