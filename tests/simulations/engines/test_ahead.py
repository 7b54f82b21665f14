"""Training on workers gives the very trace of training in one process."""

import numpy as np
import pytest

from banyan.security.errors import BanyanError
from banyan.simulations.engines.ahead import Ahead, Lesson, prepare, teach, training_on
from banyan.simulations.tasks import Quadratic
from banyan.simulations.world import World


def played(task, crashes=()):
    world = World(seed=3, devices={"/": 9}, task=task)
    world.start()
    devices = list(world.devices.values())
    for at, number in crashes:
        world.clock.after(at, devices[number].crash)
        world.clock.after(at + 3_000, devices[number].start)
    assert world.run(until=lambda: world.agreed("/", 3))
    return world


class HereEngine:
    """In this process; notes how many lessons came at once."""

    workers = 2

    def __init__(self):
        self.batches = []

    def map(self, jobs, run):
        from banyan.simulations.engines.job import perform

        for job in jobs:
            self.batches.append(len(job.arguments["lessons"]))
            yield perform(run, job)

    def close(self):
        pass


def ahead_of(task):
    ahead = Ahead(task)
    ahead._engine = HereEngine()
    prepare(task)
    return ahead


def test_processes_give_the_trace_of_one_process():
    with training_on(Quadratic(), "local", workers=2) as task:
        assert played(task).trace_hash == played(Quadratic()).trace_hash


def test_power_cuts_while_training_change_nothing_either():
    crashes = [(1_500, 2), (2_100, 5), (9_000, 7)]
    assert played(ahead_of(Quadratic()), crashes).trace_hash == played(Quadratic(), crashes).trace_hash


def test_the_lessons_of_a_tick_travel_in_one_batch_a_worker():
    task = ahead_of(Quadratic())
    played(task)
    assert max(task._engine.batches) >= 4  # nine devices, two workers
    assert len(task._engine.batches) <= 2 * 4


class Counting(Quadratic):
    def __init__(self):
        super().__init__()
        self.lessons = 0

    def train(self, device, start, height):
        self.lessons += 1
        if device == "bad":
            raise ValueError("no")
        return super().train(device, start, height)


def test_what_was_not_foreseen_is_trained_on_the_spot():
    task = Counting()
    ahead = ahead_of(task)
    model = np.zeros(task.dimension, np.float32)
    ahead.foresee("a", model, 1)
    assert np.array_equal(ahead.train("a", model + 1, 1), Quadratic().train("a", model + 1, 1))
    assert np.array_equal(ahead.train("b", model, 1), Quadratic().train("b", model, 1))
    assert ahead._engine.batches == []


def test_losses_before_and_after_are_known_with_the_result():
    task = Counting()
    ahead = ahead_of(task)
    model = np.zeros(task.dimension, np.float32)
    ahead.foresee("a", model, 1)
    trained = ahead.train("a", model, 1)
    assert ahead.loss("a", model) == task.loss("a", model)
    assert ahead.loss("a", trained) == task.loss("a", trained)
    assert ahead.loss("a", trained + 1) == task.loss("a", trained + 1)
    assert task.lessons == 1


def test_what_training_raises_is_raised_where_the_result_is_due():
    ahead = ahead_of(Counting())
    model = np.zeros(32, np.float32)
    ahead.foresee("bad", model, 1)
    with pytest.raises(ValueError, match="no"):
        ahead.train("bad", model, 1)


def test_a_worker_that_fails_ends_the_run_with_the_reason():
    with training_on(Undeliverable(), "local", workers=1) as ahead:
        model = np.zeros(32, np.float32)
        ahead.foresee("a", model, 1)
        with pytest.raises(BanyanError, match="A training worker failed: Its process died twice"):
            ahead.train("a", model, 1)


class Undeliverable(Quadratic):
    """Ends the process that trains on it."""

    def __reduce__(self):
        return (Fatal, ())


class Fatal(Quadratic):
    def train(self, device, start, height):
        import os

        os._exit(3)


def test_lessons_are_taught_in_their_order():
    prepare(Quadratic())
    model = np.zeros(32, np.float32)
    learned = teach([Lesson(n, f"d{n}", model, 1) for n in range(3)])
    assert [(each.turn, each.device) for each in learned] == [(0, "d0"), (1, "d1"), (2, "d2")]
