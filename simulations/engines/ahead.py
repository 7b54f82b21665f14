"""Training elsewhere: the lessons of one run on many cores or actors, and the very trace of the run in one process.

A device that begins to train says what it will train on (:meth:`Ahead.foresee`); its result is due only when its
virtual training time is over. When the first result is due, all lessons begun until then go to the workers, one batch
each: one call a worker and tick, never one a device.

Where a result depends on the number of threads that a library uses, as it may with torch and large matrix products,
run the one process with one thread too if its trace is to be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from banyan.security.errors import BanyanError
from banyan.simulations.engines import open_engine
from banyan.simulations.engines.job import Done, Engine, Job, Setup
from banyan.simulations.tasks import Task

__all__ = ["Ahead", "Learned", "Lesson", "training_on"]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What one device trains on: ``start``, float32 (dimension,). ``turn`` counts the lessons."""

    turn: int
    device: str
    start: np.ndarray
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What became of a lesson: the model, float32 (dimension,), its loss and that of the start; or what was raised."""

    turn: int
    device: str
    trained: np.ndarray | None = None
    loss_before: float = 0.0
    loss_after: float = 0.0
    error: Exception | None = None


class Ahead:
    """A task that trains on an engine's workers. It answers as the task itself would."""

    def __init__(
        self,
        task: Task,
        name: Literal["local", "ray"] = "local",
        workers: int | None = None,
        address: str | None = None,
    ) -> None:
        self._task = task
        self._how = (name, workers, address)
        self._engine: Engine | None = None
        self._turns = 0
        self._begun: dict[str, Lesson] = {}
        self._under_way: set[int] = set()
        self._learned: dict[str, Learned] = {}
        self._arriving: Iterator[Done] = iter(())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def foresee(self, device: str, start: np.ndarray, height: int) -> None:
        """``device`` has begun to train; what it began before and did not come to use is forgotten."""
        self._turns += 1
        self._learned.pop(device, None)
        self._begun[device] = Lesson(self._turns, device, start, height)

    def train(self, device: str, start: np.ndarray, height: int) -> np.ndarray:
        """As the task. Raises what the task raises, or :class:`BanyanError` where the workers fail."""
        lesson = self._begun.get(device)
        if lesson is None or lesson.height != height or not np.array_equal(lesson.start, start):
            return self._task.train(device, start, height)
        learned = self._result(lesson)
        if learned.trained is None:
            raise learned.error or RuntimeError("a lesson without a result")
        return learned.trained

    def loss(self, device: str, model: np.ndarray) -> float:
        """As the task; before and after training it is known already."""
        learned = self._learned.get(device)
        if learned is not None and learned.trained is not None:
            if model is learned.trained or np.array_equal(model, learned.trained):
                return learned.loss_after
            if np.array_equal(model, self._begun[device].start):
                return learned.loss_before
        return self._task.loss(device, model)

    def close(self) -> None:
        """Stop the workers."""
        if self._engine is not None:
            self._engine.close()

    def _result(self, lesson: Lesson) -> Learned:
        learned = self._learned.get(lesson.device)
        if learned is not None:
            return learned
        if lesson.turn not in self._under_way:
            self._hand_out()
        while lesson.device not in self._learned:
            self._take(next(self._arriving))
        return self._learned[lesson.device]

    def _hand_out(self) -> None:
        """Give every lesson that waits to the workers, in one batch each."""
        for done in self._arriving:  # one hand-out at a time
            self._take(done)
        if self._engine is None:  # only now: the world has told the task who works where
            name, workers, address = self._how
            setup = Setup(f"{__name__}:prepare", {"task": self._task})
            self._engine = open_engine(name, workers=workers, address=address, setup=setup)
        waiting = [each for each in self._begun.values() if each.device not in self._learned]
        batches = [
            batch for n in range(self._engine.workers) if (batch := waiting[n :: self._engine.workers])
        ]
        self._under_way = {lesson.turn for lesson in waiting}
        jobs = [Job(str(n), {"lessons": batch}) for n, batch in enumerate(batches)]
        self._arriving = self._engine.map(jobs, f"{__name__}:teach")

    def _take(self, done: Done) -> None:
        if done.error is not None:
            raise BanyanError(f"A training worker failed: {done.error}", "Train in one process to see where")
        for learned in done.result:
            if self._begun[learned.device].turn == learned.turn:
                self._learned[learned.device] = learned


@contextmanager
def training_on(
    task: Task, name: Literal["local", "ray"], workers: int | None = None, address: str | None = None
) -> Iterator[Ahead]:
    """``task``, trained on an engine (see :func:`~banyan.simulations.engines.open_engine`) until the block ends."""
    ahead = Ahead(task, name, workers, address)
    try:
        yield ahead
    finally:
        ahead.close()


# ------------------------------------------------------------------------------------ in the workers

_tasks: list[Task] = []


def prepare(task: Task) -> None:
    """The task of this worker."""
    _tasks[:] = [task]


def teach(lessons: list[Lesson]) -> list[Learned]:
    """Train on each of ``lessons``."""
    return [_taught(_tasks[0], lesson) for lesson in lessons]


def _taught(task: Task, lesson: Lesson) -> Learned:
    try:
        trained = task.train(lesson.device, lesson.start, lesson.height)
        before = task.loss(lesson.device, lesson.start)
        return Learned(lesson.turn, lesson.device, trained, before, task.loss(lesson.device, trained))
    except Exception as error:  # noqa: BLE001 - the device decides what its training may raise
        return Learned(lesson.turn, lesson.device, error=error)
