"""One run over several processes, one a core: who lives where, and how they are started and joined.

The trace of a run and what it learns are the same in one process and in many; only who reports a violation may differ.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import combinations
from multiprocessing.connection import Connection
from typing import Any, Final

from banyan.security.errors import BanyanError
from banyan.simulations.border import Border
from banyan.simulations.engines.environment import environment
from banyan.simulations.faults import Crashes
from banyan.simulations.record import RunRecord
from banyan.simulations.run import Progress, Run, run_scenario
from banyan.simulations.scenario import Arm, Scenario, ScenarioError
from banyan.simulations.world import subtree

__all__ = ["homes", "processes_for", "run_in_processes"]

ON_HUGE_PAGES: Final = (
    {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    if platform.libc_ver()[0] == "glibc"
    else {}
)
"""A world of gigabytes is read here and there: on huge pages it takes a tenth less processor time, though the allocator
that has them is slower."""

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
        top = subtree(path)
        subtrees[top] = subtrees.get(top, 0) + 1
    if len(subtrees) < processes:
        return [number % processes for number in range(len(devices))]
    full = [0] * processes
    home: dict[str, int] = {}
    for top in sorted(subtrees, key=lambda top: (-subtrees[top], top)):
        home[top] = full.index(min(full))
        full[home[top]] += subtrees[top]
    return [home[subtree(path)] for path in devices]


def run_in_processes(
    scenario: Scenario, seed: int, arm: Arm = "as-is", *, processes: int, progress: Progress | None = None
) -> RunRecord:
    """As :func:`~banyan.simulations.run.run_scenario`, with the devices shared out among ``processes`` that it starts.
    A script that calls it keeps that under ``if __name__ == "__main__":``.

    Raises:
        ScenarioError: the scenario asks for what cannot be, or cannot be split.
        BanyanError: one of the processes failed or ended.
    """
    processes = min(processes_for(scenario.for_arm(arm), processes), scenario.devices)
    if processes == 1:
        return run_scenario(scenario, seed, arm, progress=progress)
    context = multiprocessing.get_context("spawn")
    lines: list[dict[int, socket.socket]] = [{} for _ in range(processes)]
    for one, other in combinations(range(processes), 2):
        lines[one][other], lines[other][one] = socket.socketpair()
    here, there = context.Pipe(duplex=False)
    plain = scenario.model_dump(mode="json")
    started = [
        context.Process(target=_play, args=(rank, lines[rank], plain, seed, arm, there), daemon=True)
        for rank in range(processes)
    ]
    try:
        with environment({k: v for k, v in ON_HUGE_PAGES.items() if k not in os.environ}):
            for process in started:
                process.start()
        there.close()
        for line in (each for part in lines for each in part.values()):
            line.close()  # theirs; the end of one tells them, and us, that who held it has ended
        return _heard(here, progress or (lambda done, what: None))
    finally:
        here.close()
        for process in started:
            process.join(timeout=0.5)
            process.kill()
            process.join()


def _heard(line: Connection, progress: Progress) -> RunRecord:
    """What the first process tells: how far all are, and in the end the record; or what any says that has failed."""
    while True:
        try:
            what, content = line.recv()
        except EOFError:
            raise BanyanError(
                "The processes of the run have ended, perhaps for want of memory", "Run it in fewer"
            ) from None
        if what == "record":
            return RunRecord.from_dict(content)
        if what == "failure":
            raise BanyanError(content, "Run it in one process to see where")
        progress(*content)


def _play(
    rank: int, lines: dict[int, socket.socket], plain: dict[str, Any], seed: int, arm: Arm, home: Connection
) -> None:
    """What each process does. It ends when any that it hears from does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for who has started us: the end of our lines tells
    began = time.perf_counter()
    scenario = Scenario.model_validate(plain)
    border = Border(rank, lines, homes(scenario.tree, 1 + len(lines)))
    try:
        run = Run(scenario.for_arm(arm), seed, border=border)
        run.play(lambda done, what: home.send(("progress", (done, what))) if rank == 0 else None)
        record = run.record(arm, time.perf_counter() - began)
        if rank == 0:
            home.send(("record", record.as_dict()))
    except OSError:
        return  # nobody listens any more
    except BanyanError as error:  # ours, or another process's, of which the border has told
        border.fail(error.what)
        _tell(home, error.what)
    except Exception as error:  # noqa: BLE001 - whatever it is, who has started us is to know
        border.fail(f"{type(error).__name__}: {error}")
        _tell(home, f"A process of the run failed: {type(error).__name__}: {error}")


def _tell(home: Connection, why: str) -> None:
    with suppress(OSError):  # nobody listens any more
        home.send(("failure", why))
