"""The demo's side of the measuring process: what it has found so far."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from banyan.node.demo.measure import END, RELEASE
from banyan.node.demo.plan import CannotDemo
from banyan.node.demo.process import ChildProcess
from banyan.node.store import BlobStore


class Gauge:
    """Losses on the held-out rows of all honest owners, in nats a token; None for one that is not a number."""

    def __init__(self, process: ChildProcess, rounds: int, honest: tuple[str, ...]) -> None:
        self._process = process
        self._rounds = rounds
        self._findings: queue.Queue[Mapping[str, Any]] = queue.Queue()
        self._ordered: set[str] = set()
        self.start: float | None = None
        self.releases: dict[str, float | None] = {}
        self.alone: dict[str, dict[int, float | None]] = {name: {} for name in honest}
        self.undefended: dict[int, float | None] = {}
        self.done = 0
        self.total = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._findings.put(json.loads(line))

    def order(self, adapter: str, blobs: Path) -> None:
        """Have the release whose adapter is this blob of that store measured, once it is there."""
        if adapter not in self._ordered and bytes.fromhex(adapter) in BlobStore(blobs):
            self._ordered.add(adapter)
            self._send({"do": RELEASE, "adapter": adapter, "blobs": str(blobs)})

    def has_all(self, adapters: Collection[str]) -> bool:
        """Whether every one of these releases was ordered."""
        return self._ordered.issuperset(adapters)

    def finish(self) -> None:
        """There will be no more releases."""
        self._send({"do": END})

    def _send(self, order: Mapping[str, str]) -> None:
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            self.look()

    def look(self) -> None:
        """Take in what was found. Raises :class:`CannotDemo` if the process failed."""
        while not self._findings.empty():
            self._take(self._findings.get())
        if self._process.exit_code not in (None, 0):
            raise CannotDemo(
                f"The process that measures ended ({self._process.last_words()})",
                f"Look at {self._process.log}",
            )

    def _take(self, finding: Mapping[str, Any]) -> None:
        match finding["kind"]:
            case "start":
                self.start = finding["loss"]
            case "release":
                self.releases[finding["adapter"]] = finding["loss"]
            case "alone":
                self.alone[finding["name"]][finding["round"]] = finding["loss"]
            case "undefended":
                self.undefended[finding["round"]] = finding["loss"]
            case "progress":
                self.done, self.total = finding["done"], finding["total"]

    @property
    def complete(self) -> bool:
        """Whether everything that was ordered has been measured."""
        runs = [*self.alone.values(), self.undefended]
        return (
            self.start is not None
            and all(len(run) == self._rounds for run in runs)
            and self._ordered == set(self.releases)
        )
