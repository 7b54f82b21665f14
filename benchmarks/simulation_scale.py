"""The core at 351, 975 and 9,984 nodes of a three-level tree: does what a node sends grow with the network?

Every size runs in a process of its own: the very core of the daemon on a virtual network, a quadratic task of 1,000
numbers, so many rounds in every leaf branch. Messages, bytes and blobs are counted as they leave a device; founding
(until every leaf has its first release, which is not the first of those that were quicker) is counted apart from the
rounds after it.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from banyan.security.charter import Preset, preset
from banyan.simulations.device import Device
from banyan.simulations.network import Conditions
from banyan.simulations.tasks import Quadratic
from banyan.simulations.world import World

LEAF = 39
"""Devices of a leaf branch, in every size: how long a release is hangs on that, and not on the network."""

FANS = {351: 3, 975: 5, 9_984: 16}
"""Children of the root, and of each of them, by size: 9, 25 and 256 leaf branches."""

SIZES = tuple(FANS)

ROUNDS = 20
LIMITS = {"seconds": 600.0, "peak_mb": 8_000.0}
"""Of the largest size and so many rounds, on two cores."""

RESULTS = Path("benchmarks/results")
MINUTE = 60_000


def tree(size: int) -> dict[str, int]:
    """Devices by branch: all of them in the leaves; those above are run by the leaves' delegates."""
    fan = FANS[size]
    domains = [f"/d{number}" for number in range(fan)]
    leaves = [f"{domain}/s{number}" for domain in domains for number in range(fan)]
    return {"/": 0, **dict.fromkeys(domains, 0), **dict.fromkeys(leaves, LEAF)}


def policies() -> Preset:
    """The ``wan`` preset; a rule that three votes suffice for, since the smallest tree has three children a branch;
    signs of life every five minutes, since a counted update is one too."""
    wan = preset("wan")
    return replace(
        wan,
        round=replace(wan.round, rule="trimmed-mean", f=1, min_updates=3),
        gossip=replace(wan.gossip, presence_interval=5 * MINUTE, presence_lifetime=15 * MINUTE),
    )


def measure(size: int, rounds: int, seed: int) -> dict[str, object]:
    """One run."""
    began = time.perf_counter()
    world = World(seed, tree(size), policies(), Conditions(latency=(20, 150)), Quadratic(1_000))
    devices = list(world.devices.values())
    for device in devices:
        device.train_time = MINUTE + world.rng.randrange(
            MINUTE // 3
        )  # training takes a minute, for some a third more
    world.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)  # nearly all that is made lives until the run ends
    with _bar(f"{size:,} nodes", rounds * size) as show:
        _run(world, devices, 1, show)
        founding = _sent(devices)
        _run(world, devices, rounds, show)
    total = _sent(devices)
    later = {
        name: [after - before for before, after in zip(founding[name], total[name], strict=True)]
        for name in total
    }
    processor, wall = time.process_time(), time.perf_counter() - began
    root = list(world.devices).index(world.charter.roots[0])
    return {
        "nodes": size,
        "rounds": rounds,
        "signatures": world.signatures,
        "wall_seconds": round(wall, 1),
        "processor_seconds": round(processor, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "events": world.handled,
        "events_per_second": round(world.handled / processor),
        "node_rounds_per_second": round(size * rounds / processor, 1),
        "virtual_minutes": round((world.clock.now - world.charter.created) / MINUTE, 1),
        "releases_by_level": _releases(world),
        "founding_a_node": {name: _spread(counts, 1, root) for name, counts in founding.items()},
        "a_node_and_round": {
            name: _spread(counts, max(1, rounds - 1), root) for name, counts in later.items()
        },
        "trace": world.trace_hash,
    }


def _run(world: World, devices: list[Device], height: int, show: Progress) -> None:
    """Until every device's own branch has ``height`` releases."""
    looks = 0
    waiting = list(devices)

    def reached() -> bool:
        nonlocal looks, waiting
        looks += 1
        if looks % (5 * len(devices)):  # looking at them all at every event would cost more than the events
            return False
        waiting = [d for d in waiting if d.peer is None or d.height(d.settings.branch) < height]
        every = max(1, len(devices) // 500)
        done = sum(max(0, d.height(d.settings.branch)) for d in devices[::every]) * every
        show.update(show.task_ids[0], completed=done)
        return not waiting

    if not world.run(until=reached, limit=24 * 60 * MINUTE):
        raise SystemExit(
            f"After a virtual day {len(waiting)} devices have not seen release {height} of their branch."
        )


def _sent(devices: list[Device]) -> dict[str, list[int]]:
    return {
        "messages": [device.messages_sent for device in devices],
        "bytes": [device.bytes_sent for device in devices],
        "blob_bytes": [device.blob_bytes_sent for device in devices],
    }


def _spread(counts: list[int], rounds: int, root: int) -> dict[str, float]:
    """The mean over all nodes, the most of any, and the first root's."""
    return {
        "mean": round(sum(counts) / len(counts) / rounds, 1),
        "most": round(max(counts) / rounds, 1),
        "root": round(counts[root] / rounds, 1),
    }


def _releases(world: World) -> list[list[int]]:
    """The fewest and the most releases of a branch, for the root, the middle and the leaves."""
    reached = dict.fromkeys(world.charter.branches, -1)
    for device in world.live():
        assert device.peer is not None
        for path, branch in device.peer.branches.items():
            reached[path] = max(reached[path], branch.chain.height)
    levels: list[list[int]] = [[], [], []]
    for path, height in reached.items():
        levels[len(path.split("/")) - 1 if path != "/" else 0].append(height)
    return [[min(level), max(level)] for level in levels]


@contextmanager
def _bar(what: str, total: int) -> Iterator[Progress]:
    columns = (
        TextColumn(what),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not sys.stderr.isatty()) as bar:
        bar.add_task(what, total=total)
        yield bar


def table(runs: list[dict[str, object]]) -> str:
    """The runs as a page of Markdown."""
    rows: list[tuple[str, list[str]]] = [
        (
            name.replace("_", " "),
            [f"{run[name]:,}" if not isinstance(run[name], str) else str(run[name]) for run in runs],
        )
        for name in (
            "rounds",
            "signatures",
            "wall_seconds",
            "processor_seconds",
            "peak_mb",
            "events",
            "events_per_second",
            "node_rounds_per_second",
            "virtual_minutes",
        )
    ]
    rows.append(("releases: root, middle, leaves", [_levels(run) for run in runs]))
    for phase, words in (("a_node_and_round", "a node and round"), ("founding_a_node", "founding, a node")):
        for what in ("messages", "bytes", "blob_bytes"):
            for kind in ("mean", "most", "root"):
                cells = [f"{run[phase][what][kind]:,.0f}" for run in runs]  # type: ignore[index]
                rows.append((f"{what.replace('_', ' ')}, {words}: {kind}", cells))
    head = "| | " + " | ".join(f"{run['nodes']:,} nodes" for run in runs) + " |"
    lines = [head, "|---|" + "---:|" * len(runs)]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _levels(run: dict[str, object]) -> str:
    levels = run["releases_by_level"]
    assert isinstance(levels, list)
    return ", ".join(f"{least}" if least == most else f"{least}-{most}" for least, most in levels)


def report(runs: list[dict[str, object]], out: Path) -> None:
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
        f"{date}, {machine}, load {load} at the end (1, 5 and 15 min). One process, one core.\n\n"
        "Above 1,000 nodes signatures are keyed BLAKE2b of the same size. In all sizes the nodes of the process share "
        "what each has said (a receiver finds the sender's parsed message by its bytes) and jobs on equal blobs are "
        "done once; bytes that nobody here signed are verified and parsed as ever. `root` is the charter's first root, "
        "which opens the branches: its founding grows with their number. Leaf branches have "
        f"{LEAF} members in all sizes.\n"
    )
    short = [
        f"{run['nodes']:,} nodes for {run['rounds']}" for run in runs if int(str(run["rounds"])) < ROUNDS
    ]
    if short:
        notes += (
            f"\nRounds not run to their end: {', '.join(short)} of {ROUNDS}. The limit of {LIMITS['seconds']:.0f} s is "
            f"of {ROUNDS} rounds at {SIZES[-1]:,} nodes, so such a run does not show that it is kept.\n"
        )
    left = [f"{size:,}" for size in SIZES if size not in {run["nodes"] for run in runs}]
    if left:
        notes += f"\nNot run this time: {', '.join(left)} nodes.\n"
    (out / "simulation-scale.md").write_text(f"# The core at scale\n\n{what}\n\n{table(runs)}\n\n{notes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=SIZES, help="nodes")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="releases of every leaf branch")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--one", action="store_true", help="measure the first size in this process, print JSON"
    )
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.sizes[0], options.rounds, options.seed)))
        return
    runs = [_apart(size, options.rounds, options.seed) for size in options.sizes]
    report(runs, options.out)
    print(table(runs))
    largest = runs[-1]
    if largest["nodes"] == SIZES[-1] and (
        float(str(largest["wall_seconds"])) > LIMITS["seconds"]
        or float(str(largest["peak_mb"])) > LIMITS["peak_mb"]
    ):
        sys.exit("A limit is exceeded.")


def _apart(size: int, rounds: int, seed: int) -> dict[str, object]:
    """One size in a process of its own, whose memory nothing else has touched."""
    words = ["--sizes", size, "--rounds", rounds, "--seed", seed, "--one"]
    command = [sys.executable, "-m", "benchmarks.simulation_scale", *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    run: dict[str, object] = json.loads(done.stdout)
    return run


if __name__ == "__main__":
    main()
