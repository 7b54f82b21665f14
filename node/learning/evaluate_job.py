"""The losses of models of the tree on this node's held-out rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from banyan.node.learning.blobs import read_sum
from banyan.node.learning.errors import AppError
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.train_job import Client
from banyan.node.learning.workplace import Workplace
from banyan.protocol.effects import Evaluate, Evaluated


def evaluate(
    job: Evaluate, place: Workplace, client: Client, *, data: Sequence[Path], settings: TrainingSettings
) -> Evaluated:
    """Each model of the job on the same held-out rows: as many as the job allows and the owner's ``eval_rows`` do.

    Raises :class:`LearningError`, as when no row is held out.
    """
    began = time.perf_counter()
    fewer = replace(settings, eval_rows=min(job.rows, settings.eval_rows))
    config: dict[str, str | int | float] = {
        "branch": job.branch,
        "height": job.height,
        "seed": 0,
        "first_row": 0,
    }
    measured = []
    for adapters in job.models:
        vector = read_sum(place.blobs, adapters, place.spec)
        _, metrics = client.ask("evaluate", vector, data=data, settings=fewer, config=config)
        loss = metrics.get("loss", metrics.get("eval_loss"))
        if loss is None:
            raise AppError(f"The ClientApp {place.app} evaluated without reporting a metric named loss")
        measured.append((loss, int(metrics.get("rows", metrics.get("num_examples", 0)))))
    losses = tuple(loss for loss, _ in measured)
    rows = min(rows for _, rows in measured)
    return Evaluated(job.branch, job.height, job.job, losses, rows, round(time.perf_counter() - began, 3))
