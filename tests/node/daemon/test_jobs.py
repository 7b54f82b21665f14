"""Heavy work is queued, answered whatever happens, and replaced when the head has moved."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from banyan.node.daemon.events import MemoryLost, VersionRejected
from banyan.node.daemon.jobs import Jobs, Lessons
from banyan.node.learning.continual.rejected import Rejected
from banyan.node.learning.progress import Progress
from banyan.node.learning.settings import TrainingSettings
from banyan.protocol.effects import (
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

EVALUATE = Evaluate("/", 4, b"j" * 32, ((), (b"a" * 32,)), 64)
MIX = Mix("/", 0, 3, (b"o" * 32,), (), "nna", 1, 0.0)


class Workers:
    """Workers whose jobs take a second each; some fail."""

    def __init__(self):
        self.begun, self.fail, self.answer = [], None, None

    async def inspect(self, job):
        if self.fail:
            raise self.fail
        return Inspected(job.digest, None, 1.0)

    async def mix(self, job):
        if self.fail:
            raise self.fail
        return Mixed(job.branch, job.height, job.step, b"m" * 32, 10, None)

    async def evaluate(self, job, lessons):
        if self.fail:
            raise self.fail
        return Evaluated(job.branch, job.height, job.job, (1.0,) * len(job.models), job.rows)

    async def train(self, job, base, lessons, progress):
        self.begun.append(job.height)
        progress(Progress("train", 1, 10, 2.5, seconds_left=9.0))
        await trio.sleep(1)
        if self.fail:
            raise self.fail
        if self.answer:
            return self.answer
        return Trained(job.branch, job.height, job.base, b"d" * 32, 10, None, {"loss_after": 2.0})


class Provisions:
    async def base_folder(self, branch):
        await trio.lowlevel.checkpoint()
        return Path("/model")

    def progress(self):
        return None


class World:
    def __init__(self):
        self.workers, self.answers, self.reports = Workers(), [], []
        self.lessons = Lessons((Path("/data"),), TrainingSettings())
        self.jobs = Jobs(self.workers, Provisions(), self.plan, self.deliver, self.reports.append)

    async def plan(self, job):
        return self.lessons

    async def deliver(self, answer):
        self.answers.append(answer)

    async def run(self, seconds=10):
        with trio.move_on_after(seconds):
            await self.jobs.run()


@pytest.fixture
def world():
    return World()


def train(height):
    return Train("/", height, b"b" * 32, (), ())


async def test_a_job_is_answered_and_reported(world, autojump_clock):
    world.jobs.start(train(1))
    world.jobs.start(Inspect(b"x" * 32))
    world.jobs.start(MIX)
    world.jobs.start(EVALUATE)
    await world.run()
    assert {type(answer) for answer in world.answers} == {Trained, Inspected, Mixed, Evaluated}
    assert [type(report).__name__ for report in world.reports] == ["TrainingStarted", "TrainingFinished"]


async def test_a_newer_round_ends_the_training_of_an_older_one(world, autojump_clock):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        world.jobs.start(train(1))
        await trio.sleep(0.5)
        assert world.jobs.status()["loss"] == 2.5
        world.jobs.start(train(2))
        world.jobs.start(train(3))
    assert world.workers.begun == [1, 3]
    assert [answer.height for answer in world.answers] == [3]
    assert world.jobs.status() is None


async def test_a_failed_job_is_told_to_the_core_in_words(world, autojump_clock):
    world.workers.fail = BanyanError("The worker died", "Choose a smaller batch")
    world.jobs.start(train(1))
    world.jobs.start(Inspect(b"x" * 32))
    world.jobs.start(MIX)
    world.jobs.start(EVALUATE)
    await world.run()
    answers = {getattr(answer, "kind", "inspect"): answer for answer in world.answers}
    inspected, mixed, failed = (answers[kind] for kind in ("inspect", "mix", "train"))
    assert answers["evaluate"] == JobFailed(
        "evaluate", "/", 4, "The worker died. Choose a smaller batch.", EVALUATE.job
    )
    assert inspected.refusal == "unavailable"
    assert mixed == JobFailed("mix", "/", 0, "The worker died. Choose a smaller batch.")
    assert failed == JobFailed("train", "/", 1, "The worker died. Choose a smaller batch.")


async def test_without_data_nothing_is_trained_or_measured(world, autojump_clock):
    world.lessons = None
    world.jobs.start(train(1))
    world.jobs.start(EVALUATE)
    await world.run()
    assert {answer.kind for answer in world.answers} == {"train", "evaluate"}
    assert all("no data" in answer.reason for answer in world.answers)


async def test_a_rejected_version_is_reported_once_and_answered_as_a_failure(world, autojump_clock):
    version = Rejected("/", 1, "/home/aside.delta", 0.4, 0.05, {"loss_before": 3.0, "loss_after": 2.0})
    world.workers.answer = version
    world.jobs.start(train(1))
    await world.run()
    world.workers.answer = replace(version, again=True)
    world.jobs.start(train(1))
    await world.run()
    assert [type(answer) for answer in world.answers] == [JobFailed, JobFailed]
    assert "would have risen by 0.400" in world.answers[0].reason
    (told,) = [report for report in world.reports if isinstance(report, VersionRejected)]
    assert (told.rise, told.loss_after, told.file) == (0.4, 2.0, "/home/aside.delta")
    assert world.jobs.set_aside()[0]["rise"] == 0.4


async def test_a_lost_memory_is_reported(world, autojump_clock):
    world.workers.answer = Trained("/", 1, b"b" * 32, b"d" * 32, 10, None, {"memory_damaged": 1.0})
    world.jobs.start(train(1))
    await world.run()
    assert MemoryLost("/") in world.reports
