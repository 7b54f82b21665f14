"""The demo's side of the measuring process: the losses that it has found so far."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterable
from statistics import fmean

from banyan.node.demo.plan import CannotDemo
from banyan.node.demo.process import ChildProcess
from banyan.node.demo.tree.history import Model


class TreeGauge:
    """Losses of models on the held-out rows of the tree's tips, in nats a token; None for one that is not a number."""

    def __init__(self, process: ChildProcess) -> None:
        self._process = process
        self._found: queue.Queue[dict[str, object]] = queue.Queue()
        self._ordered: set[tuple[Model, str]] = set()
        self._losses: dict[tuple[Model, str], float | None] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._found.put(json.loads(line))

    def order(self, model: Model, rows: Iterable[str]) -> None:
        """Have ``model`` measured on the rows of some tips. Raises :class:`CannotDemo` if the process has failed."""
        for branch in rows:
            if (model, branch) not in self._ordered:
                self._ordered.add((model, branch))
                line = json.dumps({"model": [blob.hex() for blob in model], "rows": branch})
                try:
                    self._process.stdin.write(line + "\n")
                    self._process.stdin.flush()
                except (BrokenPipeError, ValueError):
                    self.look()

    def look(self) -> None:
        """Take in what was found. Raises :class:`CannotDemo` if the process has failed."""
        while not self._found.empty():
            each = self._found.get()
            model = tuple(map(bytes.fromhex, each["model"]))  # type: ignore[arg-type, call-overload]
            self._losses[model, str(each["rows"])] = each["loss"]  # type: ignore[assignment]
        if self._process.exit_code is not None:
            raise CannotDemo(
                f"The process that measures ended ({self._process.last_words()})",
                f"Look at {self._process.log}",
            )

    @property
    def done(self) -> int:
        """How many losses were found."""
        return len(self._losses)

    @property
    def total(self) -> int:
        """How many were ordered."""
        return len(self._ordered)

    def loss(self, model: Model, rows: Iterable[str]) -> float | None:
        """The mean over the tips; None where one is not a number, or not measured yet."""
        losses = [self._losses.get((model, branch)) for branch in rows]
        known = [loss for loss in losses if loss is not None]
        return fmean(known) if known and len(known) == len(losses) else None
