"""Processes of this machine: results, deaths, interruption."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from banyan.simulations.engines import Job, Setup, open_engine
from banyan.simulations.engines.local import LocalEngine
from banyan.simulations.engines.trial import TRIAL, trial


def numbers(count, **more):
    return [Job(str(n), {"number": n, **more}) for n in range(count)]


@pytest.fixture(scope="module")
def engine():
    with LocalEngine(workers=2) as found:
        yield found


def test_every_job_is_done_once(engine):
    done = list(engine.map(numbers(20), "fake_runs:square"))
    assert sorted((int(each.job.key), each.result) for each in done) == [(n, n * n) for n in range(20)]


def test_no_jobs_are_no_trouble(engine):
    assert list(engine.map([], "fake_runs:square")) == []


def test_a_job_that_raises_is_reported_and_the_others_go_on(engine):
    done = list(engine.map(numbers(3), "fake_runs:fail"))
    assert len(done) == 3
    assert all(
        "ValueError" in each.error and "is not what I wanted (fail, line" in each.error for each in done
    )


def test_a_job_whose_process_dies_twice_is_reported_and_the_others_go_on(engine):
    done = {each.job.key: each for each in engine.map(numbers(6), "fake_runs:die")}
    assert done.pop("3").error == "Its process died twice, the last time with SIGKILL (out of memory?)"
    assert [done[key].result for key in sorted(done)] == [0, 1, 2, 4, 5]


def test_a_job_whose_process_dies_once_is_tried_again(engine, tmp_path):
    done = list(engine.map(numbers(2, folder=str(tmp_path)), "fake_runs:die_once"))
    assert sorted(each.result for each in done) == [0, 1]


def test_a_result_that_cannot_travel_is_an_error(engine):
    (done,) = engine.map(numbers(1), "fake_runs:unsendable")
    assert "cannot travel between processes" in done.error


def test_an_unknown_function_is_an_error_of_the_job(engine):
    (done,) = engine.map(numbers(1), "fake_runs:absent")
    assert "AttributeError" in done.error


def test_jobs_are_taken_as_workers_become_free(engine):
    taken = []

    def source():
        for job in numbers(100):
            taken.append(job.key)
            yield job

    run = engine.map(source(), "fake_runs:square")
    next(run)
    assert len(taken) <= 3
    run.close()
    assert sorted(each.result for each in engine.map(numbers(2), "fake_runs:square")) == [0, 1]


def test_each_process_computes_on_one_core(engine):
    assert [each.result for each in engine.map(numbers(1), "fake_runs:threads")] == ["1"]


def test_workers_are_set_up_before_their_first_job():
    with open_engine("local", workers=1, setup=Setup("fake_runs:prepare", {"number": 4})) as engine:
        assert [each.result for each in engine.map(numbers(2), "fake_runs:prepared")] == [[4], [4]]


def test_a_setup_that_raises_is_said_with_every_job():
    with open_engine("local", workers=1, setup=Setup("fake_runs:prepare", {"number": -1})) as engine:
        (done,) = engine.map(numbers(1), "fake_runs:prepared")
    assert done.error.startswith("Its worker could not be set up: ValueError: no")


ENDLESS = """
import signal
from banyan.simulations.engines import Job
from banyan.simulations.engines.local import LocalEngine
from banyan.simulations.engines.trial import TRIAL, trial
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it runs in the background
    with LocalEngine(workers=1) as engine:
        for done in engine.map([Job(str(n), {"number": n}) for n in range(2)], "fake_runs:own_process"):
            print(done.result, flush=True)
"""


@pytest.mark.network
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_sweep_leaves_no_process_behind(tmp_path, end):
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    ) as sweep:
        try:
            worker = psutil.Process(int(sweep.stdout.readline()))
            sweep.send_signal(end)
            sweep.wait(timeout=30)
            _, alive = psutil.wait_procs([worker], timeout=30)
        finally:
            sweep.kill()
    assert alive == []


def test_a_scenario_runs_alike_in_a_process_of_its_own(engine):
    chosen = {"scenario": "flat-20", "seed": 1, "settings": {"rounds": 1}}
    (done,) = engine.map([Job("flat", chosen)], TRIAL)
    assert done.error is None and done.result.finished
    assert done.result.trace == trial(**chosen).trace
