"""One run in several processes: the same trace, the same record, and a clear end where one of them fails."""

from __future__ import annotations

import json
import multiprocessing
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from banyan.security.errors import BanyanError
from banyan.simulations.border import Border
from banyan.simulations.clock import Clock
from banyan.simulations.command import run as banyan_simulate
from banyan.simulations.invariants import OneReleaseAHeight, OnlyAdmissibleInputs
from banyan.simulations.record import RunRecord
from banyan.simulations.run import Run, run_scenario
from banyan.simulations.scenario import Scenario, ScenarioError, load
from banyan.simulations.split import homes, processes_for, run_in_processes

ROUGH = {"latency": [5, 60], "jitter": 10, "loss": 0.03, "duplication": 0.03, "reordering": 0.05}
"""Links on which all that chance can do to a message happens."""

FAMILY = Scenario.model_validate(
    {
        "name": "family",
        "about": "Two branches of four under a root that lives on what they send up",
        "tree": {"/": 0, "/a": 4, "/b": 4},
        "rounds": 3,
        "limit": 240,
        "settle": 60,
        "network": ROUGH,
        "policies": {
            "round": {"rule": "geometric-median", "f": 1, "min_updates": 3},
            "transfer": {"policy": "every-round"},
        },
    }
)

FAR = FAMILY.changed({"network.apart": 70})
"""Its two branches lie far from each other, as each process knows."""

CHURN = load("churn").changed({"rounds": 3} | {f"network.{key}": value for key, value in ROUGH.items()})


def side_by_side(processes: int, part: Callable[[Border], Any], homes_: list[int]) -> list[Any]:
    """What ``part`` returns, or raises, at each border of so many processes, which here are threads."""
    lines: list[dict[int, Any]] = [{} for _ in range(processes)]
    for one in range(processes):
        for other in range(one):
            lines[one][other], lines[other][one] = socket.socketpair()
    results: list[Any] = [None] * processes

    def play(rank: int) -> None:
        border = Border(rank, lines[rank], homes_)
        try:
            results[rank] = part(border)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results[rank] = error
            border.fail(str(error))
        for line in lines[rank].values():  # as when a process ends: a reader of it hears of the end
            line.close()

    threads = [threading.Thread(target=play, args=(rank,)) for rank in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def recorded(scenario: Scenario, seed: int, border: Border) -> RunRecord:
    run = Run(scenario, seed, border=border)
    run.play(lambda done, what: None)
    return run.record("as-is", 0.0)


# ------------------------------------------------------------------------------------ who lives where


def test_subtrees_stay_together_and_are_shared_out_evenly() -> None:
    tree = {"/": 0, "/a": 3, "/a/x": 2, "/b": 4, "/c": 1}
    assert homes(tree, 2) == [0] * 5 + [1] * 4 + [1]


def test_where_there_are_fewer_subtrees_than_processes_devices_are_shared_out_in_turn() -> None:
    assert homes({"/": 5}, 2) == [0, 1, 0, 1, 0]


def test_large_runs_take_all_cores_and_others_one_unless_told_otherwise() -> None:
    assert processes_for(load("scale-10k"), 1) == 1
    assert processes_for(load("scale-10k"), 3) == 3
    assert processes_for(load("churn"), None) == 1


COMMITTEES_CRASH = CHURN.changed(
    {"faults": [{"kind": "crashes", "count": 1, "between": [5, 6], "committee": True}]}
)


@pytest.mark.parametrize(
    ("scenario", "why"),
    [
        (load("flat-20"), "attackers"),
        (load("dumbbell-gossip").for_arm("no-attack"), "steps are counted"),
        (COMMITTEES_CRASH, "committees everywhere"),
    ],
    ids=["attackers", "gossip", "committees"],
)
def test_a_scenario_that_takes_one_process_says_why(scenario: Scenario, why: str) -> None:
    with pytest.raises(ScenarioError, match=why):
        processes_for(scenario, 2)
    assert processes_for(scenario, None) == 1


# ------------------------------------------------------------------------------------ the same run


@pytest.mark.parametrize("scenario", [FAMILY, FAR, CHURN], ids=["family", "far", "churn"])
@pytest.mark.parametrize("processes", [2, 3])
def test_a_run_leaves_the_same_record_in_one_process_and_in_many(scenario: Scenario, processes: int) -> None:
    alone = run_scenario(scenario, 4)
    assert alone.finished and not alone.violations and alone.releases
    parts = side_by_side(
        processes, lambda border: recorded(scenario, 4, border), homes(scenario.tree, processes)
    )
    for part in parts:
        assert part.trace == alone.trace
        assert {**part.as_dict(), "seconds": 0} == {**alone.as_dict(), "seconds": 0}


def test_the_command_shares_a_run_out_and_prints_what_one_process_would(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["partition-heals", "--set", "rounds=1", "--arm", "as-is", "--seed", "3"]
    assert banyan_simulate([*chosen, "--processes", "2", "--json", "--out", str(tmp_path)]) == 0
    (split,) = json.loads(capsys.readouterr().out)
    alone = run_scenario(load("partition-heals").changed({"rounds": 1}), 3)
    assert split["trace"] == alone.trace
    assert split["nodes"] == json.loads(json.dumps(alone.as_dict()))["nodes"]


def test_many_seeds_are_not_split() -> None:
    with pytest.raises(BanyanError, match="--workers"):
        banyan_simulate(["churn", "--seeds", "3", "--processes", "2"])


def test_a_process_goes_on_for_longer_where_nobody_near_lives_elsewhere() -> None:
    def least(border: Border) -> int:
        return Run(FAR, 1, border=border).world._least

    assert side_by_side(2, least, homes(FAR.tree, 2)) == [75, 75]
    assert side_by_side(3, least, homes(FAR.tree, 3)) == [
        5,
        5,
        5,
    ]  # there are two subtrees for three processes


# ------------------------------------------------------------------------------------ when it ends badly


def test_a_process_that_fails_ends_the_run_with_its_reason() -> None:
    def part(border: Border) -> Any:
        run = Run(FAMILY, 1, border=border)
        if border.rank == 1:
            run.world.on_step = lambda *_: 1 / 0
        run.play(lambda done, what: None)

    first, second = side_by_side(2, part, homes(FAMILY.tree, 2))
    assert isinstance(second, ZeroDivisionError)
    assert isinstance(first, BanyanError)
    assert "division by zero" in str(first)


def test_a_process_that_ends_without_a_word_is_noticed() -> None:
    def part(border: Border) -> Any:
        return border.together(1) if border.rank == 0 else None

    first, _ = side_by_side(2, part, [0, 1])
    assert isinstance(first, BanyanError)
    assert "without a word" in str(first)


def test_processes_out_of_step_are_a_bug_and_no_deadlock() -> None:
    def part(border: Border) -> Any:
        return border.together(1) if border.rank == 0 else border.let_pass(Clock(), 2_000_000_000_000, 5)

    first, second = side_by_side(2, part, [0, 1])
    assert isinstance(second, RuntimeError)
    assert isinstance(first, BanyanError) and "does not" in str(first)


def test_a_failing_run_leaves_no_process_behind() -> None:
    def stop(done: float, standing: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_processes(FAMILY, 1, processes=2, progress=stop)
    assert not multiprocessing.active_children()


# ------------------------------------------------------------------------------------ invariants across the border


def test_two_releases_at_one_height_in_two_processes_are_found() -> None:
    run = Run(FAMILY, 1)
    run.play(lambda done, what: None)
    (watch,) = [each for each in run.invariants if isinstance(each, OneReleaseAHeight)]
    other = {"/a": {1: bytes(32)}}
    run.world.together = lambda value: [value, other]  # type: ignore[method-assign]
    watch.finished()
    assert [each.what for each in run.violations] == ["two processes of the run know two releases 1"]


def test_a_child_that_nobody_certified_in_any_process_is_found() -> None:
    def part(border: Border) -> list[str]:
        run = Run(FAMILY, 1, border=border)
        run.play(lambda done, what: None)
        assert not run.violations
        (watch,) = [each for each in run.invariants if isinstance(each, OnlyAdmissibleInputs)]
        watch._certified.clear()
        watch.finished()
        return [each.what for each in run.violations]

    found = side_by_side(2, part, homes(FAMILY.tree, 2))
    assert any("no such release of the child is certified" in what for part in found for what in part)
