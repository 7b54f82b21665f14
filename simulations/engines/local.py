"""The cores of this machine: one process each, which does one job after the other."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Final, Self

from banyan.simulations.engines.environment import environment
from banyan.simulations.engines.job import ATTEMPTS, Done, Job, Setup, perform

__all__ = ["LocalEngine"]

#: One core a process: without this, the numerical libraries of each would start a thread for every core.
SINGLE: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class LocalEngine:
    """An :class:`~banyan.simulations.engines.job.Engine` of processes.

    Processes are spawned, so a script that opens an engine keeps that under ``if __name__ == "__main__":``. They end
    with this process, however it ends; Ctrl-C is this process's to handle.
    """

    def __init__(self, workers: int | None = None, setup: Setup | None = None) -> None:
        self.workers = workers or len(os.sched_getaffinity(0))
        self._setup = setup
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, tuple[Job, int]] = {}

    def map(self, jobs: Iterable[Job], run: str) -> Iterator[Done]:
        """See :meth:`Engine.map <banyan.simulations.engines.job.Engine.map>`."""
        source, again = iter(jobs), deque[tuple[Job, int]]()
        try:
            while True:
                while len(self._busy) < self.workers:
                    job, attempt = again.popleft() if again else (next(source, None), 1)
                    if job is None:
                        break
                    worker = self._idle.pop() if self._idle else _Worker(self._setup)
                    self._busy[worker] = (job, attempt)
                    worker.give(run, job)
                if not self._busy:
                    return
                for worker in self._heard():
                    job, attempt = self._busy.pop(worker)
                    done = worker.take()
                    if done is not None:
                        self._idle.append(worker)
                        yield done
                    elif attempt < ATTEMPTS:
                        again.append((job, attempt + 1))
                    else:
                        yield Done(job, error=f"Its process died twice, the last time with {worker.fate()}")
        finally:
            for worker in self._busy:  # left before the end: what they do is of no use to anybody
                worker.stop()
            self._busy.clear()

    def _heard(self) -> list[_Worker]:
        by_connection = {worker.connection: worker for worker in self._busy}
        return [by_connection[each] for each in wait(list(by_connection))]  # type: ignore[index]

    def close(self) -> None:
        """Stop every process at once."""
        for worker in (*self._idle, *self._busy):
            worker.stop()
        self._idle.clear()
        self._busy.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Worker:
    """One process and the line to it. Its end is noticed as the end of the line."""

    def __init__(self, setup: Setup | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, far = context.Pipe()
        self._process: BaseProcess = context.Process(target=_work, args=(far, setup), daemon=True)
        with environment(SINGLE):
            self._process.start()
        far.close()

    def give(self, run: str, job: Job) -> None:
        with suppress(
            BrokenPipeError
        ):  # it has died; the end of the line tells, as for one that dies at work
            self.connection.send((run, job))

    def take(self) -> Done | None:
        """What it has done; None if it has died."""
        try:
            done: Done = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.stop()
            return None
        return done

    def fate(self) -> str:
        """How it ended, in words."""
        code = self._process.exitcode or 0
        if code < 0:
            name = signal.Signals(-code).name
            return f"{name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
        return f"exit code {code}"

    def stop(self) -> None:
        self.connection.close()
        self._process.join(timeout=0.05)  # one that has died by itself keeps its own exit code
        self._process.kill()
        self._process.join()


def _work(line: Connection[Any, Any], setup: Setup | None) -> None:
    """Do what comes down the line until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        ready = perform(setup.run, Job("setup", setup.arguments)) if setup is not None else None
        while True:
            run, job = line.recv()
            if ready is not None and ready.error is not None:
                line.send(Done(job, error=f"Its worker could not be set up: {ready.error}"))
            else:
                _send(line, perform(run, job))
    except (EOFError, OSError):
        return


def _send(line: Connection[Any, Any], done: Done) -> None:
    try:
        line.send(done)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        line.send(Done(done.job, error=f"Its result cannot travel between processes: {error}"))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
