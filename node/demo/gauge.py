"""The demo's side of the measuring process: what it has found so far."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from banyan.node.demo.measure import END, RELEASE
from banyan.node.demo.measuring import Measuring
from banyan.node.demo.process import ChildProcess
from banyan.node.store import BlobStore


class Gauge:
    """Losses on the held-out rows of all honest owners, in nats a token; None for one that is not a number."""

    def __init__(self, process: ChildProcess, rounds: int, honest: tuple[str, ...]) -> None:
        self._measuring = Measuring(process, may_finish=True)
        self._rounds = rounds
        self._ordered: set[str] = set()
        self.start: float | None = None
        self.releases: dict[str, float | None] = {}
        self.alone: dict[str, dict[int, float | None]] = {name: {} for name in honest}
        self.undefended: dict[int, float | None] = {}
        self.done = 0
        self.total = 0

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
        if not self._measuring.order(order):
            self.look()

    def look(self) -> None:
        """Take in what was found. Raises ``CannotDemo`` if the process failed."""
        for finding in self._measuring.found():
            self._take(finding)
        self._measuring.check()

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
