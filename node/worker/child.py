"""One worker process, as the daemon sees it: how it is started, spoken to and buried."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import trio

from banyan.node.worker.frames import Deframer, pack
from banyan.node.worker.messages import Kind


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker process is run."""

    #: Processor threads for torch and BLAS; 0: as many as the libraries choose. More: faster jobs, a slower machine.
    threads: int = 0
    #: Seconds without any sign of progress after which a worker is taken for hung. Lower: sooner freed; too low
    #: kills slow loads of large models.
    stall: float = 900.0
    #: Seconds without a job after which the process ends and gives its memory back; 0: never. Lower: less memory
    #: held, more starts (5 to 10 s each for a full worker).
    idle: float = 600.0
    #: Seconds a cancelled job has to notice before its process is killed.
    grace: float = 5.0
    #: Added to the process's niceness (full workers only), so that training leaves the machine usable.
    niceness: int = 5
    #: Where the process's error output goes, appended; None: where the daemon's goes.
    log: Path | None = None


class Child:
    """A running worker process and the daemon's ends of its pipes."""

    def __init__(self, role: Kind, settings: WorkerSettings) -> None:
        limits = {}  # torch reads them too
        if settings.threads:
            names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
            limits = dict.fromkeys(names, str(settings.threads))
        quiet = {"TOKENIZERS_PARALLELISM": "false", "FLWR_TELEMETRY_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
        log = None if settings.log is None else open(settings.log, "ab")  # noqa: SIM115 - the child's, closed below
        # Started from the loop's own thread and not from a helper thread, although that blocks for a few
        # milliseconds: Linux tells a child of its "parent's" death when the thread that started it ends.
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "banyan.node.worker", role],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **quiet, **limits},
            )
        finally:
            if log is not None:
                log.close()
        assert self._process.stdin is not None  # for mypy: both are pipes
        assert self._process.stdout is not None
        self._input = trio.lowlevel.FdStream(os.dup(self._process.stdin.fileno()))
        self._output = trio.lowlevel.FdStream(os.dup(self._process.stdout.fileno()))
        self._process.stdin.close()
        self._process.stdout.close()
        self._deframer = Deframer()
        self._inbox: deque[dict[str, object]] = deque()
        self._log = settings.log
        self.is_new = True

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    async def send(self, message: dict[str, object]) -> None:
        self.is_new = False
        await self._input.send_all(pack(message))

    async def receive(self) -> dict[str, object]:
        """The next message. Raises EOFError when the process has closed its end."""
        while not self._inbox:
            data = await self._output.receive_some(1 << 16)
            if not data:
                raise EOFError
            self._inbox.extend(self._deframer.feed(bytes(data)))
        return self._inbox.popleft()

    async def end(self, grace: float) -> None:
        """Close its input, which ends it; kill it if that does not."""
        await self._input.aclose()
        with trio.move_on_after(grace):
            await trio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)  # type: ignore[call-arg, unused-ignore]
        await self.bury()

    async def bury(self) -> str:
        """Kill it if it still runs, and say how it ended."""
        ended_itself = not self.is_running
        if not ended_itself:
            with trio.move_on_after(0.2):  # an end of file comes a moment before the exit status
                await trio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)  # type: ignore[call-arg, unused-ignore]
        self._process.kill()
        code = await trio.to_thread.run_sync(self._process.wait)
        await self._input.aclose()
        await self._output.aclose()
        if code >= 0:
            return f"stopped with exit code {code}{self._last_words()}"
        name = signal.Signals(-code).name
        cause = ", perhaps for lack of memory" if -code == signal.SIGKILL else ""
        return f"was ended by {name}{cause}{self._last_words()}"

    def _last_words(self) -> str:
        """The last line of its log, which is usually the exception that ended it."""
        if self._log is None:
            return ""
        with open(self._log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        return f" ({lines[-1].strip()})" if lines else ""
