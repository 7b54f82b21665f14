"""Learning for this device alone: lessons that the worker gives outside of any round, and nobody hears of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import trio

from banyan.node.daemon.events import PrivateLessonFailed, PrivateLessonFinished
from banyan.node.daemon.jobs import Lessons, Workers
from banyan.node.daemon.provisions import Provisions
from banyan.node.daemon.supervisor import describe, first_cause
from banyan.node.learning.private import PrivateTrain, find
from banyan.node.learning.progress import Progress
from banyan.protocol.events import Event


@dataclass
class _Course:
    """``lessons`` to give on a branch, ``done`` so far."""

    branch: str
    lessons: int
    done: int = 0
    error: str | None = None
    progress: Progress | None = None
    metrics: Mapping[str, float] | None = None


class PrivateLessons:
    """Gives the lessons of one course after the other; a new one takes the place of one under way.

    ``adapters`` brings those of a branch here and names them. A course does not outlive the daemon; what its lessons
    taught does.
    """

    def __init__(
        self,
        folder: Path,
        workers: Workers,
        provisions: Provisions,
        lessons: Callable[[], Lessons | None],
        adapters: Callable[[str], Awaitable[tuple[bytes, ...]]],
        report: Callable[[Event], None],
    ) -> None:
        self._folder = folder
        self._workers = workers
        self._provisions = provisions
        self._lessons = lessons
        self._adapters = adapters
        self._report = report
        self._course: _Course | None = None
        self._asked = trio.Event()
        self._work = trio.CancelScope()

    def begin(self, branch: str, lessons: int) -> None:
        """Give ``lessons`` on ``branch``, soon."""
        self._work.cancel()
        self._course = _Course(branch, lessons)
        self._asked.set()

    async def run(self) -> None:
        """Give what is asked for, for ever."""
        while True:
            self._asked = trio.Event()
            course = self._course
            with trio.CancelScope() as self._work:
                if course is not None:
                    await self._give(course)
                await self._asked.wait()

    async def _give(self, course: _Course) -> None:
        while course.done < course.lessons and course.error is None:
            try:
                await self._lesson(course)
            except Exception as error:  # noqa: BLE001 - whatever ends a lesson, its owner must hear of it
                course.error = describe(first_cause(error))
                self._report(PrivateLessonFailed(course.branch, course.error))
            course.progress = None

    async def _lesson(self, course: _Course) -> None:
        def note(progress: Progress) -> None:
            course.progress = progress

        chosen = self._lessons()
        if chosen is None:
            course.error = "no data is set for this node"
            return
        base = await self._provisions.base_folder(course.branch)
        job = PrivateTrain(course.branch, await self._adapters(course.branch), str(self._folder))
        trained = await self._workers.train_privately(job, base, chosen, note)
        course.done += 1
        course.metrics = trained.metrics
        self._report(PrivateLessonFinished(course.branch, trained.lessons, dict(trained.metrics)))

    def status(self, branch: str) -> dict[str, object]:
        """JSON-ready: what is kept for ``branch``, and the course under way or the last one."""
        kept, course = find(self._folder, branch), self._course
        told = course.progress if course is not None else None
        return {
            "kept": None
            if kept is None
            else {
                "lessons": kept.lessons,
                "loss_before": kept.loss_before,
                "loss_after": kept.loss_after,
            },
            "course": None
            if course is None
            else {
                "branch": course.branch,
                "lessons": course.lessons,
                "done": course.done,
                "error": course.error,
                "metrics": None if course.metrics is None else dict(course.metrics),
                "training": None if told is None else asdict(told),
            },
        }
