"""A Ray cluster of two workers on this machine."""

import sys

import pytest

from banyan.security.errors import BanyanError
from banyan.simulations.engines import Job, open_engine
from banyan.simulations.engines.ahead import training_on
from banyan.simulations.engines.ray import RayEngine
from banyan.simulations.tasks import Quadratic
from banyan.simulations.world import World


def test_where_ray_is_missing_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        BanyanError, match=r"Ray is not installed\. Install it: pip install 'banyan-fl\[ray\]'"
    ):
        open_engine("ray")


@pytest.fixture
def cluster():
    """Ray with two cores, found already running by whoever asks for an engine."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with RayEngine(workers=2) as first:
        yield first


@pytest.mark.network
def test_a_cluster_does_every_job_survives_a_death_and_trains_for_a_world(cluster):
    jobs = [Job(str(n), {"number": n}) for n in range(40)]
    with open_engine("ray", workers=2) as engine:
        done = list(engine.map(jobs, "fake_runs:square"))
        assert sorted((int(each.job.key), each.result) for each in done) == [(n, n * n) for n in range(40)]
        done = {each.job.key: each for each in engine.map(jobs[:6], "fake_runs:die")}
        assert "Its actor died twice" in done.pop("3").error
        assert [done[key].result for key in sorted(done)] == [0, 1, 2, 4, 5]
        (failed,) = engine.map(jobs[:1], "fake_runs:fail")
        assert "ValueError: 0 is not what I wanted" in failed.error
    with training_on(Quadratic(), "ray", workers=2) as task:
        assert trace_of(task) == trace_of(Quadratic())


def trace_of(task):
    world = World(seed=3, devices={"/": 5}, task=task)
    world.start()
    assert world.run(until=lambda: world.agreed("/", 2))
    return world.trace_hash
