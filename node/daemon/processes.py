"""The workers of a real node: a full one that trains, and a light one so that rounds go on meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from banyan.node import base_folder
from banyan.node.daemon.events import WorkerRestarted
from banyan.node.daemon.jobs import Lessons
from banyan.node.learning.continual.rejected import Rejected
from banyan.node.learning.private import PrivatelyTrained, PrivateTrain
from banyan.node.learning.progress import Progress
from banyan.node.learning.rehearsal import Rehearsal, Rehearse
from banyan.node.worker.client import OWN_APP, Worker, WorkerSettings, hello_for
from banyan.node.worker.messages import Ground, Kind
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

if TYPE_CHECKING:
    from banyan.node.daemon.service import Daemon

#: A light worker needs little memory and starts fast: it may go as soon as it has rested this long (seconds).
LIGHT_IDLE = 120.0


class ProcessWorkers:
    """Implements :class:`~banyan.node.daemon.jobs.Workers` with child processes, each started at its first job."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._light = self._worker("light", None)
        self._full = self._worker("full", None)
        self._app: str | None = None

    def _worker(self, role: Kind, app: str | None) -> Worker:
        daemon, chosen = self._daemon, self._daemon.settings.worker
        assert daemon.charter is not None
        charter = daemon.charter
        hello = hello_for(
            role=role,
            spec=charter.adapter,
            codec=charter.round.codec,
            network=charter.network_id,
            node=daemon.identity.node_id,
            base_model=base_folder.place(daemon.home, charter.base),
            blobs=daemon.blobs.root,
            app=app or OWN_APP,
            memory=daemon.home.memory,
            others=[
                Ground(each.path, each.adapter, str(base_folder.place(daemon.home, each.base)))
                for each in charter.bases
            ],
        )
        settings = WorkerSettings(
            threads=1 if role == "light" else chosen.threads or max(1, (os.cpu_count() or 2) // 2),
            stall=chosen.stall,
            idle=LIGHT_IDLE if role == "light" else chosen.idle,
            niceness=chosen.niceness,
            log=daemon.home.root / f"worker-{role}.log",
        )
        return Worker(
            hello,
            settings,
            on_restart=lambda reason, attempt: daemon.emit(WorkerRestarted(worker=role, reason=reason)),
        )

    async def inspect(self, job: Inspect) -> Inspected:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        return await self._light.inspect(job)

    async def aggregate(self, job: Aggregate) -> Aggregated:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        return await self._light.aggregate(job)

    async def mix(self, job: Mix) -> Mixed:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        return await self._light.mix(job)

    async def train(
        self, job: Train, base: Path, lessons: Lessons, progress: Callable[[Progress], None]
    ) -> Trained | Rejected:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        full = await self._full_worker(lessons)
        return await full.train(
            job, data=lessons.data, settings=lessons.settings, teacher=lessons.teacher, on_progress=progress
        )

    async def train_privately(
        self, job: PrivateTrain, base: Path, lessons: Lessons, progress: Callable[[Progress], None]
    ) -> PrivatelyTrained:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        worker = await self._full_worker(lessons)
        return await worker.train_privately(
            job, data=lessons.data, settings=lessons.settings, on_progress=progress
        )

    async def contribute(self, job: Train, folder: Path) -> Trained:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        return await self._full.contribute(job, folder)

    async def rehearse(self, job: Rehearse, lessons: Lessons) -> Rehearsal:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        return await self._full.rehearse(job, data=lessons.data, settings=lessons.settings)

    async def evaluate(self, job: Evaluate, lessons: Lessons) -> Evaluated:
        """See :class:`~banyan.node.daemon.jobs.Workers`."""
        full = await self._full_worker(lessons)
        return await full.evaluate(job, data=lessons.data, settings=lessons.settings)

    async def _full_worker(self, lessons: Lessons) -> Worker:
        """The worker that has the model. Another ClientApp means another process."""
        if lessons.app != self._app:
            before, self._full = self._full, self._worker("full", lessons.app)
            self._app = lessons.app
            await before.close()
        return self._full

    async def run(self) -> None:
        """End both processes when cancelled."""
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._full.close)
                    nursery.start_soon(self._light.close)

    def status(self) -> list[dict[str, object]]:
        """What each process is doing."""
        return [
            {"worker": name, "pid": worker.pid, "busy": worker.is_busy, "restarts": worker.restarts}
            for name, worker in (("full", self._full), ("light", self._light))
        ]
