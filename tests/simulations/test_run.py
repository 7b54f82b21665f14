"""A run is a function of its scenario and its seed, and its record tells what happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from banyan.protocol.peer import Peer
from banyan.protocol.release import Seat, opening
from banyan.simulations.record import RunRecord
from banyan.simulations.run import LOOKED_AT, Run, run_scenario
from banyan.simulations.scenario import load

QUICK = {
    "churn": {"rounds": 4},
    "partition-heals": {"rounds": 4},
    "committee-captured-minority": {"rounds": 4},
}
"""Scenarios that finish in a second or two, with the settings that make them so."""


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", QUICK)
def test_no_invariant_breaks(name: str, seed: int) -> None:
    record = run_scenario(load(name).changed(QUICK[name]), seed)
    assert record.finished
    assert record.violations == ()


@pytest.mark.parametrize("seed", [1002, 152, 219])
def test_a_device_that_lost_its_disk_in_a_long_round_is_not_shut_out_for_what_it_forgot(seed: int) -> None:
    """In the last two the round lasted longer than the device kept silent: what it had said must come back."""
    record = run_scenario(load("churn").changed({"rounds": 8}), seed)
    assert record.finished and not record.violations
    assert not any(node.quarantined_by for node in record.nodes)


@pytest.mark.parametrize("seed", [55, 145])
def test_a_device_that_crashes_again_after_it_lost_its_disk_still_knows_that_it_forgot(seed: int) -> None:
    """What had come to its new disk before the second crash looked like a past, and it spoke at once."""
    record = run_scenario(load("churn").changed({"rounds": 8, "faults.1.count": 3}), seed)
    assert record.finished and not record.violations


def test_a_committee_member_that_lost_its_disk_does_not_vote_twice() -> None:
    """It had given a leader up, came back, and liked what that leader proposed."""
    record = run_scenario(load("churn").changed({"rounds": 8, "faults.1.count": 5}), 14)
    assert record.finished and not record.violations
    assert not any(node.quarantined_by for node in record.nodes)


def test_a_seat_that_restarts_after_it_had_listened_for_long_enough_speaks_again() -> None:
    """It listened for ever: while a past is taken up from disk no time has come yet."""
    record = run_scenario(load("churn").changed({"rounds": 3}), 52)
    assert record.finished and not record.violations


def test_a_leader_that_proposes_what_another_drafted_is_not_blamed_for_whom_that_one_did_not_know() -> None:
    record = run_scenario(load("churn").changed({"rounds": 3, "faults.1.count": 5}), 56)
    assert record.finished and not record.violations


def test_a_root_that_lost_its_disk_does_not_open_its_branch_a_second_time() -> None:
    """Somebody had told it that there were releases, and the message that brought them was lost."""
    record = run_scenario(load("churn").changed({"rounds": 8}), 54)
    assert record.finished and not record.violations


def test_a_record_survives_a_trip_through_json() -> None:
    record = run_scenario(load("churn").changed({"rounds": 2}), 1)
    assert RunRecord.from_dict(json.loads(json.dumps(record.as_dict()))) == record
    assert record.nodes and record.releases and record.scores and record.faults
    assert record.alone["/"] >= 0


def test_one_seed_gives_one_trace_in_any_process() -> None:
    code = (
        "from banyan.simulations.run import run_scenario; from banyan.simulations.scenario import load\n"
        "print(run_scenario(load('churn').changed({'rounds': 2}), 7).trace)"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for hash_seed in ("1", "4")
    }  # fmt: skip
    assert runs == {run_scenario(load("churn").changed({"rounds": 2}), 7).trace}


def test_watching_changes_nothing() -> None:
    scenario = load("partition-heals").changed({"rounds": 2})
    steps: list[int] = []
    watched = run_scenario(scenario, 3, watcher=lambda time, *_: steps.append(time))
    assert watched.trace == run_scenario(scenario, 3, invariants=()).trace
    assert len(steps) == watched.events
    assert steps == sorted(steps)


def test_the_undefended_arm_is_ruined_where_the_defended_learns() -> None:
    fewer = {"policies.round.f": 2, "policies.round.min_updates": 8, "attackers.0.count": 2}
    scenario = load("flat-20").changed({"tree./": 10, "rounds": 4, **fewer})
    ends = {
        arm: run_scenario(scenario, 1, arm).scores[-1].loss for arm in ("as-is", "no-attack", "plain-mean")
    }
    assert ends["as-is"] < 1.2 * ends["no-attack"] < ends["plain-mean"]


def test_devices_without_a_committee_learn_from_their_neighbours() -> None:
    scenario = load("dumbbell-gossip").changed({"rounds": 8, "tree./left": 4, "tree./right": 4})
    record = run_scenario(scenario, 1)
    assert record.finished and not record.violations and not record.releases
    assert record.scores[-1].height == 8
    assert record.scores[-1].loss < record.scores[0].loss


def test_in_a_large_world_all_devices_are_looked_at_in_turn_and_some_releases_are_done_over() -> None:
    run = Run(load("scale-10k"), 1)
    for device in run.honest:
        device.peer = Peer(run.world.charter, device.signer, device.settings, run.rng)
    seen: list[str] = []
    for _ in range(-(-len(run.world.devices) // LOOKED_AT)):
        run._ticks += 1
        looked_at = [device.name for device in run.in_turn()]
        assert len(looked_at) <= LOOKED_AT
        seen += looked_at
    assert sorted(seen) == sorted(run.world.devices)
    openings = [opening("/", [Seat("a", 0, "/")], time) for time in range(300)]
    assert 5 < sum(run.does_over(each) for each in openings) < 30


def test_a_small_world_is_looked_at_whole() -> None:
    run = Run(load("flat-20"), 1)
    assert run.does_over(opening("/", [Seat("a", 0, "/")], 1))
    run.world.start()
    run.world.run(limit=1_000)
    run._tick()
    assert run.in_turn() == run.expected()
