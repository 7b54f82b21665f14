"""The worker's life and deaths, with real processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from banyan.node.learning.progress import Progress
from banyan.node.learning.settings import TrainingSettings
from banyan.node.store.blobs import BlobStore
from banyan.node.worker.client import JobError, Worker, WorkerLost, job_failed
from banyan.node.worker.messages import TrainOrder, read_order
from banyan.protocol.effects import Aggregate, Input, Inspect, JobFailed, Lift, Mix, Train
from banyan.security.schema import to_plain

linux = pytest.mark.skipif(sys.platform != "linux", reason="watches processes as Linux lets one")

MakeWorker = Callable[..., Worker]

JOB = Train("/en", 0, b"b" * 32, (), ())
SETTINGS = TrainingSettings(steps=2, batch=2)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


async def run(worker: Worker, mark: Path, on_progress: Callable[[Progress], None] | None = None):
    return await worker.train(JOB, data=[mark], settings=SETTINGS, on_progress=on_progress)


async def test_a_users_app_trains_in_a_process_that_starts_at_the_first_job(
    make_worker: MakeWorker, mark: Path, store: BlobStore
) -> None:
    async with make_worker("step") as worker:
        assert worker.pid is None
        done = await run(worker, mark)
        assert done.blob in store
        assert done.metrics == {"loss_after": 1.0}
        first = worker.pid
        assert first not in (None, os.getpid())
        await run(worker, mark)
        assert worker.pid == first
    assert worker.pid is None


async def test_a_worker_killed_in_the_middle_of_a_job_is_restarted_and_the_job_retried(
    make_worker: MakeWorker, mark: Path
) -> None:
    heard: list[tuple[str, int]] = []
    worker = make_worker("waiting", on_restart=lambda reason, attempt: heard.append((reason, attempt)))
    killed: list[int] = []

    def kill_once(progress: Progress) -> None:
        assert (progress.step, progress.steps, progress.loss) == (1, 2, 0.5)
        if not killed:
            killed.append(worker.pid or 0)
            os.kill(killed[0], signal.SIGKILL)
        elif worker.pid != killed[0]:
            mark.touch()

    async with worker:
        done = await run(worker, mark, kill_once)
    assert done.metrics == {"loss_after": 1.0}
    assert worker.restarts == 1
    assert heard[0][1] == 1
    assert "SIGKILL, perhaps for lack of memory" in heard[0][0]


async def test_a_worker_that_kills_itself_once_is_forgiven(make_worker: MakeWorker, mark: Path) -> None:
    async with make_worker("dying_once") as worker:
        assert (await run(worker, mark)).metrics == {"loss_after": 1.0}
        assert worker.restarts == 1


async def test_a_crash_at_every_attempt_is_reported_with_its_last_words(
    make_worker: MakeWorker, mark: Path
) -> None:
    async with make_worker("crashing") as worker:
        with pytest.raises(WorkerLost, match=r"exit code 7 \(the last words\), at each of 2 attempts"):
            await run(worker, mark)
        assert worker.restarts == 2


async def test_an_error_of_the_app_is_reported_and_not_retried(make_worker: MakeWorker, mark: Path) -> None:
    async with make_worker("failing") as worker:
        with pytest.raises(JobError, match=r"failed at train \(RuntimeError: no such luck\)") as caught:
            await run(worker, mark)
        assert mark.read_text() == "x"
        assert worker.restarts == 0
        assert worker.pid is not None
    failed = job_failed(JOB, caught.value)
    assert failed == JobFailed("train", "/en", 0, str(caught.value))


async def test_a_hung_job_is_killed_and_reported(make_worker: MakeWorker, mark: Path) -> None:
    async with make_worker("deaf", stall=1.5) as worker:
        with pytest.raises(WorkerLost, match=r"no progress for 1\.5 s"):
            await run(worker, mark)


async def test_what_an_app_prints_never_reaches_the_frames(make_worker: MakeWorker, mark: Path) -> None:
    async with make_worker("chattering") as worker:
        assert (await run(worker, mark)).metrics == {"loss_after": 1.0}
        assert worker.restarts == 0


async def test_an_answer_that_is_no_frame_costs_the_worker_its_life(
    make_worker: MakeWorker, mark: Path
) -> None:
    async with make_worker("garbling") as worker:
        with pytest.raises(WorkerLost, match="no answer"):
            await run(worker, mark)


async def test_a_withdrawn_job_stops_and_the_worker_goes_on(make_worker: MakeWorker, mark: Path) -> None:
    async with make_worker("waiting", grace=30.0) as worker:
        with trio.CancelScope() as scope:
            await run(worker, mark, lambda progress: scope.cancel())
        assert scope.cancelled_caught
        first = worker.pid
        assert first is not None
        mark.touch()
        await run(worker, mark)
        assert worker.pid == first


async def test_a_listener_that_fails_withdraws_its_job(make_worker: MakeWorker, mark: Path) -> None:
    def fail(progress: Progress) -> None:
        raise ValueError("the listener's own fault")

    async with make_worker("waiting", grace=30.0) as worker:
        with pytest.raises(ValueError, match="own fault"):
            await run(worker, mark, fail)
        first = worker.pid
        mark.touch()
        await run(worker, mark)
        assert (worker.pid, worker.restarts) == (first, 0)


async def test_a_withdrawn_job_that_does_not_listen_is_killed(make_worker: MakeWorker, mark: Path) -> None:
    async with make_worker("deaf", grace=0.2) as worker:
        with trio.CancelScope() as scope:
            await run(worker, mark, lambda progress: scope.cancel())
        assert scope.cancelled_caught
        assert worker.pid is None


@linux
async def test_an_idle_worker_gives_its_memory_back_and_starts_again_when_needed(
    make_worker: MakeWorker, put_update: Callable[[int], bytes]
) -> None:
    async with make_worker(role="light", idle=0.1) as worker:
        digest = put_update(1)
        await worker.inspect(Inspect(digest))
        pid = worker.pid
        if pid is not None:
            await until_dead(pid)
        assert worker.pid is None
        assert (await worker.inspect(Inspect(digest))).refusal is None
        assert worker.restarts <= 1


async def test_jobs_wait_for_each_other_in_order(
    make_worker: MakeWorker, put_update: Callable[[int], bytes]
) -> None:
    done: list[int] = []
    async with make_worker(role="light") as worker, trio.open_nursery() as nursery:

        async def inspect(number: int) -> None:
            await worker.inspect(Inspect(put_update(number)))
            done.append(number)

        for number in range(5):
            nursery.start_soon(inspect, number)
            await trio.testing.wait_all_tasks_blocked()
    assert done == [0, 1, 2, 3, 4]


@linux
async def test_a_light_worker_closes_rounds_without_torch_while_the_full_one_trains(
    make_worker: MakeWorker, mark: Path, put_update: Callable[[int], bytes]
) -> None:
    inputs = tuple(Input(bytes([i]) * 32, put_update(i)) for i in range(5))
    job = Aggregate("/en", 0, b"j" * 32, inputs, "nnm+multi-krum", 1, 3.0, None)
    async with (
        make_worker("waiting") as full,
        make_worker(role="light") as light,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(run, full, mark)
        await trio.testing.wait_all_tasks_blocked()
        assert full.is_busy
        first = await light.aggregate(job)
        again = await light.aggregate(Aggregate(*job_with(job, expected=first.change)))
        assert again.agrees is True
        assert set(first.weights or {}) == {each.key for each in inputs}
        mixed = await light.mix(Mix("/en", 0, 3, (inputs[0].blob,), inputs[1:], "nna", 1, 0.0))
        assert (mixed.step, len(mixed.left_out)) == (3, 1)
        assert set(mixed.weights or {}) == {each.key for each in inputs[1:]}
        assert "torch" not in Path(f"/proc/{light.pid}/maps").read_text()
        with pytest.raises(JobError, match="only aggregates"):
            await run(light, mark)
        mark.touch()


def job_with(job: Aggregate, **changes: object) -> list[object]:
    return [changes.get(name, getattr(job, name)) for name in job.__slots__]


async def test_too_few_updates_are_a_sentence_for_the_core(
    make_worker: MakeWorker, put_update: Callable[[int], bytes]
) -> None:
    job = Aggregate("/en", 3, b"j" * 32, (Input(b"k" * 32, put_update(1)),), "krum", 1, 3.0, None)
    async with make_worker(role="light") as worker:
        with pytest.raises(JobError, match="krum needs at least") as caught:
            await worker.aggregate(job)
    assert job_failed(job, caught.value).job == b"j" * 32


@linux
@pytest.mark.parametrize("app", ["waiting", "holding"])
async def test_a_worker_dies_with_its_daemon(
    app: str, mark: Path, make_worker: MakeWorker, tmp_path: Path
) -> None:
    """Even while a job keeps the interpreter to itself, and however the daemon ends."""
    worker = make_worker(app)
    program = tmp_path / "daemon.py"
    program.write_text(
        "import sys, trio\nfrom dataclasses import replace\nfrom pathlib import Path\n"
        "from banyan.node.worker.client import Worker, WorkerSettings\n"
        "from banyan.node.worker.messages import Hello\n"
        "from banyan.node.learning.settings import TrainingSettings\n"
        "from banyan.protocol.effects import Train\n"
        "from banyan.security import canonical\nfrom banyan.security.schema import from_plain\n"
        f"plain = canonical.decode(Path({str(tmp_path / 'hello')!r}).read_bytes(), max_bytes=10**6, floats=True)\n"
        "async def main():\n"
        "    worker = Worker(from_plain(Hello, plain))\n"
        "    await worker.train(Train('/en', 0, b'b' * 32, (), ()), data=[Path('no mark')],\n"
        "        settings=TrainingSettings(), on_progress=lambda p: print(worker.pid, flush=True))\n"
        "trio.run(main)\n"
    )
    from banyan.security import canonical
    from banyan.security.schema import to_plain

    (tmp_path / "hello").write_bytes(canonical.encode(to_plain(worker._hello)))
    daemon = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    pid = int(await trio.to_thread.run_sync(daemon.stdout.readline))
    watch = os.pidfd_open(pid)
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    ready, _, _ = await trio.to_thread.run_sync(select.select, [watch], [], [], 20.0)
    os.close(watch)
    assert ready


async def until_dead(pid: int) -> None:
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with trio.fail_after(20):
        await trio.lowlevel.wait_readable(watch)
    os.close(watch)


def test_an_order_to_lift_comes_out_of_its_plain_map_as_it_went_in():
    inputs = (Input(b"k" * 32, b"b" * 32, b"a" * 32), Input(b"m" * 32, b"c" * 32))
    lift = Lift(inputs, "median", 1, 0.5, b"d" * 32, None)
    job = Aggregate("/en", 3, b"j" * 32, (), "krum", 1, 3.0, None, lift=lift)
    train = Train("/en", 1, b"b" * 32, (b"a" * 32,), (), before=(), epsilon=0.1)
    assert read_order("aggregate", to_plain(job)) == job
    assert read_order("train", to_plain(TrainOrder(train, (), SETTINGS))) == TrainOrder(train, (), SETTINGS)
