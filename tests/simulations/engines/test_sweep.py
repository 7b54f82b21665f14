"""A sweep resumes, counts, and finds the smallest failing job whatever finishes first."""

import json
import random
from io import StringIO

import pytest
from rich.console import Console

from banyan.security.errors import BanyanError
from banyan.simulations.engines import Done, Job
from banyan.simulations.engines.job import perform
from banyan.simulations.engines.screen import shown
from banyan.simulations.engines.sweep import Sweep, broke, grid

RUN = "fake_runs:run_of"


class ShuffledEngine:
    """In this process; keeps ``workers`` jobs under way and finishes any of them next."""

    def __init__(self, seed=0, workers=4):
        self.workers, self.rng, self.ran = workers, random.Random(seed), []

    def map(self, jobs, run):
        source, busy = iter(jobs), []
        while True:
            while len(busy) < self.workers and (job := next(source, None)) is not None:
                busy.append(job)
            if not busy:
                return
            job = busy.pop(self.rng.randrange(len(busy)))
            self.ran.append(job.key)
            yield perform(run, job)


class FailingEngine(ShuffledEngine):
    def map(self, jobs, run):
        return (Done(job, error="It died") for job in jobs)


def test_a_grid_is_every_combination_in_order():
    jobs = grid(scenario=["a", "b"], seed=range(2), settings=[{}, {"network.loss": 0.1}])
    assert [job.key for job in jobs][:3] == [
        "scenario=a seed=0 settings={}",
        'scenario=a seed=0 settings={"network.loss":0.1}',
        "scenario=a seed=1 settings={}",
    ]
    assert len(jobs) == 8 and jobs[1].arguments == {
        "scenario": "a",
        "seed": 0,
        "settings": {"network.loss": 0.1},
    }


@pytest.mark.parametrize("order", range(8))
def test_the_smallest_failing_seed_is_the_same_whatever_finishes_first(order):
    sweep, engine = Sweep(grid(seed=range(40)), RUN, stop=True), ShuffledEngine(order)
    done = list(sweep.over(engine))
    assert sweep.smallest.job.key == "seed=5"
    assert {f"seed={n}" for n in range(6)} <= {each.job.key for each in done}
    assert len(engine.ran) < 20


def test_without_stop_everything_runs_and_every_failure_counts():
    sweep = Sweep(grid(seed=range(12)), RUN)
    assert len(list(sweep.over(ShuffledEngine()))) == 12
    assert sweep.failures == 2 and sweep.smallest.job.key == "seed=5"


def test_a_sweep_goes_on_where_it_ended(tmp_path):
    first = Sweep(grid(seed=range(12)), RUN, tmp_path).over(ShuffledEngine())
    before = {next(first).job.key for _ in range(6)}
    first.close()
    engine = ShuffledEngine(1)
    again = Sweep(grid(seed=range(12)), RUN, tmp_path)
    assert len(list(again.over(engine))) == 12
    assert again.already == 6 and set(engine.ran).isdisjoint(before)
    assert again.smallest.job.key == "seed=5"
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["result"]["seed"] for line in lines) == list(range(12))


def test_a_line_torn_by_a_crash_is_run_again(tmp_path):
    list(Sweep(grid(seed=range(3)), RUN, tmp_path).over(ShuffledEngine()))
    path = tmp_path / "results.jsonl"
    torn = path.read_bytes()[:-9]
    path.write_bytes(torn)
    engine = ShuffledEngine()
    sweep = Sweep(grid(seed=range(3)), RUN, tmp_path)
    assert len(list(sweep.over(engine))) == 3
    assert len(engine.ran) == 1 and sweep.already == 2
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()][-1] == engine.ran[0]


def test_a_job_that_had_an_error_is_tried_again(tmp_path):
    jobs = grid(seed=range(2))
    failed = Sweep(jobs, RUN, tmp_path)
    assert all(broke(each) for each in failed.over(FailingEngine())) and failed.failures == 2
    again = Sweep(jobs, RUN, tmp_path)
    list(again.over(ShuffledEngine()))
    assert again.failures == 0 and again.already == 0


def test_a_damaged_file_of_results_is_named(tmp_path):
    (tmp_path / "results.jsonl").write_text('{"key": "seed=0"}\n')
    with pytest.raises(BanyanError, match=r"Line 1 of .*results\.jsonl is no result"):
        list(Sweep(grid(seed=range(3)), RUN, tmp_path).over(ShuffledEngine()))


def test_results_of_another_sweep_in_the_folder_stay(tmp_path):
    list(Sweep(grid(seed=[100]), RUN, tmp_path).over(ShuffledEngine()))
    sweep = Sweep(grid(seed=range(2)), RUN, tmp_path)
    list(sweep.over(ShuffledEngine()))
    assert sweep.already == 0
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 3


def test_jobs_that_cannot_be_told_apart_are_refused():
    with pytest.raises(BanyanError, match="same key"):
        Sweep([Job("a"), Job("a")], RUN)


def test_the_bar_counts_what_is_left_and_what_failed():
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    done = list(shown(Sweep(grid(seed=range(8)), RUN), ShuffledEngine(), console))
    assert len(done) == 8
    assert "8/8" in screen.getvalue() and "2 failed" in screen.getvalue()
