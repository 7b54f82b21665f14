"""When to lift: what each policy costs in traffic, and how good the branch above becomes by it.

Three branches of four devices learn beneath a root without members, until each has eight releases; every run again
without lifts, and what it sends less is what lifts cost. The root's newest model is scored on the held-out rows of all
devices, over the whole run and at its end; once with everybody honest and once with one branch captured, whose score
then does not count. Writes ``benchmarks/results/lifting.json`` and ``.md``.

Run as ``python -m benchmarks.lifting [--seeds N]``.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any, Final

import numpy as np

from banyan.node.learning.blobs import read_sum
from banyan.protocol.composition import blobs_of, parts_of
from banyan.protocol.events import Event, ReleaseCertified
from banyan.security.charter import TransferPolicy
from banyan.simulations.device import Device
from banyan.simulations.invariants import Everywhere
from banyan.simulations.tasks import Digits, Quadratic, Task
from banyan.simulations.world import World, fast_preset

RESULT = Path(__file__).resolve().parents[1] / "benchmarks/results/lifting.json"
LEAVES: Final = ("/a", "/b", "/c")
CAPTURED: Final = "/c"
DEVICES: Final = 4
ROUNDS: Final = 8
SETTLING: Final = 30_000
"""Virtual ms after the last leaf's release in which the root may still lift."""

POLICIES: Final[dict[str, TransferPolicy]] = {
    "no lifts": TransferPolicy(min_children=64),
    "every-round": TransferPolicy(policy="every-round"),
    **{f"agreement {least:g}": TransferPolicy(policy="agreement", agreement=least) for least in (0.1, 0.3)},
    "gain": TransferPolicy(policy="gain"),
}
TASKS: Final[dict[str, Callable[[int], Task]]] = {
    "quadratic": lambda seed: Quadratic(seed=seed, branch_spread=0.3),
    "digits": lambda seed: Digits(seed=seed, alpha=1.0),
}


@dataclass
class Watch:
    """The root's models over time."""

    world: World
    judged: list[str]
    lifts: int = 0
    since: int = 0
    area: float = 0.0
    loss: float = 0.0

    def begin(self) -> None:
        self.since, self.loss = (
            self.world.clock.now,
            self.score(np.zeros(self.world.spec.dimension, np.float32)),
        )

    def score(self, model: np.ndarray) -> float:
        return mean(self.world.task.score(name, model).loss for name in self.judged)

    def happened(self, name: str, event: Event) -> None:
        device = self.world.devices[name]
        if not isinstance(event, ReleaseCertified) or event.branch != "/" or device.peer is None:
            return
        if event.height <= self.lifts:
            return
        release = device.peer.branches["/"].chain.at(event.height)
        assert release is not None
        self.advance()
        self.lifts = event.height
        blobs = Everywhere(self.world, device)
        self.loss = self.score(read_sum(blobs, blobs_of(parts_of([release])), self.world.spec))

    def advance(self) -> None:
        now = self.world.clock.now
        self.area, self.since = self.area + self.loss * (now - self.since), now


def run(task: str, policy: str, seed: int, *, captured: bool) -> dict[str, Any]:
    """One run in a few numbers."""
    policies = fast_preset(transfer=POLICIES[policy], rule="geometric-median", f=1, min_updates=3)
    devices = {"/": 0, **dict.fromkeys(LEAVES, DEVICES)}
    world = World(seed, devices, policies, task=TASKS[task](seed), fast_signatures=True)
    honest: list[Device] = []
    for device in world.devices.values():
        device.settings = replace(device.settings, target_height=ROUNDS)
        if captured and device.settings.branch == CAPTURED:
            world.corrupt(device, "sign-flip")
        else:
            honest.append(device)
    watch = Watch(world, [device.name for device in honest])
    world.on_event = watch.happened
    began = time.process_time()
    world.start()
    watch.begin()
    start = world.clock.now
    done = world.run(until=lambda: all(d.height(d.settings.branch) >= ROUNDS for d in honest), limit=900_000)
    world.run(limit=SETTLING)
    watch.advance()
    return {
        "task": task,
        "policy": policy,
        "seed": seed,
        "captured": captured,
        "finished": done,
        "lifts": watch.lifts,
        "loss": watch.loss,
        "mean_loss": watch.area / (world.clock.now - start),
        "leaf_loss": mean(world.task.score(d.name, d.own_model()).loss for d in honest),
        "bytes": sum(d.bytes_sent + d.blob_bytes_sent for d in world.devices.values()),
        "processor_seconds": round(time.process_time() - began, 2),
    }


def table(runs: list[dict[str, Any]], task: str, *, captured: bool) -> list[str]:
    """One table, Markdown."""
    chosen = [each for each in runs if each["task"] == task and each["captured"] is captured]
    without = {each["seed"]: each["bytes"] for each in chosen if each["policy"] == "no lifts"}
    lines = [
        "| policy | lifts | kB they cost | kB a lift | loss at the end | mean loss of the run | loss of the leaves |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for policy in POLICIES:
        those = [each for each in chosen if each["policy"] == policy]
        if not those:
            continue
        lifts = mean(each["lifts"] for each in those)
        cost = mean(each["bytes"] - without[each["seed"]] for each in those) / 1000
        each_lift = f"{cost / lifts:.0f}" if lifts else "–"
        losses = (mean(each[key] for each in those) for key in ("loss", "mean_loss", "leaf_loss"))
        numbers = " | ".join(f"{loss:.3f}" for loss in losses)
        lines.append(f"| {policy} | {lifts:.1f} | {cost:.0f} | {each_lift} | {numbers} |")
    return lines


def page(result: dict[str, Any]) -> str:
    lines = [
        "# When to lift",
        "",
        f"- {result['date']}, {result['machine']}, seeds 0 to {result['seeds'] - 1}, means over them",
        f"- {len(LEAVES)} branches of {DEVICES} devices beneath a root without members, {ROUNDS} releases each",
        "- rule of lifts: median, share 1; traffic is messages and blobs of all devices, less those of the same run "
        "without lifts",
        "",
    ]
    for task in TASKS:
        for captured in (False, True):
            who = (
                f"one branch captured, all of {CAPTURED} flips its updates"
                if captured
                else "everybody honest"
            )
            lines += [f"## {task}, {who}", "", *table(result["runs"], task, captured=captured), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2, help="how many seeds of each (default 2)")
    seeds = parser.parse_args().seeds
    runs = []
    for task in TASKS:
        for captured in (False, True):
            for policy in POLICIES:
                for seed in range(seeds):
                    runs.append(run(task, policy, seed, captured=captured))
                    last = runs[-1]
                    print(
                        f"{task:10} {'captured' if captured else 'honest':9} {policy:15} seed {seed}: "
                        f"{last['lifts']} lifts, loss {last['loss']:.3f}, {last['processor_seconds']} s",
                        flush=True,
                    )
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "seeds": seeds,
        "runs": runs,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    RESULT.with_suffix(".md").write_text(page(result), "utf-8")
    print(page(result))


if __name__ == "__main__":
    main()
