"""A sweep: every combination of scenarios, seeds and settings, spread over an engine, resumable, and with a smallest
failing job that does not depend on which finishes first."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from banyan.security.errors import BanyanError
from banyan.simulations.engines.job import Engine, Job

__all__ = ["Finished", "Sweep", "broke", "grid"]


def grid(**axes: Iterable[Any]) -> list[Job]:
    """Every combination of the values of ``axes``, the last axis fastest.

    >>> [job.key for job in grid(scenario=["churn"], seed=range(2))]
    ['scenario=churn seed=0', 'scenario=churn seed=1']
    """
    chosen = [dict(zip(axes, values, strict=True)) for values in itertools.product(*map(list, axes.values()))]
    return [Job(" ".join(f"{name}={_word(value)}" for name, value in each.items()), each) for each in chosen]


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)


@dataclass(frozen=True, slots=True)
class Finished:
    """A job of a sweep that is over: its result as JSON-ready data, or the error in words."""

    job: Job
    result: Any = None
    error: str | None = None


def broke(finished: Finished) -> bool:
    """Whether a run failed: it raised, it broke an invariant, or it did not reach its goal."""
    result = finished.result
    return finished.error is not None or bool(result["violations"]) or not result["finished"]


@dataclass(slots=True)
class Sweep:
    """A sweep over ``jobs``, in which earlier jobs are smaller.

    Args:
        jobs: with keys that are all different.
        run: what does one, as ``module:name``; it returns JSON-ready data or something with ``as_dict()``.
        folder: where ``results.jsonl`` gathers a line for each job that has a result. A sweep that finds one there
            goes on where that one ended; a job that had an error is tried again. None: nothing is kept.
        failed: whether a job failed.
        stop: end when the smallest failing job is known; what is larger is not begun any more.

    Raises:
        BanyanError: two jobs have one key, or ``results.jsonl`` is damaged.
    """

    jobs: Sequence[Job]
    run: str
    folder: Path | None = None
    failed: Callable[[Finished], bool] = broke
    stop: bool = False
    smallest: Finished | None = None
    failures: int = 0
    already: int = 0
    _rank: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rank = {job.key: rank for rank, job in enumerate(self.jobs)}
        if len(self._rank) != len(self.jobs):
            raise BanyanError("Two jobs of the sweep have the same key", "Give every job a key of its own")

    def over(self, engine: Engine) -> Iterator[Finished]:
        """Run what is left to run; every job as it finishes, those that an earlier sweep had finished first.

        At the end :attr:`smallest` is the smallest failing job, the same whatever finished first, and
        :attr:`failures` how many failed.
        """
        kept = self._kept()
        self.already = len(kept)
        for job in self.jobs:
            if job.key in kept:
                yield self._note(Finished(job, kept[job.key]))
        todo = (job for job in self.jobs if job.key not in kept and not self._beyond(job))
        for done in engine.map(todo, self.run):
            result = done.result.as_dict() if hasattr(done.result, "as_dict") else done.result
            finished = Finished(done.job, result, done.error)
            if done.error is None:
                self._keep(finished)
            yield self._note(finished)

    def _beyond(self, job: Job) -> bool:
        """Whether what ``job`` would show no longer matters."""
        return (
            self.stop
            and self.smallest is not None
            and self._rank[job.key] > self._rank[self.smallest.job.key]
        )

    def _note(self, finished: Finished) -> Finished:
        if self.failed(finished):
            self.failures += 1
            if self.smallest is None or self._rank[finished.job.key] < self._rank[self.smallest.job.key]:
                self.smallest = finished
        return finished

    # ------------------------------------------------------------------------------------ what is kept

    def _kept(self) -> dict[str, Any]:
        """The results of an earlier sweep by key. A last line without an end is what a crash left: it is cut off."""
        if self.folder is None:
            return {}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "results.jsonl"
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with path.open("r+b") as file:
                file.truncate(len(whole))
        kept: dict[str, Any] = {}
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                found: Mapping[str, Any] = json.loads(line)
                key, result = str(found["key"]), found["result"]
            except (ValueError, KeyError, TypeError) as error:
                raise BanyanError(
                    f"Line {number} of {path} is no result of a sweep",
                    "Remove the line or choose another folder",
                ) from error
            if key in self._rank:
                kept[key] = result
        return kept

    def _keep(self, finished: Finished) -> None:
        if self.folder is None:
            return
        line = json.dumps({"key": finished.job.key, "result": finished.result}, separators=(",", ":"))
        with (self.folder / "results.jsonl").open("ab") as file:
            file.write(line.encode() + b"\n")
