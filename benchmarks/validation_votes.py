"""What validation votes win and lose where devices' data differ strongly and attackers search for the worst lie.

Run as ``python -m benchmarks.validation_votes [--rounds N] [--seeds N]``: twenty devices read digits whose classes are
shared out with Dirichlet 0.1, four of them send the worst lie that gets through the rule and vote for every release.
The whole protocol runs on the simulated network, once without and once with votes. It may be stopped and goes on where
it was. Writes ``benchmarks/results/validation-votes.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from banyan.protocol.events import Event, ReleaseTried
from banyan.protocol.release import UNCHANGED
from banyan.simulations.tasks import Digits
from banyan.simulations.world import World, fast_preset

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks/results/validation-votes.json"
KEPT = ROOT / "build/validation-votes.json"
DEVICES, LIARS, ALPHA = 20, 4, 0.1
RULES = ("nnm+multi-krum", "trimmed-mean", "mean")
ATTACKS = ("none", "ipm*", "alie*", "sign-flip", "vote-against")
VOTES = {"off": None, "ε = 0": 0.0, "ε = 0.05": 0.05}
LAST = 5
"""Releases at the end whose accuracies are averaged: single rounds jump."""


@dataclass(frozen=True)
class Cell:
    """One run: a rule, an attack, whether there are votes (by a name in VOTES), and a seed."""

    rule: str
    attack: str
    votes: str
    seed: int

    @property
    def name(self) -> str:
        return "|".join(map(str, (self.rule, self.attack, self.votes, self.seed)))


def world_of(cell: Cell) -> World:
    """The network of one run, its last devices corrupted."""
    policies = fast_preset(rule=cell.rule, f=LIARS, min_updates=2 * LIARS + 3)
    epsilon = VOTES[cell.votes]
    if epsilon is not None:
        validation = replace(policies.validation, voters=3 * LIARS + 1, epsilon=epsilon)
        policies = replace(policies, validation=validation)
    task = Digits(ALPHA, seed=cell.seed)
    world = World(cell.seed, {"/": DEVICES}, policies, task=task, fast_signatures=True)
    if cell.attack != "none":
        for device in list(world.devices.values())[-LIARS:]:
            liar = world.corrupt(device, cell.attack)
            if cell.attack != "vote-against":
                liar.ballot = "for"
    return world


def run(cell: Cell, rounds: int) -> dict[str, Any]:
    """What became of one run."""
    world, began = world_of(cell), time.process_time()
    honest = [device for device in world.devices.values() if device.attack is None]
    evaluations: Counter[str] = Counter()
    accuracies: list[float] = []

    def watch(device: str, event: Event) -> None:
        evaluations[device] += isinstance(event, ReleaseTried)

    def reached(height: int) -> bool:
        return all(device.height("/") >= height and device.has_model("/") for device in honest)

    world.on_event = watch
    world.start()
    for height in range(1, rounds + 1):
        if not world.run(until=lambda height=height: reached(height)):
            raise RuntimeError(f"{cell.name} stopped at release {height}")
        accuracy = world.task.score("/", honest[0].model("/")).accuracy
        assert accuracy is not None
        accuracies.append(round(100 * accuracy, 1))
    assert honest[0].peer is not None
    releases = [*honest[0].peer.branches["/"].chain.releases()][1 : rounds + 1]
    return {
        "accuracy": round(mean(accuracies[-LAST:]), 1),
        "refused": sum(len(release.refused) for release in releases),
        "stricter": sum(release.rule not in (cell.rule, UNCHANGED) for release in releases),
        "unchanged": sum(release.rule == UNCHANGED for release in releases),
        "untried": sum(not release.votes and release.rule != UNCHANGED for release in releases),
        "seconds_a_round": round((world.clock.now - world.charter.created) / 1000 / rounds, 2),
        "message_bytes": round(sum(each.bytes_sent for each in honest) / len(honest) / rounds),
        "blob_bytes": round(sum(each.blob_bytes_sent for each in honest) / len(honest) / rounds),
        "evaluations": round(sum(evaluations.values()) / len(world.devices) / rounds, 2),
        "processor_seconds": round(time.process_time() - began, 2),
    }


def cells(seeds: int) -> Iterator[Cell]:
    for seed, rule, attack, votes in product(range(seeds), RULES, ATTACKS, VOTES):
        if attack != "vote-against" or votes != "off":  # without votes that is no attack
            yield Cell(rule, attack, votes, seed)


def gathered(seeds: int, rounds: int, fresh: bool) -> dict[str, dict[str, Any]]:
    """Every run by its name; those of an earlier call are not run again."""
    known: dict[str, Any] = {}
    if KEPT.exists() and not fresh:
        known = json.loads(KEPT.read_text(encoding="utf-8"))
    done: dict[str, dict[str, Any]] = known.get("runs", {}) if known.get("rounds") == rounds else {}
    wanted = list(cells(seeds))
    for number, cell in enumerate(wanted):
        if cell.name not in done:
            done[cell.name] = run(cell, rounds)
            KEPT.parent.mkdir(parents=True, exist_ok=True)
            KEPT.write_text(json.dumps({"rounds": rounds, "runs": done}), encoding="utf-8")
        print(f"{number + 1} of {len(wanted)}: {cell.name}: {done[cell.name]['accuracy']} %", flush=True)
    return {cell.name: done[cell.name] for cell in wanted}


def average(found: dict[str, dict[str, Any]], rule: str, attack: str, votes: str, figure: str) -> float:
    start = f"{rule}|{attack}|{votes}|"
    return mean(each[figure] for name, each in found.items() if name.startswith(start))


def page(result: dict[str, Any]) -> str:
    found = result["runs"]
    lines = [
        "# Validation votes",
        "",
        f"- {result['date']}, {result['machine']}",
        f"- digits, {DEVICES} devices of which {LIARS} lie, Dirichlet {ALPHA}, {result['rounds']} rounds, mean of "
        f"{result['seeds']} seeds; {3 * LIARS + 1} voters; after the round's rule arc+nnm+trimmed-mean, then unchanged",
        "- an asterisk marks attacks that search their strength anew each round against the network's own rule; all "
        "attackers vote for every release, but those of vote-against, who train honestly",
        f"- accuracy of the head on all held-out rows, mean of the last {LAST} releases, %; in brackets the share of "
        "rounds that ended with the stricter rule, and of those that changed nothing, %",
        "",
        "| rule | attack | " + " | ".join(f"votes {name}" for name in VOTES) + " |",
        "| --- | --- |" + " --- |" * len(VOTES),
    ]
    for rule, attack in product(RULES, ATTACKS):
        row = [_cell(found, rule, attack, votes, result["rounds"]) for votes in VOTES]
        lines.append(f"| {rule} | {attack.replace('*', chr(92) + '*')} | " + " | ".join(row) + " |")
    lines += ["", "What a round costs an honest device, mean over all rules and attacks:", ""]
    lines += [
        "| votes | virtual seconds | message KB | blob KB | evaluations | processor seconds of the simulation |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for votes in VOTES:
        chosen = [
            each for name, each in found.items() if f"|{votes}|" in name and "|vote-against|" not in name
        ]
        seconds, messages, blobs, evaluations, processor = (
            mean(each[figure] for each in chosen)
            for figure in (
                "seconds_a_round",
                "message_bytes",
                "blob_bytes",
                "evaluations",
                "processor_seconds",
            )
        )
        lines.append(
            f"| {votes} | {seconds:.2f} | {messages / 1000:.1f} | {blobs / 1000:.1f} | {evaluations:.2f} | "
            f"{processor / result['rounds']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def _cell(found: dict[str, dict[str, Any]], rule: str, attack: str, votes: str, rounds: int) -> str:
    if not any(name.startswith(f"{rule}|{attack}|{votes}|") for name in found):
        return "–"
    accuracy = average(found, rule, attack, votes, "accuracy")
    if VOTES[votes] is None:
        return f"{accuracy:.1f}"
    shares = (100 * average(found, rule, attack, votes, each) / rounds for each in ("stricter", "unchanged"))
    return f"{accuracy:.1f} ({', '.join(f'{share:.0f}' for share in shares)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run had finished")
    chosen = parser.parse_args()
    found = gathered(chosen.seeds, chosen.rounds, chosen.fresh)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "rounds": chosen.rounds,
        "seeds": chosen.seeds,
        "runs": found,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    RESULT.with_suffix(".md").write_text(page(result), encoding="utf-8")
    print(page(result))


if __name__ == "__main__":
    main()
