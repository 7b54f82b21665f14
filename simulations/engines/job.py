"""What an engine is given and what it gives back."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

__all__ = ["ATTEMPTS", "Done", "Engine", "Job", "Setup", "call", "perform"]

#: A job whose worker dies is tried once more: the machine may have been short of memory for another's sake.
ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Job:
    """One call of the engine's function. ``key`` tells jobs apart and sorts them where that matters; ``arguments``
    are picklable keyword arguments."""

    key: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """A job that is over: its ``result``, or ``error`` in words where there is none."""

    job: Job
    result: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """A function, as ``module:name``, that every worker calls before its first job, also when it is started again."""

    run: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """Workers that wait for jobs, until the ``with`` block ends."""

    workers: int

    def map(self, jobs: Iterable[Job], run: str) -> Iterator[Done]:
        """Call ``run`` (``module:name``) for each of ``jobs``; results as they finish.

        A job that raises, or whose worker dies twice, is done with an error; the others go on. ``jobs`` is read as
        workers become free, so a generator may stop when it has seen enough. One map at a time.
        """
        ...

    def close(self) -> None:
        """Stop every worker at once, whatever it is doing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def call(run: str, arguments: Mapping[str, Any]) -> Any:
    """What ``run`` (``module:name``) returns."""
    module, _, name = run.partition(":")
    return getattr(importlib.import_module(module), name)(**arguments)


def perform(run: str, job: Job) -> Done:
    """Do ``job``; what it raises is its error."""
    try:
        return Done(job, call(run, job.arguments))
    except Exception as error:  # noqa: BLE001 - whatever a job raises is its own failure, never the worker's
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Done(job, error=f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})")
