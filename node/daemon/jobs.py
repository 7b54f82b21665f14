"""Gives the core's heavy work to workers: one trains, a light one judges and sums. Never in this process."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

import trio

from banyan.node.daemon.events import MemoryLost, TrainingFinished, TrainingStarted, VersionRejected
from banyan.node.daemon.provisions import Provisions
from banyan.node.daemon.supervisor import describe, first_cause
from banyan.node.learning.continual.rejected import LISTED, Rejected
from banyan.node.learning.distill.teacher import Teacher
from banyan.node.learning.private import PrivatelyTrained, PrivateTrain
from banyan.node.learning.progress import Progress
from banyan.node.learning.rehearsal import Rehearsal, Rehearse
from banyan.node.learning.settings import TrainingSettings
from banyan.protocol.effects import (
    Aggregate,
    Aggregated,
    Evaluate,
    Evaluated,
    InputEvent,
    Inspect,
    Inspected,
    JobFailed,
    Mix,
    Mixed,
    Train,
    Trained,
)
from banyan.protocol.events import Event, plain
from banyan.security.admission import Reason
from banyan.security.errors import BanyanError


@dataclass(frozen=True, slots=True)
class Lessons:
    """What the owner of this device has chosen for its training. With a ``teacher`` the data are public text to learn
    from it on."""

    data: tuple[Path, ...]
    settings: TrainingSettings
    app: str | None = None
    teacher: Teacher | None = None
    #: The folder of what was learnt privately, where a round is to give that instead of training.
    gives: Path | None = None


#: What to train on in a job, or to measure with, which takes no teacher; None: nothing is set. Without data a job is
#: measured on the branch's probe set alone. Raises a ``BanyanError``
#: where a teacher cannot be had yet.
Plan: TypeAlias = Callable[[Train | Evaluate], Awaitable[Lessons | None]]


class Workers(Protocol):
    """The processes that compute. Every call may raise a ``BanyanError`` once their own retries are spent;
    cancelling a call abandons its job."""

    async def inspect(self, job: Inspect) -> Inspected: ...

    async def aggregate(self, job: Aggregate) -> Aggregated: ...

    async def mix(self, job: Mix) -> Mixed: ...

    async def train(
        self, job: Train, base: Path, lessons: Lessons, progress: Callable[[Progress], None]
    ) -> Trained | Rejected: ...

    async def train_privately(
        self, job: PrivateTrain, base: Path, lessons: Lessons, progress: Callable[[Progress], None]
    ) -> PrivatelyTrained: ...

    async def contribute(self, job: Train, folder: Path) -> Trained: ...

    async def rehearse(self, job: Rehearse, lessons: Lessons) -> Rehearsal: ...

    async def evaluate(self, job: Evaluate, lessons: Lessons) -> Evaluated: ...

    async def run(self) -> None:
        """Keep the processes; ends them, whatever they do, when cancelled."""

    def status(self) -> list[dict[str, object]]:
        """What each process is doing, JSON-ready."""


class Jobs:
    """Three queues: training, where a newer job for the branch replaces an older one, what is to be measured, and the
    light work. What is measured waits for a training under way, since both need the model."""

    def __init__(
        self,
        workers: Workers,
        provisions: Provisions,
        lessons: Plan,
        deliver: Callable[[InputEvent], Awaitable[None]],
        report: Callable[[Event], None],
        rejected: Iterable[Rejected] = (),
    ) -> None:
        """``rejected`` are the versions that the gate kept aside before."""
        self._workers = workers
        self._provisions = provisions
        self._lessons = lessons
        self._deliver = deliver
        self._report = report
        self._light, self._light_jobs = trio.open_memory_channel[Inspect | Aggregate | Mix](math.inf)
        self._measured, self._to_measure = trio.open_memory_channel[Evaluate](math.inf)
        self._next: Train | None = None
        self._arrived = trio.Event()
        self._training = trio.CancelScope()
        self.current: Train | None = None
        self.progress: Progress | None = None
        self.rejected = deque(rejected, maxlen=LISTED)

    def start(self, job: Inspect | Train | Aggregate | Mix | Evaluate) -> None:
        """Queue a job; its answer goes to ``deliver``. Never blocks."""
        if isinstance(job, Train):
            self._next = job
            self._training.cancel()  # the head has moved: what is being trained on is of no use any more
            self._arrived.set()
        elif isinstance(job, Evaluate):
            self._measured.send_nowait(job)
        else:
            self._light.send_nowait(job)

    async def run(self) -> None:
        """Work on all queues, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._work_lightly)
            nursery.start_soon(self._train)
            nursery.start_soon(self._measure)

    # ------------------------------------------------------------------------------------------ light work

    async def _work_lightly(self) -> None:
        async for job in self._light_jobs:
            try:
                if isinstance(job, Inspect):
                    answer: InputEvent = await self._workers.inspect(job)
                elif isinstance(job, Mix):
                    answer = await self._workers.mix(job)
                else:
                    answer = await self._workers.aggregate(job)
            except Exception as error:  # noqa: BLE001 - whatever a job does, the round must hear of it
                answer = self._failed(job, describe(first_cause(error)))
            await self._deliver(answer)

    def _failed(self, job: Inspect | Aggregate | Mix, reason: str) -> InputEvent:
        if isinstance(job, Inspect):
            return Inspected(job.digest, refusal=Reason.UNAVAILABLE.value, detail=reason)
        if isinstance(job, Mix):
            return JobFailed("mix", job.branch, job.height, reason)
        return JobFailed("aggregate", job.branch, job.height, reason, job.job)

    # ----------------------------------------------------------------------------------------- measuring

    async def _measure(self) -> None:
        async for job in self._to_measure:
            try:
                answer: InputEvent = await self._measure_once(job)
            except Exception as error:  # noqa: BLE001 - see above
                reason = describe(first_cause(error))
                answer = JobFailed("evaluate", job.branch, job.height, reason, job.job)
            await self._deliver(answer)

    async def _measure_once(self, job: Evaluate) -> InputEvent:
        lessons = await self._lessons(job)
        if lessons is None:
            reason = "no data is set for this node, or none that it speaks of"
            return JobFailed("evaluate", job.branch, job.height, reason, job.job)
        if lessons.app is not None:  # what an owner's app measures with is its own affair
            job = replace(job, probe=None)
        if not lessons.data:
            job = replace(job, rows=0)
        await self._provisions.base_folder(job.branch)
        return await self._workers.evaluate(job, lessons)

    # -------------------------------------------------------------------------------------------- training

    async def _train(self) -> None:
        while True:
            while self._next is None:
                self._arrived = trio.Event()
                await self._arrived.wait()
            job, self._next = self._next, None
            with trio.CancelScope() as self._training:
                await self._train_once(job)
            self.current = self.progress = None

    async def _train_once(self, job: Train) -> None:
        self.current = job
        try:
            lessons = await self._lessons(job)
        except BanyanError as error:
            await self._deliver(JobFailed("train", job.branch, job.height, describe(error)))
            return
        if lessons is None:
            await self._deliver(JobFailed("train", job.branch, job.height, "no data is set for this node"))
            return
        if lessons.gives is not None:
            await self._give(job, lessons.gives)
            return
        base = await self._provisions.base_folder(job.branch)
        if lessons.teacher is not None:
            await self._provisions.base_folder(lessons.teacher.branch)
        self._report(TrainingStarted(job.branch, job.height, lessons.settings.steps))
        began = trio.current_time()
        try:
            trained = await self._workers.train(job, base, lessons, self._note)
        except Exception as error:  # noqa: BLE001 - see above
            await self._deliver(JobFailed("train", job.branch, job.height, describe(first_cause(error))))
            return
        if isinstance(trained, Rejected):
            if not trained.again:
                self.rejected.append(trained)
                self._report(_rejected(trained))
            await self._deliver(JobFailed("train", job.branch, job.height, trained.reason()))
            return
        if trained.metrics.get("memory_damaged"):
            self._report(MemoryLost(job.branch))
        seconds = round(trio.current_time() - began, 2)
        self._report(TrainingFinished(job.branch, job.height, seconds, dict(trained.metrics)))
        await self._deliver(trained)

    async def _give(self, job: Train, folder: Path) -> None:
        try:
            answer: InputEvent = await self._workers.contribute(job, folder)
        except Exception as error:  # noqa: BLE001 - see above
            answer = JobFailed("train", job.branch, job.height, describe(first_cause(error)))
        await self._deliver(answer)

    def _note(self, progress: Progress) -> None:
        self.progress = progress

    def keep(self) -> frozenset[bytes]:
        """Blobs that the training under way or next reads."""
        jobs = (job for job in (self.current, self._next) if job is not None)
        return frozenset(
            digest for job in jobs for digest in (*job.adapters, *job.carry, *(job.before or ()))
        )

    def set_aside(self) -> list[dict[str, object]]:
        """The newest versions that the gate rejected, JSON-ready, oldest first."""
        return [plain(_rejected(version)) for version in self.rejected]

    def status(self) -> dict[str, object] | None:
        """What is being trained and how far it is; None when nothing is."""
        if self.current is None:
            return None
        told = self.progress
        if told is None:
            fetching = self._provisions.progress()
            return {
                "branch": self.current.branch,
                "height": self.current.height,
                **(fetching or {"phase": "start"}),
            }
        return {"branch": self.current.branch, "height": self.current.height, **asdict(told)}


def _rejected(version: Rejected) -> VersionRejected:
    metrics = version.metrics
    return VersionRejected(
        version.branch,
        version.height,
        version.rise,
        version.allowed,
        metrics.get("loss_before"),
        metrics.get("loss_after"),
        version.file,
    )
