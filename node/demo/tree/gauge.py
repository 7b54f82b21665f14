"""The demo's side of the measuring process: the losses that it has found so far."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from banyan.node.demo.measuring import Measuring
from banyan.node.demo.process import ChildProcess
from banyan.node.demo.tree.history import Model


class TreeGauge:
    """Losses of models on the held-out rows of the tree's tips, in nats a token; None for one that is not a number."""

    def __init__(self, process: ChildProcess) -> None:
        self._measuring = Measuring(process)
        self._ordered: set[tuple[Model, str]] = set()
        self._losses: dict[tuple[Model, str], float | None] = {}

    def order(self, model: Model, rows: Iterable[str]) -> None:
        """Have ``model`` measured on the rows of some tips. Raises ``CannotDemo`` if the process has failed."""
        for branch in rows:
            if (model, branch) not in self._ordered:
                self._ordered.add((model, branch))
                order = {"model": [blob.hex() for blob in model], "rows": branch}
                if not self._measuring.order(order):
                    self.look()

    def look(self) -> None:
        """Take in what was found. Raises ``CannotDemo`` if the process has failed."""
        for each in self._measuring.found():
            self._losses[tuple(map(bytes.fromhex, each["model"])), each["rows"]] = each["loss"]
        self._measuring.check()

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
