"""Rules on real LoRA updates: ten nodes adapt a language model to medical leaves, two of them lie.

    python -m benchmarks.aggregation.lora_updates --base MODEL_FOLDER --data FOLDER_OF_JSONL_LEAVES

Every leaf of the data is shared by two nodes (each has its own half of the rows), so updates differ as they
do in a real branch. Local training is the product's own, on the shared frozen A. Prints the held-out loss of
the aggregate, the mean over the leaves, and writes ``benchmarks/results/aggregation-lora.{json,md}``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.aggregation.__main__ import RESULTS, THREAD_VARIABLES

LIARS, RANK = 2, 16
RULES: Final = (
    "mean", "multi-krum", "trimmed-mean", "median", "geometric-median", "centered-clipping",
    "nnm+multi-krum", "nnm+trimmed-mean",
)  # fmt: skip
ATTACKS_USED: Final = ("none", "sign flip", "FOE ×10", "mimic", "ALIE*", "FOE*")


class Branch:
    """The nodes of one branch with their rows, and the loss of a model on rows that nobody trains on."""

    def __init__(self, base: Path, data: Path, folder: Path, steps: int) -> None:
        from banyan.node.learning.base_model import load, target_tensors
        from banyan.node.learning.learner import Learner
        from banyan.node.learning.settings import TrainingSettings
        from banyan.node.learning.shared_a import draw

        self.nodes, self.held_out = _divide(data, folder)
        tensors = target_tensors(base)
        self._learner = Learner(load(base, "cpu"), rank=RANK, scale=2.0, tensors=tensors,
                                shared_a=draw(1, RANK, tensors))  # fmt: skip
        self._settings = TrainingSettings(steps=steps, batch=4, max_length=96, eval_rows=12, device="cpu")
        self.dimension = self._learner.model.layout.dimension
        self._trained: dict[bytes, Any] = {}

    def updates(self, model: Any, turn: int) -> Any:
        """What every node would send (nodes, d) after its local steps from ``model``; remembered."""
        import numpy as np

        if (key := model.tobytes()) not in self._trained:
            rows = []
            for i, path in enumerate(self.nodes):
                after, _ = self._learner.train(model, [path], self._settings, seed=100 * turn + i)
                rows.append(after - model)
            self._trained[key] = np.array(rows, np.float32)
        return self._trained[key]

    def loss(self, model: Any) -> float:
        """Held-out loss in nats a token, the mean over the leaves."""
        return sum(self._learner.evaluate(model, [p], self._settings)["loss"] for p in self.held_out) / len(
            self.held_out
        )


def _divide(data: Path, folder: Path) -> tuple[list[Path], list[Path]]:
    """Two halves of each leaf in files of their own for two nodes, and the whole leaf to measure on."""
    halves: list[list[Path]] = [[], []]
    leaves = sorted(data.glob("*.jsonl"))
    for leaf in leaves:
        lines = leaf.read_text(encoding="utf-8").splitlines()
        for k in (0, 1):
            path = folder / f"{leaf.stem}-{k}.jsonl"
            path.write_text("\n".join(lines[k::2]) + "\n", encoding="utf-8")
            halves[k].append(path)
    return halves[0] + halves[1], leaves


def run(branch: Branch, rule_name: str, attack_name: str, rounds: int) -> list[float]:
    """Held-out loss after each round; the last two nodes lie."""
    import numpy as np

    from banyan.aggregation import build
    from benchmarks.aggregation.attacks import ATTACKS, View

    rule, attack = build(rule_name, LIARS), ATTACKS[attack_name]
    model, before = np.zeros((2, branch.dimension), np.float32)
    losses = []
    for turn in range(rounds):
        sent = branch.updates(model, turn)
        honest, own = sent[:-LIARS], sent[-LIARS:]

        def judge(lies: Any, honest: Any = honest, model: Any = model, before: Any = before) -> float:
            return branch.loss(model + rule(np.concatenate([honest, lies]), around=before).vector)

        lies = attack(View(honest, own, judge, np.random.default_rng(turn)))
        before = rule(np.concatenate([honest, lies]), around=before).vector
        model = model + before
        losses.append(branch.loss(model))
    return losses


def page(found: dict[str, list[float]], start: float, alone: float, facts: Sequence[str]) -> str:
    """The last round's losses by rule and attack, the worst last."""
    lines = ["# Robust aggregation of real LoRA updates", "", *(f"- {fact}" for fact in facts)]
    lines += [
        f"- held-out loss in nats a token: {start:.3f} before, {alone:.3f} on average for a node alone",
        "",
    ]
    measured = [attack for attack in ATTACKS_USED if all(f"{rule}|{attack}" in found for rule in RULES)]
    lines += ["| rule | " + " | ".join(measured) + " | **worst** |", "|" + " --- |" * (len(measured) + 2)]
    table = []
    for rule in RULES:
        some = [found[f"{rule}|{attack}"][-1] for attack in measured]
        table.append((max(some, default=0.0), rule, some))
    for worst, rule, some in sorted(table):
        lines.append(f"| {rule} | " + " | ".join(f"{v:.3f}" for v in some) + f" | **{worst:.3f}** |")
    return "\n".join(lines) + "\n"


def main() -> int:
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    import numpy as np
    import torch
    from rich.console import Console

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--base", type=Path, required=True, help="folder of a base model")
    parser.add_argument("--data", type=Path, required=True, help="folder of JSONL leaves")
    parser.add_argument("--steps", type=int, default=15, help="local steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    console, found = Console(), {}
    with tempfile.TemporaryDirectory() as folder:
        branch = Branch(chosen.base, chosen.data, Path(folder), chosen.steps)
        zero = np.zeros(branch.dimension, np.float32)
        start = branch.loss(zero)
        first = branch.updates(zero, 0)
        alone = float(np.mean([branch.loss(zero + update) for update in first]))
        facts = [
            f"date: {datetime.date.today().isoformat()}",
            f"{len(branch.nodes)} nodes over {len(branch.held_out)} leaves of {'/'.join(chosen.data.parts[-2:])}, "
            f"of which {LIARS} lie; base {chosen.base.name}; shared A of rank {RANK}, d = {branch.dimension}",
            f"{chosen.rounds} round(s) of {chosen.steps} local steps; * marks attacks searched against the rule",
        ]
        for attack in ATTACKS_USED:
            for rule in RULES:
                found[f"{rule}|{attack}"] = run(branch, rule, attack, chosen.rounds)
                console.print(f"{attack:10} {rule:20} {found[f'{rule}|{attack}'][-1]:.3f}")
                chosen.out.mkdir(parents=True, exist_ok=True)
                data, text = (chosen.out / f"aggregation-lora.{end}" for end in ("json", "md"))
                data.write_text(
                    json.dumps({"start": start, "alone": alone, "losses": found}, indent=1) + "\n"
                )
                text.write_text(page(found, start, alone, facts), encoding="utf-8")
    console.print(page(found, start, alone, facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
