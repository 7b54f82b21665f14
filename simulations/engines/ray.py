"""A Ray cluster: one actor a core, which does a batch of jobs at each call.

A call of an actor costs about a millisecond, so jobs travel in batches that grow until one takes long enough for that
not to matter.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self

from banyan.security.errors import BanyanError
from banyan.simulations.engines.job import ATTEMPTS, Done, Job, Setup, perform

__all__ = ["RayEngine"]

#: A batch grows while it takes less than this (s), and never beyond this many jobs.
WORTH_A_CALL: Final = 0.25
LARGEST_BATCH: Final = 256


class RayEngine:
    """An :class:`~banyan.simulations.engines.job.Engine` of Ray actors.

    Raises:
        BanyanError: Ray is not installed, or no cluster answers at ``address``.
    """

    def __init__(
        self, workers: int | None = None, setup: Setup | None = None, address: str | None = None
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read at import: it calls home otherwise
        os.environ.setdefault(
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
        )  # what will be the default; else it warns
        try:
            import ray
        except ImportError as error:
            raise BanyanError("Ray is not installed", "Install it: pip install 'banyan-fl[ray]'") from error
        self._ray: Any = ray
        self._ours = not self._ray.is_initialized()
        if self._ours:
            self._connect(address, workers)
        self.workers = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._actor: Any = ray.remote(num_cpus=1, max_restarts=0)(_Actor)
        self._setup = setup
        self._idle: list[Any] = []
        self._size = 1

    def _connect(self, address: str | None, workers: int | None) -> None:
        here: dict[str, Any] = {
            "num_cpus": workers or len(os.sched_getaffinity(0)),
            "include_dashboard": False,
            # What this process can import, its actors can; a cluster has its own ways (Ray's working_dir).
            "runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}},
        }
        try:
            self._ray.init(
                address=address or "local",
                logging_level="ERROR",
                log_to_driver=False,
                **({} if address else here),
            )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            if not address:
                raise BanyanError(
                    f"Ray does not start: {error}", "Its logs are in /tmp/ray/session_latest"
                ) from error
            raise BanyanError(
                f"No Ray cluster answers at {address}",
                "Start one with `ray start --head`, or leave out --address to start one on this machine",
            ) from error

    def map(self, jobs: Iterable[Job], run: str) -> Iterator[Done]:
        """See :meth:`Engine.map <banyan.simulations.engines.job.Engine.map>`."""
        source, again = iter(jobs), deque[_Batch]()
        busy: dict[Any, tuple[Any, _Batch]] = {}
        try:
            while True:
                while len(busy) < self.workers:
                    batch = again.popleft() if again else _Batch(list(islice(source, self._size)))
                    if not batch.jobs:
                        break
                    actor = self._idle.pop() if self._idle else self._actor.remote(self._setup)
                    busy[actor.work.remote(run, batch.jobs)] = (actor, batch)
                if not busy:
                    return
                (reply, *_), _ = self._ray.wait(list(busy), num_returns=1)
                actor, batch = busy.pop(reply)
                try:
                    done, seconds = self._ray.get(reply)
                except self._ray.exceptions.RayError as error:
                    self._ray.kill(actor)
                    if batch.attempt < ATTEMPTS:  # one by one: of a batch, one job is to blame
                        again.extend(_Batch([job], batch.attempt + 1) for job in batch.jobs)
                    else:
                        why = f"Its actor died twice, the last time with {type(error).__name__}"
                        yield from (Done(job, error=why) for job in batch.jobs)
                    continue
                self._idle.append(actor)
                if seconds < WORTH_A_CALL and len(batch.jobs) == self._size:
                    self._size = min(2 * self._size, LARGEST_BATCH)
                elif seconds > 4 * WORTH_A_CALL:
                    self._size = max(1, self._size // 2)
                yield from done
        finally:
            for actor, _ in busy.values():
                self._ray.kill(actor)

    def close(self) -> None:
        """Stop every actor at once, and the cluster if we started it."""
        if self._ray.is_initialized():
            for actor in self._idle:
                self._ray.kill(actor)
            if self._ours:
                self._ray.shutdown()
        self._idle.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one call of an actor is given."""

    jobs: list[Job]
    attempt: int = 1


class _Actor:
    """One core of the cluster. Ray gives an actor of one core one thread."""

    def __init__(self, setup: Setup | None) -> None:
        self._ready = perform(setup.run, Job("setup", setup.arguments)) if setup is not None else None

    def work(self, run: str, jobs: list[Job]) -> tuple[list[Done], float]:
        """All of ``jobs``, and the seconds that they took."""
        begin = time.perf_counter()
        if self._ready is not None and self._ready.error is not None:
            why = f"Its worker could not be set up: {self._ready.error}"
            return [Done(job, error=why) for job in jobs], 0.0
        done = [perform(run, job) for job in jobs]
        return done, time.perf_counter() - begin
