"""The loss of a model of the tree on this node's held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from banyan.node.learning.blobs import read_sum
from banyan.node.learning.errors import AppError
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.train_job import Client
from banyan.node.learning.workplace import Workplace


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Measure the model that is the sum of the adapter blobs ``adapters`` (none: the base model itself)."""

    branch: str
    adapters: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The end of an :class:`Evaluate`: ``loss`` in nats a token over ``rows`` held-out rows."""

    branch: str
    loss: float
    rows: int
    metrics: dict[str, float] = field(default_factory=dict)


def evaluate(
    job: Evaluate, place: Workplace, client: Client, *, data: Sequence[Path], settings: TrainingSettings
) -> Evaluated:
    """Raises :class:`LearningError`, as when no row is held out."""
    vector = read_sum(place.blobs, job.adapters, place.spec)
    config: dict[str, str | int | float] = {"branch": job.branch, "height": 0, "seed": 0, "first_row": 0}
    _, metrics = client.ask("evaluate", vector, data=data, settings=settings, config=config)
    loss = metrics.get("loss", metrics.get("eval_loss"))
    if loss is None:
        raise AppError(f"The ClientApp {place.app} evaluated without reporting a metric named loss")
    return Evaluated(job.branch, loss, int(metrics.get("rows", metrics.get("num_examples", 0))), metrics)
