"""Virtual-node-rounds a second of Banyan's simulator beside Flower's own simulation, in one run.

Run as ``python -m benchmarks.simulation_flower [--nodes N] [--rounds N]``; writes
``benchmarks/results/simulation_flower.json`` and ``.md``. Needs ``pip install 'flwr[simulation]'``.

Both train the same small network on the same rows with the same steps, in two settings: *cheap*, where a node trains
for about a millisecond, and *heavy*, where training dominates. What is counted is not the same: in Flower's simulation
a round is a call of each client and one mean in the middle; in Banyan's every node signs, gossips, verifies, elects,
recomputes and co-signs, with real Ed25519 and every message delivered over a virtual network, in branches of 20.

Start-up is timed apart; a round lasts from one release (or aggregation) to the next, of all nodes. Processor time is
that of all processes of a side. It is the number to trust on a shared machine, wall time on a quiet one; both are
written down.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np
import psutil
import torch

from banyan.simulations.engines.ahead import training_on
from banyan.simulations.tasks import Score, spec_of
from banyan.simulations.world import World

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks/results/simulation_flower.json"
SIZES = (64, 32, 10)
DIMENSION = SIZES[0] * SIZES[1] + SIZES[1] + SIZES[1] * SIZES[2] + SIZES[2]
ROWS = 64
BRANCH = 20


def learn(vector: np.ndarray, node: int, steps: int) -> np.ndarray:
    """``steps`` of gradient descent on the node's own rows, from the flat float32 ``vector``; the same kind of."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(node)
    rows = torch.randn(ROWS, SIZES[0], generator=generator)
    labels = torch.randint(SIZES[2], (ROWS,), generator=generator)
    model = torch.nn.Sequential(
        torch.nn.Linear(SIZES[0], SIZES[1]), torch.nn.ReLU(), torch.nn.Linear(SIZES[1], SIZES[2])
    )
    torch.nn.utils.vector_to_parameters(torch.from_numpy(vector.copy()), model.parameters())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(rows), labels).backward()
        optimiser.step()
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()


class Learning:
    """:func:`learn` as a task of the simulator. Nobody measures losses, as on Flower's side."""

    def __init__(self, steps: int) -> None:
        self.dimension, self.spec, self._steps = DIMENSION, spec_of(DIMENSION), steps
        self._numbers: dict[str, int] = {}

    def place(self, device: str, branch: str) -> None:
        self._numbers.setdefault(device, len(self._numbers))

    def train(self, device: str, start: np.ndarray, height: int) -> np.ndarray:
        return learn(start, self._numbers[device], self._steps)

    def loss(self, device: str, model: np.ndarray) -> float:
        return 0.0

    def score(self, where: str, model: np.ndarray) -> Score:
        return Score(0.0)

    def poisoned(self, poison: str) -> Self:
        return self


class Marks:
    """Wall and processor seconds, of this process and all that it started, at the end of each round."""

    def __init__(self) -> None:
        self.at: list[tuple[float, float]] = []
        self.mark()

    def mark(self) -> None:
        spent = 0.0
        for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            spent += times.user + times.system
        self.at.append((time.perf_counter(), spent))


def banyan(nodes: int, rounds: int, steps: int, workers: int) -> Marks:
    """Rounds of a tree whose every branch has :data:`BRANCH` nodes, the root among them."""
    marks = Marks()
    branches = ["/", *(f"/branch{n}" for n in range(1, nodes // BRANCH))]
    with training_on(Learning(steps), "local", workers) as task:
        world = World(1, dict.fromkeys(branches, BRANCH), task=task, fast_signatures=False)  # type: ignore[arg-type]
        world.start()
        for height in range(1, rounds + 2):  # the first of them includes finding each other
            while any(device.height(device.settings.branch) < height for device in world.devices.values()):
                if world.clock.now - world.charter.created > 3_600_000:
                    raise SystemExit("Banyan's nodes do not get on: no round within a virtual hour.")
                world.run(limit=100)
            marks.mark()
            print(f"  banyan  round {height}", flush=True)
    return marks


def flower(nodes: int, rounds: int, steps: int, workers: int) -> Marks:
    """Rounds of FedAvg over all clients."""
    from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    marks = Marks()
    client, server = ClientApp(), ServerApp()

    @client.train()  # type: ignore[untyped-decorator]
    def train(message: Message, context: Context) -> Message:
        (start,) = message.content["arrays"].to_numpy_ndarrays()
        trained = learn(start, int(context.node_config["partition-id"]), steps)
        content = {"arrays": ArrayRecord([trained]), "metrics": MetricRecord({"num-examples": ROWS})}
        return Message(content=RecordDict(content), reply_to=message)

    class Timed(FedAvg):  # type: ignore[misc]
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            result = super().aggregate_train(server_round, replies)
            marks.mark()
            print(f"  flower  round {server_round}", flush=True)
            return result

    @server.main()  # type: ignore[untyped-decorator]
    def main(grid: Grid, context: Context) -> None:
        strategy = Timed(
            fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes
        )
        initial = ArrayRecord([np.zeros(DIMENSION, np.float32)])
        strategy.start(grid, initial, num_rounds=rounds + 1, train_config=ConfigRecord())

    run_simulation(
        server,
        client,
        num_supernodes=nodes,
        backend_config={
            "init_args": {"num_cpus": workers},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
    return marks


SIDES = {"banyan": banyan, "flower": flower}


def measure(side: str, nodes: int, rounds: int, steps: int, workers: int) -> dict[str, float]:
    """One side in a process of its own: start-up with its first round, then seconds a round, wall and processor."""
    environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        numbers = [str(each) for each in (nodes, rounds, steps, workers)]
        command = [sys.executable, "-m", "benchmarks.simulation_flower", "--side", side, *numbers, file.name]
        subprocess.run(command, check=True, env=environment, cwd=ROOT)
        at: list[tuple[float, float]] = json.loads(Path(file.name).read_text())
    return figures(at, nodes)


def figures(at: list[tuple[float, float]], nodes: int) -> dict[str, float]:
    """What the marks of a side tell."""
    wall = median(after[0] - before[0] for before, after in pairwise(at[1:]))
    processor = median(after[1] - before[1] for before, after in pairwise(at[1:]))
    return {
        "start_seconds": at[1][0] - at[0][0],
        "start_processor_seconds": at[1][1] - at[0][1],
        "round_wall_seconds": wall,
        "round_processor_seconds": processor,
        "node_rounds_per_wall_second": nodes / wall,
        "node_rounds_per_processor_second": nodes / processor,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=200, help=f"a multiple of {BRANCH}")
    parser.add_argument("--rounds", type=int, default=4, help="timed rounds, after one that is not")
    parser.add_argument("--cheap", type=int, default=1, help="steps of training in the cheap setting")
    parser.add_argument("--heavy", type=int, default=200, help="steps of training in the heavy setting")
    parser.add_argument("--settings", nargs="+", choices=("cheap", "heavy"), default=["cheap", "heavy"])
    parser.add_argument("--note", default="", help="what a reader should know of this run")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--side", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side, *numbers, out = options.side
        Path(out).write_text(json.dumps(SIDES[side](*map(int, numbers)).at))
        return
    workers = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for setting in options.settings:
        steps = getattr(options, setting)
        print(f"{setting}: {steps} steps a node", flush=True)
        measured[setting] = {
            side: measure(side, options.nodes, options.rounds, steps, workers) for side in SIDES
        }
    write(options, load, workers, measured)


def write(options: argparse.Namespace, load: float, workers: int, measured: dict[str, Any]) -> None:
    """Both files of the result."""
    import flwr

    result = {
        "what": "virtual-node-rounds a second, Banyan's simulator over Flower's own simulation",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {workers} cores, Python {platform.python_version()}",
        "load_at_start": round(load, 2),
        "versions": {"flwr": flwr.__version__, "torch": torch.__version__},
        "note": options.note,
        "nodes": options.nodes,
        "rounds": options.rounds,
        "steps": {setting: getattr(options, setting) for setting in measured},
        "measured": measured,
        "banyan_over_flower": {
            setting: {
                kind: sides["banyan"][f"node_rounds_per_{kind}_second"]
                / sides["flower"][f"node_rounds_per_{kind}_second"]
                for kind in ("wall", "processor")
            }
            for setting, sides in measured.items()
        },
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    options.out.with_suffix(".md").write_text(table(result), "utf-8")
    print(table(result))


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [
        "# Banyan's simulator beside Flower's",
        "",
        f"{result['nodes']} virtual nodes, median of {result['rounds']} rounds, {result['date']}, {result['machine']}, "
        f"flwr {result['versions']['flwr']}, load {result['load_at_start']} before it began. Method: "
        "`benchmarks/simulation_flower.py`.",
        "",
        "| training | | start and first round | a round, wall | a round, processor | node-rounds a processor second |",
        "|---|---|---|---|---|---|",
    ]
    for setting, sides in result["measured"].items():
        for side, found in sides.items():
            lines.append(
                f"| {setting}, {result['steps'][setting]:,} steps | {side} | {found['start_seconds']:.1f} s "
                f"| {found['round_wall_seconds']:.2f} s | {found['round_processor_seconds']:.2f} s "
                f"| {found['node_rounds_per_processor_second']:.0f} |"
            )
    lines.append("")
    for setting, ratio in result["banyan_over_flower"].items():
        lines.append(
            f"- {setting}: Banyan does {ratio['processor']:.2f} × Flower's node-rounds a processor second, "
            f"{ratio['wall']:.2f} × a wall second."
        )
    lines += [
        "",
        "The two do not do the same in a round. Flower calls each client and takes one mean. Banyan runs its protocol: "
        f"branches of {BRANCH} nodes that sign (Ed25519), gossip, verify, aggregate with Multi-Krum, recompute and "
        "co-sign, on a virtual network.",
    ]
    lines += ["", result["note"]] if result["note"] else []
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
