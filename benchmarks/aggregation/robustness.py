"""Who survives what: every rule against every attack, on data that workers do not have in common.

    python -m benchmarks.aggregation.robustness              # every rule, attack, α and seed not run yet
    python -m benchmarks.aggregation.robustness --rules krum --seeds 1

Prints final accuracies and writes ``benchmarks/results/aggregation-robustness.{json,md}``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.aggregation.__main__ import RESULTS, THREAD_VARIABLES

WORKERS, LIARS, ROUNDS = 20, 4, 60
STEPS, RATE, BATCH = 5, 0.2, 32

RULES: Final = (
    "mean",
    "krum",
    "multi-krum",
    "trimmed-mean",
    "median",
    "meamed",
    "geometric-median",
    "centered-clipping",
    "centered-clipping@origin",
    "bulyan",
    "cge",
    "nnm+krum",
    "nnm+multi-krum",
    "nnm+trimmed-mean",
    "nnm+median",
    "nnm+geometric-median",
    "nnm+centered-clipping",
    "bucketing+trimmed-mean",
    "bucketing+geometric-median",
    "arc+geometric-median",
    "arc+nnm+trimmed-mean",
    "norm-clipping+mean",
)
"""``@origin``: centred on the origin in every round rather than on the previous aggregate."""

COLUMNS: Final = (
    "none",
    "sign flip",
    "FOE ×10",
    "ALIE",
    "ALIE*",
    "FOE*",
    "label flip",
    "mimic",
    "noise",
    "min-max",
)


def train(rule_name: str, attack_name: str, alpha: float, seed: int) -> float:
    """Test accuracy after all rounds."""
    from banyan.aggregation import build

    name, _, place = rule_name.partition("@")
    rule = build(name, LIARS)

    def aggregate(rows: Any, before: Any) -> Any:
        return rule(rows, around=None if place == "origin" else before).vector

    return contest(aggregate, attack_name, alpha, seed).accuracy


@dataclass(frozen=True)
class Outcome:
    """Test accuracy, and how far triggered images are read as the attacker wants, after all rounds."""

    accuracy: float
    backdoor: float


def contest(
    aggregate: Callable[[Any, Any], Any],
    attack_name: str,
    alpha: float,
    seed: int,
    *,
    workers: int = WORKERS,
    liars: int = LIARS,
    rounds: int = ROUNDS,
) -> Outcome:
    """Train by ``aggregate``, a function of the updates (n, d) and of the previous aggregate, under an attack that
    knows it."""
    import numpy as np

    from banyan.simulations.tasks.digits import PERCEPTRON, backdoor, local_updates, partition
    from benchmarks.aggregation.attacks import ATTACKS, POISONS, View

    data = partition(workers, alpha, seed)
    rng = np.random.default_rng(seed + 1000)
    sample = rng.permutation(len(data.train[1]))[:400]
    watched = (data.train[0][sample], data.train[1][sample])
    model, before = PERCEPTRON.start(seed), np.zeros(PERCEPTRON.dimension, np.float32)
    for _ in range(rounds):
        sent = local_updates(model, data, rng, steps=STEPS, rate=RATE, batch=BATCH, liars=liars,
                             poison=POISONS.get(attack_name))  # fmt: skip
        honest, own = sent[: workers - liars], sent[workers - liars :]

        def judge(lies: Any, honest: Any = honest, model: Any = model, before: Any = before) -> float:
            return PERCEPTRON.loss(model + aggregate(np.concatenate([honest, lies]), before), watched)

        lies = ATTACKS[attack_name](View(honest, own, judge, rng))
        before = aggregate(np.concatenate([honest, lies]), before)
        model = model + before
        if not np.isfinite(model).all() or np.abs(model).max() > 1e6:
            break
    model = np.nan_to_num(model)
    return Outcome(PERCEPTRON.accuracy(model, data.test), backdoor(model, PERCEPTRON, data.test))


def page(found: dict[str, float], seeds: int) -> str:
    """Accuracies by rule and attack, for each α, the worst last."""
    lines = [
        "# Robust aggregation: who survives what",
        "",
        f"- date: {datetime.date.today().isoformat()}",
        f"- task: scikit-learn digits, MLP 64-32-10, {WORKERS} workers of which {LIARS} lie, {ROUNDS} rounds of",
        f"  {STEPS} local steps (batch {BATCH}, rate {RATE}); test accuracy in %, mean of {seeds} seeds",
        "- an asterisk marks attacks whose strength is searched anew each round against the very rule, by the",
        "  loss it leads to; centered clipping is centred on the previous aggregate, or on the origin (@origin)",
        "- f = 4 is given to every rule, also in the column without attack",
    ]
    for alpha in sorted({float(key.split("|")[2]) for key in found}, reverse=True):
        lines += ["", f"## Dirichlet α = {alpha}", "", "| rule | " + " | ".join(COLUMNS) + " | **worst** |"]
        lines.append("|" + " --- |" * (len(COLUMNS) + 2))
        table = []
        for rule in RULES:
            cells = []
            for attack in COLUMNS:
                some = [v for k, v in found.items() if k.startswith(f"{rule}|{attack}|{alpha}|")]
                cells.append(100 * statistics.mean(some) if some else float("nan"))
            known = [c for c in cells if c == c]
            if known:
                table.append((min(known), rule, cells))
        for worst, rule, cells in sorted(table, reverse=True):
            shown = " | ".join("–" if c != c else f"{c:.1f}" for c in cells)
            lines.append(f"| {rule} | {shown} | **{worst:.1f}** |")
    return "\n".join(lines) + "\n"


def main() -> int:
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rules", nargs="+", default=RULES)
    parser.add_argument("--attacks", nargs="+", default=list(COLUMNS))
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.5, 0.1])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    data, text = (chosen.out / f"aggregation-robustness.{end}" for end in ("json", "md"))
    found: dict[str, float] = {}
    if data.exists() and not chosen.fresh:
        found = json.loads(data.read_text(encoding="utf-8"))
    todo = [
        (rule, attack, alpha, seed)
        for seed in range(chosen.seeds)
        for alpha in chosen.alphas
        for rule in chosen.rules
        for attack in chosen.attacks
        if f"{rule}|{attack}|{alpha}|{seed}" not in found
    ]
    console = Console()
    with Progress(TextColumn("{task.description:50}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                  console=console) as bar:  # fmt: skip
        task = bar.add_task("", total=len(todo))
        for rule, attack, alpha, seed in todo:
            bar.update(task, description=f"{rule} · {attack} · α {alpha} · seed {seed}")
            found[f"{rule}|{attack}|{alpha}|{seed}"] = train(rule, attack, alpha, seed)
            chosen.out.mkdir(parents=True, exist_ok=True)
            data.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
            bar.advance(task)
    seeds = len({key.split("|")[3] for key in found})
    text.write_text(page(found, seeds), encoding="utf-8")
    console.print(page(found, seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
