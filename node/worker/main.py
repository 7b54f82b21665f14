"""The child process: reads orders from standard input, answers on standard output, dies with its parent.

Before any job runs, the two pipes move to private descriptors; descriptor 0 becomes empty and descriptor 1 the
error output, so that nothing a library or a user's ClientApp prints can end up between two frames.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from banyan.node.learning.errors import JobCancelled
from banyan.node.learning.progress import Progress, listening
from banyan.node.worker.frames import Deframer, pack
from banyan.node.worker.messages import Hello, read_order, write_progress, write_result
from banyan.security.errors import BanyanError
from banyan.security.schema import from_plain

if TYPE_CHECKING:
    from banyan.node.worker.jobs import Bench

PROGRESS_INTERVAL = 0.2  # seconds; more often would only cost time
_PARENT_DEATH = 1  # PR_SET_PDEATHSIG in linux/prctl.h


class Line:
    """The child's end of the pipes. A thread reads, so that a cancellation arrives, and the parent's death shows, while
    a job computes."""

    def __init__(self) -> None:
        self._input, self._output = os.dup(0), os.dup(1)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
        os.dup2(2, 1)
        self._inbox: queue.Queue[dict[str, object]] = queue.Queue()
        self._cancelled: set[object] = set()
        threading.Thread(target=self._listen, name="frames", daemon=True).start()

    def receive(self, timeout: float | None = None) -> dict[str, object] | None:
        """The next message, or None after ``timeout`` seconds without one."""
        try:
            return self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None

    def send(self, message: dict[str, object]) -> None:
        """Write one frame. If nobody reads any more there is nobody to work for: the process ends."""
        view = memoryview(pack(message))
        try:
            while view:
                view = view[os.write(self._output, view) :]
        except BrokenPipeError:
            os._exit(0)

    def is_cancelled(self, job: object) -> bool:
        """Whether the daemon has withdrawn ``job``."""
        return job in self._cancelled

    def _listen(self) -> None:
        deframer = Deframer()
        try:
            while data := os.read(self._input, 1 << 16):
                for message in deframer.feed(data):
                    if message["kind"] == "cancel":
                        self._cancelled.add(message.get("id"))
                    else:
                        self._inbox.put(message)
        except BanyanError as error:
            print(f"worker: {error}", file=sys.stderr, flush=True)
            os._exit(3)
        os._exit(0)  # end of input: the daemon closed the pipe, or is dead


def main() -> int:
    """Serve until the daemon closes the pipe or nothing has been asked for ``idle`` seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is for the daemon, which then ends us
    line = Line()
    first = line.receive()
    if first is None or first.pop("kind") != "hello":
        return 3
    hello = from_plain(Hello, first)
    _die_with(hello.parent)
    if hello.niceness:
        os.nice(hello.niceness)
    from banyan.node.worker.jobs import Bench

    bench = Bench(hello)
    line.send({"kind": "ready", "pid": os.getpid()})
    while (message := line.receive(hello.idle or None)) is not None:
        _serve(line, bench, message)
    return 0


def _serve(line: Line, bench: Bench, message: dict[str, object]) -> None:
    job = message.get("id")
    last = 0.0

    def listener(progress: Progress) -> None:
        nonlocal last
        if line.is_cancelled(job):
            raise JobCancelled("The job was withdrawn")
        now = time.monotonic()
        if now - last >= PROGRESS_INTERVAL or progress.step == progress.steps:
            last = now
            line.send({"kind": "progress", "id": job, "progress": write_progress(progress)})

    try:
        with listening(listener):
            result = bench.run(read_order(message.get("job"), message.get("order")))
        line.send({"kind": "done", "id": job, "result": write_result(result)})
    except JobCancelled:
        line.send({"kind": "cancelled", "id": job})
    except BanyanError as error:
        line.send({"kind": "failed", "id": job, "reason": str(error)})
    except Exception as error:  # noqa: BLE001 - a job must never end the worker
        traceback.print_exc()
        line.send({"kind": "failed", "id": job, "reason": _plainly(error)})


def _plainly(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _die_with(parent: int) -> None:
    """Be killed when ``parent`` dies, even while a job holds the interpreter and the reading thread cannot run."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it died before we asked


if __name__ == "__main__":
    sys.exit(main())
