"""Child processes of the demo: started in sessions of their own, ended whatever happens to the demo."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

#: Seconds that a process may take to end after it was asked to.
PATIENCE = 10.0

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


class ChildProcess:
    """One process running a module of this Python; its output goes to ``log``, unless it is piped."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path, *, piped: bool = False) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"},
                start_new_session=True,  # a Ctrl-C is the demo's to handle, in order
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
                text=piped,
                bufsize=1 if piped else -1,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def stdin(self) -> IO[str]:
        """Where orders go, if it is piped."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[str]:
        """Where answers come from, if it is piped."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """The last line of its log: usually why it ended."""
        lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else f"exit code {self.exit_code}"

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and everything it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def end_all(processes: Iterable[ChildProcess]) -> None:
    """Ask all to end, wait together, kill what is left with its children."""
    processes = list(processes)
    for process in processes:
        process.ask_to_end()
    deadline = time.monotonic() + PATIENCE
    while any(process.exit_code is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in processes:
        process.kill()


def _end_with_parent() -> None:
    """Ask the kernel to end this process when the demo dies, even of SIGKILL. Runs in the child before it is Python."""
    import ctypes

    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)
