"""The scenario ``scale-10k`` at 156, 975 and 10,000 nodes: does what a node sends grow with the network?

Every size runs as ``banyan simulate scale-10k`` does, the largest shared out over the cores, and with every invariant
on: the very core of the daemon on a virtual network, a three-level tree, a quadratic task of 1,000 numbers, so many
rounds in every leaf branch. Messages, bytes and blobs are counted as they leave a device; founding (until every leaf
has its first release, which is not the first of those that were quicker) is counted apart from the rounds after it.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from banyan.simulations.record import RunRecord
from banyan.simulations.scenario import Scenario, load
from banyan.simulations.split import processes_for, run_in_processes

SCENARIO = load("scale-10k")

LEAF = 39
"""Devices of a leaf branch in the smaller sizes, and of most in the largest: how long a release is hangs on that, and
not on the network."""

FANS = {156: 2, 975: 5}
"""Children of the root, and of each of them, by size: 4 and 25 leaf branches. The scenario has 256."""

SIZES = (*FANS, SCENARIO.devices)

LIMITS = {"seconds": 600.0, "peak_mb": 8_000.0}
"""Of the scenario as it is, on two cores."""

RESULTS = Path("benchmarks/results")


def scenario(size: int, rounds: int) -> Scenario:
    """``scale-10k`` with a tree of ``size`` devices, all of them in the leaves, whose delegates run those above."""
    if size not in FANS:
        return SCENARIO.changed({"rounds": rounds})
    domains = [f"/d{number:02}" for number in range(FANS[size])]
    leaves = [f"{domain}/s{number:02}" for domain in domains for number in range(FANS[size])]
    tree = {"/": 0, **dict.fromkeys(domains, 0), **dict.fromkeys(leaves, LEAF)}
    return SCENARIO.changed({"rounds": rounds, "tree": tree})


def measure(size: int, rounds: int, seed: int, processes: int | None) -> dict[str, object]:
    """One run."""
    began, chosen = time.perf_counter(), scenario(size, rounds)
    processes = processes_for(chosen, processes)
    with _bar(f"{size:,} nodes") as show:

        def progress(done: float, standing: str) -> None:
            show.update(show.task_ids[0], completed=done, description=standing)

        record = run_in_processes(chosen, seed, processes=processes, progress=progress)
    wall = time.perf_counter() - began
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
    peak = own.ru_maxrss + (processes if processes > 1 else 0) * others.ru_maxrss  # those of equal shares
    root = record.nodes[0]  # the charter's: the first device of the first branch that has any
    return {
        "nodes": len(record.nodes),
        "rounds": rounds,
        "processes": processes,
        "signatures": record.signatures,
        "goal reached": record.finished,
        "violations": len(record.violations),
        "wall_seconds": round(wall, 1),
        "processor_seconds": round(processor, 1),
        "peak_mb": round(peak / 1024),
        "events": record.events,
        "events_per_processor_second": round(record.events / processor),
        "node_rounds_per_second": round(size * rounds / wall, 1),
        "founded_after_virtual_seconds": (record.founded_ms or 0) // 1000,
        "virtual_seconds": record.virtual_ms // 1000,
        "releases_by_level": _releases(record),
        "a_node_and_round": _after_founding(record),
        "founding_a_node": {
            name: _spread([node.founding[place] for node in record.nodes]) | {"root": root.founding[place]}
            for place, name in enumerate(COUNTED)
        },
        "trace": record.trace,
    }


COUNTED = ("messages", "bytes", "blob_bytes")


def _after_founding(record: RunRecord) -> dict[str, dict[str, float]]:
    """What the nodes sent a round, from founding on."""
    rounds = Counter(each.branch for each in record.releases if each.time > (record.founded_ms or 0))
    working = [node for node in record.nodes if rounds[node.branch]]
    return {
        name: _spread(
            [(getattr(node, name) - node.founding[place]) / rounds[node.branch] for node in working]
        )
        for place, name in enumerate(COUNTED)
    }


def _spread(counts: list[Any]) -> dict[str, float]:
    """The mean over all nodes, and the most of any."""
    return {"mean": round(sum(counts) / len(counts), 1), "most": round(max(counts), 1)}


def _releases(record: RunRecord) -> list[list[int]]:
    """The fewest and the most releases of a branch, for the root, the middle and the leaves."""
    levels: list[list[int]] = [[], [], []]
    for path in record.settings["tree"]:
        height = max((each.height for each in record.releases if each.branch == path), default=0)
        levels[path.rstrip("/").count("/")].append(height)
    return [[min(level), max(level)] for level in levels]


@contextmanager
def _bar(what: str) -> Iterator[Progress]:
    columns = (
        TextColumn(what),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", style="dim"),
    )
    with Progress(*columns, disable=not sys.stderr.isatty()) as bar:
        bar.add_task("", total=1.0)
        yield bar


def table(runs: list[dict[str, Any]]) -> str:
    """The runs as a page of Markdown."""
    rows = [(name.replace("_", " "), [_cell(run[name]) for run in runs]) for name in SINGLE]
    rows.append(("releases: root, middle, leaves", [_levels(run) for run in runs]))
    for phase, words in (("a_node_and_round", "a node and round"), ("founding_a_node", "founding, a node")):
        for what in COUNTED:
            for kind in runs[0][phase][what]:
                cells = [f"{run[phase][what][kind]:,.0f}" for run in runs]
                rows.append((f"{what.replace('_', ' ')}, {words}: {kind}", cells))
    head = "| | " + " | ".join(f"{run['nodes']:,} nodes" for run in runs) + " |"
    lines = [head, "|---|" + "---:|" * len(runs)]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows]
    return "\n".join(lines)


SINGLE = (
    "rounds",
    "processes",
    "signatures",
    "goal reached",
    "violations",
    "wall_seconds",
    "processor_seconds",
    "peak_mb",
    "events",
    "events_per_processor_second",
    "node_rounds_per_second",
    "founded_after_virtual_seconds",
    "virtual_seconds",
)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _levels(run: dict[str, Any]) -> str:
    pairs = run["releases_by_level"]
    return ", ".join(f"{least}" if least == most else f"{least}-{most}" for least, most in pairs)


def report(runs: list[dict[str, Any]], out: Path) -> None:
    """Write the results as JSON and as a page."""
    machine = f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}"
    load = "/".join(f"{each:.1f}" for each in psutil.getloadavg())
    date = datetime.now(UTC).date().isoformat()
    what = (__doc__ or "").strip()
    result = {
        "what": what.splitlines()[0],
        "date": date,
        "machine": machine,
        "load": load,
        "limits": LIMITS,
        "runs": runs,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "simulation-scale.json").write_text(json.dumps(result, indent=2) + "\n")
    notes = (
        f"{date}, {machine}, load {load} at the end (1, 5 and 15 min). Where others are at work on the machine, the "
        "wall time tells of them too, and so do processor seconds, if less. Peak MB is the sum of all processes.\n\n"
        "Signatures are keyed BLAKE2b of the same size. The nodes of a process share what each has said (a receiver "
        "finds the sender's parsed message by its bytes) and jobs on equal blobs are done once; bytes that nobody here "
        "signed are verified and parsed as ever. `root` is the charter's first root, which opens the branches: its "
        f"founding grows with their number. Leaf branches have {LEAF} members in all sizes, some of the largest one "
        "more.\n"
    )
    short = [f"{run['nodes']:,} nodes for {run['rounds']}" for run in runs if run["rounds"] < SCENARIO.rounds]
    if short:
        notes += (
            f"\nRounds not run to their end: {', '.join(short)} of {SCENARIO.rounds}. The limit of "
            f"{LIMITS['seconds']:.0f} s is of {SCENARIO.rounds} rounds at {SIZES[-1]:,} nodes, so such a run does not "
            "show that it is kept.\n"
        )
    left = [f"{size:,}" for size in SIZES if size not in {run["nodes"] for run in runs}]
    if left:
        notes += f"\nNot run this time: {', '.join(left)} nodes.\n"
    notes += "".join(f"\n**A limit is exceeded**: {each}.\n" for each in exceeded(runs))
    (out / "simulation-scale.md").write_text(f"# The core at scale\n\n{what}\n\n{table(runs)}\n\n{notes}")


def exceeded(runs: list[dict[str, Any]]) -> list[str]:
    """What the largest run took more of than it may."""
    largest = runs[-1]
    if largest["nodes"] != SIZES[-1]:
        return []
    took = {"seconds": largest["wall_seconds"], "peak_mb": largest["peak_mb"]}
    return [f"{took[what]:,} {what} of {limit:,}" for what, limit in LIMITS.items() if took[what] > limit]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=SIZES, help="nodes")
    parser.add_argument("--rounds", type=int, default=SCENARIO.rounds, help="releases of every leaf branch")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--one", action="store_true", help="measure the first size in this process, print JSON"
    )
    parser.add_argument("--processes", type=int, help="default: one, for the largest one a core")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.sizes[0], options.rounds, options.seed, options.processes)))
        return
    runs = [_apart(size, options) for size in options.sizes]
    report(runs, options.out)
    print(table(runs))
    if exceeded(runs):
        sys.exit("A limit is exceeded.")


def _apart(size: int, options: argparse.Namespace) -> dict[str, Any]:
    """One size in a process of its own, whose memory nothing else has touched."""
    words = ["--sizes", size, "--rounds", options.rounds, "--seed", options.seed, "--one"]
    words += ["--processes", options.processes] if options.processes else []
    command = [sys.executable, "-m", "benchmarks.simulation_scale", *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    run: dict[str, Any] = json.loads(done.stdout)
    return run


if __name__ == "__main__":
    main()
