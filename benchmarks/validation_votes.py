"""What validation votes win and lose where devices' data differ strongly and attackers search for the worst lie.

Run as ``python -m benchmarks.validation_votes [--rounds N] [--seeds N]``: twenty devices read digits whose classes are
shared out with Dirichlet 0.1; four of them send the worst lie that gets through the rule, and vote for every release.
Rules, attacks and decisions are the network's own, on updates alone; what votes cost is measured over the whole
protocol on the simulated network. It may be stopped and goes on where it was. Writes
``benchmarks/results/validation-votes.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from banyan.aggregation import build
from banyan.protocol.events import Event, ReleaseTried
from banyan.protocol.release import UNCHANGED, TrialVote
from banyan.protocol.validation import enough_of, limited, passes, rules_of
from banyan.security.admission import clip_factors
from banyan.security.charter import Charter, Preset
from banyan.simulations.attacks import formulas
from banyan.simulations.attacks.attacker import STUFFED
from banyan.simulations.attacks.coalition import damage
from banyan.simulations.attacks.formulas import Floats, View
from banyan.simulations.tasks import Digits
from banyan.simulations.world import World, fast_preset

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks/results/validation-votes.json"
KEPT = ROOT / "build/validation-votes.json"
DEVICES, LIARS, ALPHA = 20, 4, 0.1
RULES = ("nnm+multi-krum", "mean", "trimmed-mean", "geometric-median")
ATTACKS = {
    "none": formulas.honest,
    "ipm*": formulas.searched_ipm,
    "alie*": formulas.searched_alie,
    "sign-flip": formulas.sign_flip,
    "vote-against": formulas.honest,
}
VOTES = {"off": None, "ε = 0": 0.0, "ε = 0.05": 0.05}
LAST = 5
"""Rounds at the end whose accuracies are averaged: single rounds jump."""


def policies_of(rule: str, epsilon: float | None) -> Preset:
    """The charter's dials of one arm; None: no votes."""
    policies = fast_preset(rule=rule, f=LIARS, min_updates=2 * LIARS + 3)
    if epsilon is None:
        return policies
    voters = 3 * LIARS + 1
    return replace(policies, validation=replace(policies.validation, voters=voters, epsilon=epsilon))


# ----------------------------------------------------------------------------------------- what they win


@dataclass
class Branch:
    """One branch on updates alone: its honest devices, its liars, and its model."""

    charter: Charter
    task: Digits
    attack: str
    rng: np.random.Generator
    model: Floats

    def updates(self, height: int) -> Floats:
        """What all devices send (n, d), the liars last, cut as admission cuts it."""
        rows = np.stack(
            [self.task.train(str(device), self.model, height) - self.model for device in range(DEVICES)]
        )
        honest, own = rows[:-LIARS], rows[-LIARS:]
        lies = ATTACKS[self.attack](View(honest, own, damage(self.charter, honest), self.rng))
        sent = np.concatenate([honest, lies]).astype(np.float32)
        norms = np.linalg.norm(sent.astype(np.float64), axis=1)
        return sent * np.array(clip_factors(norms.tolist(), self.charter.round.clip), np.float32)[:, None]

    def votes(self, voters: Sequence[int], candidate: Floats) -> tuple[TrialVote, ...]:
        """As many votes as a leader waits for, the liars' among the first."""
        liars_first = sorted(voters, key=lambda device: (device < DEVICES - LIARS, device))
        heard = liars_first[: enough_of([*map(str, voters)], self.charter)]
        return tuple(
            TrialVote(f"{device:02d}", bytes(32), self._change(device, candidate)) for device in heard
        )

    def _change(self, device: int, candidate: Floats) -> float:
        if device >= DEVICES - LIARS and self.attack != "none":
            return STUFFED if self.attack == "vote-against" else -STUFFED
        name = str(device)
        return limited(self.task.loss(name, candidate) - self.task.loss(name, self.model))

    def close(self, height: int) -> str:
        """One round; the rule that it closed by."""
        rows = self.updates(height)
        drawn = self.rng.permutation(DEVICES)[: self.charter.validation.voters]
        voters = [int(device) for device in drawn]
        for rule in rules_of(self.charter, DEVICES):
            if rule == UNCHANGED:
                break
            candidate = self.model + build(rule, f=LIARS)(rows).vector
            if not voters or passes(self.votes(voters, candidate), self.charter):
                self.model = candidate
                return rule
        return UNCHANGED


def run(rule: str, attack: str, votes: str, seed: int, rounds: int) -> dict[str, float]:
    """One branch of one seed: its accuracy on all held-out rows at the end (%), and how its rounds closed (%)."""
    charter = World(0, {"/": 1}, policies_of(rule, VOTES[votes])).charter
    task = Digits(ALPHA, seed=seed)
    branch = Branch(charter, task, attack, np.random.default_rng(seed), np.zeros(task.dimension, np.float32))
    closed, accuracies = [], []
    for height in range(1, rounds + 1):
        closed.append(branch.close(height))
        if height > rounds - LAST:
            accuracies.append(100 * (task.score("/", branch.model).accuracy or 0.0))
    return {
        "accuracy": mean(accuracies),
        "stricter": 100 * sum(each not in (rule, UNCHANGED) for each in closed) / rounds,
        "unchanged": 100 * closed.count(UNCHANGED) / rounds,
    }


def won(seeds: int, rounds: int, fresh: bool) -> list[dict[str, Any]]:
    """Every row of the table; runs that an earlier call had finished are not run again."""
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() and not fresh else {}
    found = []
    for rule, attack, votes in product(RULES, ATTACKS, VOTES):
        if attack == "vote-against" and votes == "off":
            continue  # without votes that is no attack
        runs = []
        for seed in range(seeds):
            name = f"{rule}|{attack}|{votes}|{seed}|{rounds}"
            kept[name] = kept.get(name) or run(rule, attack, votes, seed, rounds)
            runs.append(kept[name])
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        KEPT.write_text(json.dumps(kept), encoding="utf-8")
        row = {name: round(mean(each[name] for each in runs), 1) for name in runs[0]}
        row["worst_seed"] = round(min(each["accuracy"] for each in runs), 1)
        found.append({"rule": rule, "attack": attack, "votes": votes, **row})
        print(found[-1], flush=True)
    return found


# ----------------------------------------------------------------------------------------- what they cost


def cost(votes: str, rounds: int) -> dict[str, Any]:
    """What a round over the whole protocol costs a device, all of them honest, with the default rule."""
    policies = policies_of("nnm+multi-krum", VOTES[votes])
    world = World(0, {"/": DEVICES}, policies, task=Digits(ALPHA), fast_signatures=True)
    tried = 0

    def watch(device: str, event: Event) -> None:
        nonlocal tried
        tried += isinstance(event, ReleaseTried)

    world.on_event = watch
    began = time.process_time()
    world.start()
    if not world.run(until=lambda: world.agreed("/", rounds)):
        raise RuntimeError(f"Votes {votes}: it stopped before release {rounds}")
    devices = [*world.devices.values()]
    return {
        "votes": votes,
        "virtual_seconds": round((world.clock.now - world.charter.created) / 1000 / rounds, 2),
        "messages": round(sum(each.messages_sent for each in devices) / DEVICES / rounds, 1),
        "message_kb": round(sum(each.bytes_sent for each in devices) / DEVICES / rounds / 1000, 1),
        "blob_kb": round(sum(each.blob_bytes_sent for each in devices) / DEVICES / rounds / 1000, 1),
        "evaluations": round(tried / DEVICES / rounds, 2),
        "processor_seconds": round((time.process_time() - began) / rounds, 3),
    }


# ----------------------------------------------------------------------------------------- the page


def page(result: dict[str, Any]) -> str:
    lines = [
        "# Validation votes",
        "",
        f"- {result['date']}, {result['machine']}",
        f"- digits, {DEVICES} devices of which {LIARS} lie, Dirichlet {ALPHA}, {result['rounds']} rounds, mean of "
        f"{result['seeds']} seeds; {3 * LIARS + 1} voters; after the round's rule arc+nnm+trimmed-mean, then unchanged",
        "- an asterisk marks attacks that search their strength anew each round against the round's own rule; "
        "attackers vote for every release, those of vote-against, who train honestly, against every one",
        f"- accuracy of the head on all held-out rows, mean of the last {LAST} rounds, %; in brackets the shares of "
        "rounds that closed by the stricter rule and unchanged, %",
        "",
        "| rule | attack | " + " | ".join(f"votes {name}" for name in VOTES) + " |",
        "| --- | --- |" + " --- |" * len(VOTES),
    ]
    cells = {(each["rule"], each["attack"], each["votes"]): each for each in result["won"]}
    for rule, attack in product(RULES, ATTACKS):
        shown = attack.replace("*", chr(92) + "*")
        lines.append(
            f"| {rule} | {shown} | " + " | ".join(_cell(cells.get((rule, attack, v))) for v in VOTES) + " |"
        )
    lines += ["", "Worst over the attacks, %:", "", "| rule | " + " | ".join(VOTES) + " |"]
    lines.append("| --- |" + " --- |" * len(VOTES))
    for rule in RULES:
        worst = [min(each["accuracy"] for key, each in cells.items() if key[::2] == (rule, v)) for v in VOTES]
        lines.append(f"| {rule} | " + " | ".join(f"{each:.1f}" for each in worst) + " |")
    lines += [
        "",
        "What a round of the whole protocol costs, a device, all honest, the first rule (virtual seconds and processor "
        "seconds are the whole network's):",
        "",
        "| votes | virtual seconds | messages | message KB | blob KB | evaluations of two models | processor seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += ["| " + " | ".join(str(value) for value in each.values()) + " |" for each in result["cost"]]
    return "\n".join(lines) + "\n"


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    if found["votes"] == "off":
        return f"{found['accuracy']:.1f}"
    return f"{found['accuracy']:.1f} ({found['stricter']:.0f}, {found['unchanged']:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run had finished")
    chosen = parser.parse_args()
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "rounds": chosen.rounds,
        "seeds": chosen.seeds,
        "cost": [cost(votes, rounds=10) for votes in ("off", "ε = 0.05")],
        "won": won(chosen.seeds, chosen.rounds, chosen.fresh),
    }
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    RESULT.with_suffix(".md").write_text(page(result), encoding="utf-8")
    print(page(result))


if __name__ == "__main__":
    main()
