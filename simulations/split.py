"""One run over several processes, one a core: who lives where, and how they are started and joined.

The trace of a run and what it learns are the same in one process and in many; only who reports a violation may differ.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from itertools import combinations
from multiprocessing.connection import Connection
from typing import Any, Final

from banyan.security.errors import BanyanError
from banyan.simulations.border import Border
from banyan.simulations.faults import Crashes
from banyan.simulations.record import RunRecord
from banyan.simulations.run import Progress, Run, run_scenario
from banyan.simulations.scenario import Arm, Scenario, ScenarioError

__all__ = ["homes", "processes_for", "run_in_processes"]

LARGE: Final = 1_000
"""Above so many devices a run takes all cores, unless it is told otherwise."""


def processes_for(scenario: Scenario, wanted: int | None) -> int:
    """How many processes a run is to take: as many as ``wanted``; if None, one, or one a core where it is large and can
    be split.

    Raises:
        ScenarioError: more than one are wanted of a scenario that takes one.
    """
    obstacle = _obstacle(scenario)
    if wanted is None:
        return len(os.sched_getaffinity(0)) if scenario.devices > LARGE and not obstacle else 1
    if wanted > 1 and obstacle:
        raise ScenarioError(
            f"{scenario.name} cannot be split over processes: {obstacle}", "Leave out --processes"
        )
    return wanted


def _obstacle(scenario: Scenario) -> str:
    """Why a scenario takes one process; nothing if it can be split."""
    if scenario.attackers:
        return "its attackers see what everybody sends"
    if scenario.charter_policies().round.coordination == "gossip":
        return "without committees its steps are counted over all devices at once"
    if any(isinstance(fault, Crashes) and fault.committee for fault in scenario.faults):
        return "its crashes look for committees everywhere"
    return ""


def homes(tree: Mapping[str, int], processes: int) -> list[int]:
    """In which process each device lives, by branch and number: those of one subtree of the root together, the largest
    subtrees shared out first; where there are fewer subtrees than processes, device by device in turn."""
    devices = [path for path in sorted(tree) for _ in range(tree[path])]
    subtrees: dict[str, int] = {}
    for path in devices:
        top = "/" + path.split("/")[1]
        subtrees[top] = subtrees.get(top, 0) + 1
    if len(subtrees) < processes:
        return [number % processes for number in range(len(devices))]
    full = [0] * processes
    home: dict[str, int] = {}
    for top in sorted(subtrees, key=lambda top: (-subtrees[top], top)):
        home[top] = full.index(min(full))
        full[home[top]] += subtrees[top]
    return [home["/" + path.split("/")[1]] for path in devices]


def run_in_processes(
    scenario: Scenario, seed: int, arm: Arm = "as-is", *, processes: int, progress: Progress | None = None
) -> RunRecord:
    """As :func:`~banyan.simulations.run.run_scenario`, with the devices shared out among ``processes``: this one and
    others that it starts. A script that calls it keeps that under ``if __name__ == "__main__":``.

    Raises:
        ScenarioError: the scenario asks for what cannot be, or cannot be split.
        BanyanError: one of the processes failed or ended.
    """
    processes = min(processes_for(scenario.for_arm(arm), processes), scenario.devices)
    if processes == 1:
        return run_scenario(scenario, seed, arm, progress=progress)
    context = multiprocessing.get_context("spawn")
    lines: list[dict[int, Connection]] = [{} for _ in range(processes)]
    for one, other in combinations(range(processes), 2):
        lines[one][other], lines[other][one] = context.Pipe()
    plain = scenario.model_dump(mode="json")
    others = [
        context.Process(target=_play, args=(rank, lines[rank], plain, seed, arm), daemon=True)
        for rank in range(1, processes)
    ]
    try:
        for process in others:
            process.start()
        for rank in range(1, processes):
            _close(lines[rank])
        return _run(0, lines[0], scenario, seed, arm, progress or (lambda done, what: None))
    finally:
        _close(lines[0])
        for process in others:
            process.join(timeout=5)
            process.kill()


def _run(
    rank: int,
    lines: Mapping[int, Connection],
    scenario: Scenario,
    seed: int,
    arm: Arm,
    progress: Progress,
) -> RunRecord:
    """One process's part."""
    started = time.perf_counter()
    border = Border(rank, lines, homes(scenario.tree, 1 + len(lines)))
    try:
        run = Run(scenario.for_arm(arm), seed, border=border)
        run.play(progress)
        return run.record(arm, time.perf_counter() - started)
    except Exception as error:
        border.fail(f"{type(error).__name__}: {error}")
        raise


def _play(rank: int, lines: dict[int, Connection], plain: dict[str, Any], seed: int, arm: Arm) -> None:
    """What another process does. It ends when the first one does, or any that it hears from."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first one's to handle: the end of its line tells
    try:
        _run(rank, lines, Scenario.model_validate(plain), seed, arm, lambda done, what: None)
    except BanyanError:
        raise SystemExit(1) from None  # the first process says why


def _close(lines: Mapping[int, Connection]) -> None:
    for line in lines.values():
        line.close()
