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


def train(rule_name: str, attack_name: str, alpha: float, seed: int) -> float:
    """Test accuracy after all rounds."""
    import numpy as np

    from banyan.aggregation import build
    from benchmarks.aggregation import digits
    from benchmarks.aggregation.attacks import ATTACKS, Scene

    task = digits.load(WORKERS, alpha, seed)
    rng = np.random.default_rng(seed + 1000)
    sample = rng.permutation(len(task.train[1]))[:400]
    watched = (task.train[0][sample], task.train[1][sample])
    model, before = digits.start(seed), np.zeros(digits.D, np.float32)
    name, _, place = rule_name.partition("@")
    rule, attack = build(name, LIARS), ATTACKS[attack_name]
    for _ in range(ROUNDS):
        sent = digits.local_updates(model, task, rng, steps=STEPS, rate=RATE, batch=BATCH, liars=LIARS,
                                    flipped=attack_name == "label flip")  # fmt: skip
        honest, own = sent[: WORKERS - LIARS], sent[WORKERS - LIARS :]
        around = None if place == "origin" else before

        def judge(
            lies: digits.Floats, honest: Any = honest, model: Any = model, centre: Any = around
        ) -> float:
            change = rule(np.concatenate([honest, lies]), around=centre).vector
            return digits.loss(model + change, watched)

        lies = attack(Scene(honest, own, judge, rng))
        before = rule(np.concatenate([honest, lies]), around=around).vector
        model = model + before
        if not np.isfinite(model).all() or np.abs(model).max() > 1e6:
            break
    return digits.accuracy(np.nan_to_num(model), task.test)


def page(found: dict[str, float], seeds: int) -> str:
    """Accuracies by rule and attack, for each α, the worst last."""
    from benchmarks.aggregation.attacks import ATTACKS

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
        lines += ["", f"## Dirichlet α = {alpha}", "", "| rule | " + " | ".join(ATTACKS) + " | **worst** |"]
        lines.append("|" + " --- |" * (len(ATTACKS) + 2))
        table = []
        for rule in RULES:
            cells = []
            for attack in ATTACKS:
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

    from benchmarks.aggregation.attacks import ATTACKS

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rules", nargs="+", default=RULES)
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS))
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
