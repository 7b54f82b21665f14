"""Workers without processes: the same jobs in threads of this one. For tests, and where no torch is at hand.

Inspecting, aggregating and mixing are the real thing. Training is any function from the starting adapter to the
trained one, so that a network's behaviour can be watched without a model; what it reports as its loss is what is voted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import trio

from banyan.aggregation.encoding import encode
from banyan.node.daemon.jobs import Lessons
from banyan.node.learning.aggregate_job import aggregate
from banyan.node.learning.blobs import read_layers, read_whole, write_float32
from banyan.node.learning.distill.teacher import Teacher
from banyan.node.learning.inspect_job import inspect
from banyan.node.learning.layout import Vector
from banyan.node.learning.lesson import Lesson
from banyan.node.learning.mix_job import mix
from banyan.node.learning.private import PrivatelyTrained, PrivateTrain, contribute, train_privately
from banyan.node.learning.probe_set import ProbeError, opened
from banyan.node.learning.progress import Progress
from banyan.node.learning.rehearsal import Rehearsal, Rehearse
from banyan.node.learning.workplace import Workplace
from banyan.node.store import BlobStore
from banyan.protocol.delta import write_delta
from banyan.protocol.effects import (
    Aggregate,
    Aggregated,
    Evaluate,
    Evaluated,
    Inspect,
    Inspected,
    Mix,
    Mixed,
    Train,
    Trained,
)
from banyan.security.charter import Charter

#: From the starting adapter (float32, ``(dimension,)``) and the round's height to the trained one and its losses.
Trainer: TypeAlias = Callable[[Vector, int], tuple[Vector, dict[str, float]]]


def towards(goal: Vector, share: float = 0.5) -> Trainer:
    """A trainer that goes ``share`` of the way to ``goal``; its loss is the distance that is left."""

    def train(start: Vector, height: int) -> tuple[Vector, dict[str, float]]:
        after = (start + np.float32(share) * (goal - start)).astype(np.float32)
        losses = {"loss_before": _distance(goal, start), "loss_after": _distance(goal, after)}
        return after, losses

    return train


def _distance(one: Vector, other: Vector) -> float:
    return float(np.linalg.norm(one.astype(np.float64) - other))


class ThreadWorkers:
    """Implements :class:`~banyan.node.daemon.jobs.Workers` for one node."""

    def __init__(self, charter: Charter, blobs: BlobStore, trainer: Trainer) -> None:
        self._charter = charter
        self._blobs = blobs
        self._trainer = trainer
        self._jobs = 0
        self._teacher: Teacher | None = None

    async def inspect(self, job: Inspect) -> Inspected:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        return await trio.to_thread.run_sync(
            lambda: inspect(job, blobs=self._blobs, spec=self._charter.adapter_at(job.branch))
        )

    async def aggregate(self, job: Aggregate) -> Aggregated:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        return await trio.to_thread.run_sync(
            lambda: aggregate(job, blobs=self._blobs, spec=self._charter.adapter_at(job.branch))
        )

    async def mix(self, job: Mix) -> Mixed:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        spec = self._charter.adapter_at(job.branch)
        return await trio.to_thread.run_sync(lambda: mix(job, blobs=self._blobs, spec=spec))

    async def train(
        self, job: Train, base: Path, lessons: Lessons, progress: Callable[[Progress], None]
    ) -> Trained:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        self._teacher = lessons.teacher
        progress(Progress("train", 0, lessons.settings.steps))
        trained = await trio.to_thread.run_sync(self._train, job)
        progress(Progress("train", lessons.settings.steps, lessons.settings.steps))
        return trained

    async def train_privately(
        self, job: PrivateTrain, base: Path, lessons: Lessons, progress: Callable[[Progress], None]
    ) -> PrivatelyTrained:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        return await trio.to_thread.run_sync(
            lambda: train_privately(
                job, self._place(job.branch, base), self, data=lessons.data, settings=lessons.settings
            )
        )

    async def contribute(self, job: Train, folder: Path) -> Trained:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        return await trio.to_thread.run_sync(lambda: contribute(job, self._place(job.branch, Path()), folder))

    async def rehearse(self, job: Rehearse, lessons: Lessons) -> Rehearsal:
        """There is no model to try."""
        await trio.lowlevel.checkpoint()
        return Rehearsal()

    def ask(self, kind: str, lesson: Lesson) -> tuple[Vector, dict[str, float]]:
        """The trainer as a client of the jobs that call one."""
        return self._trainer(lesson.vector, lesson.height)

    def _place(self, branch: str, base: Path) -> Workplace:
        charter = self._charter
        return Workplace(
            charter.adapter_at(branch), charter.round.codec, charter.network_id, "a node", base, self._blobs
        )

    async def evaluate(self, job: Evaluate, lessons: Lessons) -> Evaluated:
        """See :class:`~banyan.node.daemon.jobs.Workers`. A model's loss is what its training begins with, also on a
        probe set, of whose rows nothing is known here but that they can be read."""
        spec = self._charter.adapter_at(job.branch)

        def losses() -> tuple[float, ...]:
            models = (read_whole(self._blobs, adapters, spec) for adapters in job.models)
            return tuple(self._trainer(model, job.height)[1]["loss_before"] for model in models)

        def refusal() -> str:
            try:
                with opened(self._blobs.read(job.probe or b"")):
                    return ""
            except ProbeError as error:
                return error.reason

        measured = await trio.to_thread.run_sync(losses)
        why = "" if job.probe is None else await trio.to_thread.run_sync(refusal)
        own, probed = measured if job.rows else (), measured if job.probe is not None and not why else ()
        return Evaluated(job.branch, job.height, job.job, own, job.rows, probed=probed, probe_refusal=why)

    def _train(self, job: Train) -> Trained:
        spec = self._charter.adapter_at(job.branch)
        above = read_whole(self._blobs, job.adapters, spec)
        carried = read_layers(self._blobs, job.carry, spec)
        start = above + carried.get(job.season, np.zeros(spec.dimension, np.float32))
        after, metrics = self._trainer(start, job.height)
        exact = (after - above).astype(np.float32)
        encoded = encode(exact, self._charter.round.codec)
        data = write_delta(encoded, spec=spec, base=job.base, season=job.season)
        left, _ = write_float32(
            self._blobs, (exact - encoded.decode()).astype(np.float32), spec, season=job.season
        )
        self._jobs += 1
        return Trained(job.branch, job.height, job.base, self._blobs.put(data), len(data), left, metrics)

    async def run(self) -> None:
        """There is no process to keep."""
        await trio.sleep_forever()

    def status(self) -> list[dict[str, object]]:
        """How many jobs of training were done, and by which branch's model the last one was to be taught."""
        taught_by = self._teacher.branch if self._teacher else None
        return [{"worker": "thread", "jobs": self._jobs, "taught_by": taught_by}]
