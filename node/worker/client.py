"""The daemon's side of a worker: starts it when it is needed, gives it one job at a time, survives its death."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import trio

from banyan.aggregation.encoding import Codec
from banyan.node.learning.continual.rejected import Rejected
from banyan.node.learning.distill.teacher import Teacher
from banyan.node.learning.generate_job import Generate
from banyan.node.learning.private import PrivatelyTrained, PrivateTrain
from banyan.node.learning.progress import Progress
from banyan.node.learning.rehearsal import Rehearsal, Rehearse
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.workplace import OWN_APP
from banyan.node.worker.child import Child, WorkerSettings
from banyan.node.worker.frames import FrameError
from banyan.node.worker.messages import (
    NAMES,
    ContributeOrder,
    EvaluateOrder,
    GenerateOrder,
    Ground,
    Hello,
    Kind,
    Order,
    PrivateOrder,
    RehearseOrder,
    Result,
    TrainOrder,
    read_progress,
    read_result,
)
from banyan.protocol.effects import (
    Aggregate,
    Aggregated,
    Evaluate,
    Evaluated,
    Inspect,
    Inspected,
    JobFailed,
    Mix,
    Mixed,
    Train,
    Trained,
)
from banyan.security.errors import BanyanError
from banyan.security.model import AdapterSpec
from banyan.security.schema import to_plain

__all__ = [
    "OWN_APP",
    "JobError",
    "OnProgress",
    "OnRestart",
    "Worker",
    "WorkerLost",
    "WorkerSettings",
    "hello_for",
    "job_failed",
]

T = TypeVar("T")
OnProgress: TypeAlias = Callable[[Progress], None]
OnRestart: TypeAlias = Callable[[str, int], None]

STARTUP = 120.0  # seconds; a worker imports little before it says that it is ready
ATTEMPTS = 2  # a job whose worker died is tried once more; the same death twice is the job's fault


class JobError(BanyanError):
    """A job failed in a way that trying again would not change: bad data, a model that is not there, …"""


class WorkerLost(BanyanError):
    """The worker died or hung at every attempt of a job."""


class Worker:
    """One worker process at most, started at the first job.

    Jobs run one at a time in the order they were asked for. A job whose caller is cancelled is withdrawn. Use a
    ``light`` worker beside the full one for :meth:`aggregate`, :meth:`mix` and :meth:`inspect`, so that rounds go on
    while this node trains.

    Every job raises :class:`JobError` or :class:`WorkerLost`; :func:`job_failed` turns either into the core's word.
    """

    def __init__(
        self,
        hello: Hello,
        settings: WorkerSettings | None = None,
        *,
        on_restart: OnRestart = lambda reason, attempt: None,
    ) -> None:
        """``hello`` says whom the worker serves (see :func:`hello_for`); ``on_restart`` hears why a worker died."""
        self.settings = settings or WorkerSettings()
        self._hello = replace(
            hello,
            parent=os.getpid(),
            niceness=0 if hello.role == "light" else self.settings.niceness,
            idle=float(self.settings.idle),
        )
        self._on_restart = on_restart
        self._turn = trio.Lock()  # hands itself over in order of arrival: it is the queue
        self._child: Child | None = None
        self._jobs = 0
        self.restarts = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def pid(self) -> int | None:
        """The process's id while there is one."""
        return self._child.pid if self._child is not None and self._child.is_running else None

    @property
    def is_busy(self) -> bool:
        """Whether a job is running."""
        return self._turn.locked()

    # ---------------------------------------------------------------------------------------------- jobs

    async def train(
        self,
        job: Train,
        *,
        data: Sequence[Path],
        settings: TrainingSettings,
        teacher: Teacher | None = None,
        on_progress: OnProgress | None = None,
    ) -> Trained | Rejected:
        """One round of local training on ``data`` (files and folders of JSONL rows), or of learning from ``teacher`` on
        them."""
        order = TrainOrder(job, tuple(map(str, data)), settings, teacher)
        result = await self._do(order, on_progress)
        return result if isinstance(result, Rejected) else _as(Trained, result)

    async def train_privately(
        self,
        job: PrivateTrain,
        *,
        data: Sequence[Path],
        settings: TrainingSettings,
        on_progress: OnProgress | None = None,
    ) -> PrivatelyTrained:
        """One lesson for this device alone."""
        order = PrivateOrder(job, tuple(map(str, data)), settings)
        return _as(PrivatelyTrained, await self._do(order, on_progress))

    async def contribute(self, job: Train, folder: Path) -> Trained:
        """The update that gives what was learnt privately."""
        return _as(Trained, await self._do(ContributeOrder(job, str(folder))))

    async def rehearse(
        self,
        job: Rehearse,
        *,
        data: Sequence[Path],
        settings: TrainingSettings,
        on_progress: OnProgress | None = None,
    ) -> Rehearsal:
        """How the model does on ``data``, and what a step costs."""
        return _as(
            Rehearsal, await self._do(RehearseOrder(job, tuple(map(str, data)), settings), on_progress)
        )

    async def evaluate(
        self,
        job: Evaluate,
        *,
        data: Sequence[Path],
        settings: TrainingSettings,
        on_progress: OnProgress | None = None,
    ) -> Evaluated:
        """The losses of some models on the held-out rows of ``data``."""
        order = EvaluateOrder(job, tuple(map(str, data)), settings)
        return _as(Evaluated, await self._do(order, on_progress))

    async def generate(self, job: Generate, *, device: str = "auto") -> str:
        """A short sample of text."""
        return _as(str, await self._do(GenerateOrder(job, device)))

    async def aggregate(self, job: Aggregate) -> Aggregated:
        """Close a round or check how it was closed."""
        return _as(Aggregated, await self._do(job))

    async def mix(self, job: Mix) -> Mixed:
        """Mix this node's own model with its neighbours'."""
        return _as(Mixed, await self._do(job))

    async def inspect(self, job: Inspect) -> Inspected:
        """Decode and measure an update."""
        return _as(Inspected, await self._do(job))

    async def close(self) -> None:
        """End the process, gently if it listens. A job that runs is lost; another job starts a new process."""
        child, self._child = self._child, None
        if child is not None:
            with trio.CancelScope(shield=True):
                await child.end(self.settings.grace)

    # --------------------------------------------------------------------------------------------- inside

    async def _do(self, order: Order, on_progress: OnProgress | None = None) -> Result:
        async with self._turn:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return await self._attempt(order, on_progress)
                except _Lost as lost:
                    self.restarts += 1
                    reason = str(lost)
                    self._on_restart(reason, attempt)
            raise WorkerLost(
                f"The worker {reason}, at each of {ATTEMPTS} attempts of this job",
                "Its log has more; with too little memory, choose a smaller batch, length or model",
            )

    async def _attempt(self, order: Order, on_progress: OnProgress | None) -> Result:
        child = self._ready_child()
        self._jobs += 1
        number = self._jobs
        try:
            if child.is_new:
                await child.send({"kind": "hello", **to_plain(self._hello)})
                await self._expect(child, STARTUP, "ready")
            await child.send(
                {"kind": "job", "id": number, "job": NAMES[type(order)], "order": to_plain(order)}
            )
            while True:
                message = await self._expect(child, self.settings.stall, "progress", "done", "failed")
                if message.get("id") != number:
                    continue
                if message["kind"] == "failed":
                    raise JobError(str(message.get("reason")))
                if message["kind"] == "done":
                    return read_result(order, message.get("result"))
                if on_progress is not None:
                    on_progress(read_progress(message.get("progress")))
        except JobError:
            raise
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            raise _Lost(await self._bury(child)) from None
        except trio.TooSlowError:
            await self._bury(child)
            raise _Lost(f"showed no progress for {self.settings.stall:g} s and was killed") from None
        except FrameError as error:
            await self._bury(child)
            raise _Lost(f"said something that is no answer ({error}) and was killed") from None
        except BaseException:  # cancelled, or the caller's listener failed: nobody waits for the job any more
            with trio.CancelScope(shield=True):
                await self._withdraw(child, number)
            raise

    def _ready_child(self) -> Child:
        if self._child is None or not self._child.is_running:
            self._child = Child(self._hello.role, self.settings)
        return self._child

    async def _expect(self, child: Child, seconds: float, *kinds: str) -> dict[str, object]:
        with trio.fail_after(seconds):
            message = await child.receive()
        if message["kind"] not in kinds:
            raise FrameError(f"the message {message['kind']!r} came where {' or '.join(kinds)} should")
        return message

    async def _withdraw(self, child: Child, number: int) -> None:
        """Ask the child to drop the job; kill it if it does not listen."""
        with trio.move_on_after(self.settings.grace):
            try:
                await child.send({"kind": "cancel", "id": number})
                while True:
                    message = await child.receive()
                    if message.get("id") == number and message["kind"] in ("cancelled", "done", "failed"):
                        return
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, EOFError, FrameError):
                pass
        await self._bury(child)

    async def _bury(self, child: Child) -> str:
        """Make sure the child is dead; how it ended, as the end of a sentence about the worker."""
        if self._child is child:
            self._child = None
        with trio.CancelScope(shield=True):
            return await child.bury()


def hello_for(
    *,
    role: Kind,
    spec: AdapterSpec,
    codec: Codec,
    network: bytes,
    node: str,
    base_model: Path,
    blobs: Path,
    app: str = OWN_APP,
    memory: Path | None = None,
    others: Sequence[Ground] = (),
) -> Hello:
    """Whom a worker serves: the charter's adapter ``spec`` and round ``codec``, the network's id, this node's id, the
    folders of its base model and of its blob store, and the Flower ClientApp (``module:attribute``) that trains,
    and the folder of what it has learnt before (None: it remembers nothing). ``others``: the branches with another base
    model than the root's."""
    return Hello(
        role=role,
        parent=os.getpid(),
        grounds=(Ground("/", spec, str(base_model)), *others),
        codec=codec,
        network=network,
        node=node,
        blobs=str(blobs),
        app=app,
        memory=str(memory or ""),
        niceness=0,
        idle=0.0,
    )


class _Lost(Exception):
    """The child died or hung; the text ends a sentence that begins with "The worker"."""


def job_failed(job: Train | Aggregate | Mix | Evaluate, error: BanyanError) -> JobFailed:
    """What the core is told of a job that ended without a result."""
    kind = type(job).__name__.lower()
    number = job.job if isinstance(job, Aggregate | Evaluate) else b""
    return JobFailed(kind, job.branch, job.height, str(error), number)


def _as(kind: type[T], result: Result) -> T:
    if not isinstance(result, kind):
        raise WorkerLost(
            f"The worker answered with a {type(result).__name__} where a {kind.__name__} belongs"
        )
    return result
