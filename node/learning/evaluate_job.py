"""The losses of models of the tree on this node's held-out rows, and on a branch's probe set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from banyan.node.learning.blobs import read_layers
from banyan.node.learning.errors import AppError, LearningError
from banyan.node.learning.lesson import Client, Lesson
from banyan.node.learning.probe_set import PROBE_ROWS, ProbeError, opened
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.workplace import Workplace, newest_first
from banyan.protocol.effects import Evaluate, Evaluated


def evaluate(
    job: Evaluate, place: Workplace, client: Client, *, data: Sequence[Path], settings: TrainingSettings
) -> Evaluated:
    """Each model of the job on the same held-out rows: as many as the job allows (0: none) and the owner's
    ``eval_rows`` do; and on the rows of its probe set, if it has one. What is no probe set is told and measured
    without.

    Raises :class:`LearningError`, as when no row is held out and there is no probe set.
    """
    began = time.perf_counter()
    losses, rows, probed, refusal = (), 0, (), ""
    if job.probe is not None:
        try:
            with opened(place.blobs.read(job.probe)) as file:
                public = replace(settings, eval_rows=PROBE_ROWS)
                probed, _ = _measured(job, place, client, data=[file], settings=public)
        except ProbeError as error:
            refusal = error.reason
    if job.rows:
        fewer = replace(settings, eval_rows=min(job.rows, settings.eval_rows))
        try:
            losses, rows = _measured(job, place, client, data=data, settings=fewer)
        except LearningError:
            if not probed:
                raise
    seconds = round(time.perf_counter() - began, 3)
    return Evaluated(job.branch, job.height, job.job, losses, rows, seconds, probed, refusal)


def _measured(
    job: Evaluate, place: Workplace, client: Client, *, data: Sequence[Path], settings: TrainingSettings
) -> tuple[tuple[float, ...], int]:
    """The loss of each model of the job, and over how many rows at least."""
    measured = []
    for adapters in job.models:
        season, vector, frozen = newest_first(read_layers(place.blobs, adapters, place.spec), place.spec)
        lesson = Lesson(
            vector=vector,
            data=data,
            settings=settings,
            branch=job.branch,
            height=job.height,
            season=season,
            frozen=frozen,
        )
        _, metrics = client.ask("evaluate", lesson)
        loss = metrics.get("loss", metrics.get("eval_loss"))
        if loss is None:
            raise AppError(f"The ClientApp {place.app} evaluated without reporting a metric named loss")
        measured.append((loss, int(metrics.get("rows", metrics.get("num_examples", 0)))))
    return tuple(loss for loss, _ in measured), min(rows for _, rows in measured)
