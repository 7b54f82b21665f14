"""What the embedded base model and corpora are for: does a small network learn on them, and does an attack show?

    python -m benchmarks.embedded_base.check                        # every leaf, the demo's settings
    python -m benchmarks.embedded_base.check --leaf health/first_aid --steps 20 --rate 0.003 0.01

For each leaf: every owner of the leaf is one node. They train B for some rounds by the plain mean (federated), each
alone for the same number of steps, and once more with one of them replaced by an attacker whose update is the
flipped and enlarged mean of the others. Losses are in nats a token over the held-out rows of *all* owners.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from banyan.aggregation import build
from banyan.node.assets import base_model_path, corpora_path
from banyan.node.learning import base_model, shared_a
from banyan.node.learning.adapter import AdaptedModel
from banyan.node.learning.dataset import Row
from banyan.node.learning.layout import Vector
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.tokens import Example, examples
from banyan.node.learning.trainer import held_out_loss, train

Rule = Callable[[Sequence[Vector]], Vector]


@dataclass(frozen=True)
class Leaf:
    """One sub-domain as sequences: the training rows of each owner, and the held-out rows of all."""

    name: str
    shares: dict[str, list[Example]]
    held_out: list[Example]


@dataclass
class Bench:
    """One adapted model that plays every node in turn."""

    model: AdaptedModel
    settings: TrainingSettings
    rounds: int

    def loss(self, vector: Vector, rows: list[Example]) -> float:
        self.model.set_vector(vector)
        return round(held_out_loss(self.model, rows, self.settings)[0], 3)

    def update(self, head: Vector, rows: list[Example], node: int, round_: int) -> Vector:
        """One node's change of B in one round; a later round goes on in its rows where the last one ended."""
        self.model.set_vector(head)
        seen = round_ * self.settings.steps * self.settings.batch
        train(self.model, rows, self.settings, seed=node, first_row=seen)
        return self.model.vector() - head

    def together(
        self, leaf: Leaf, rule: Rule, attack: Callable[[list[Vector]], Vector] | None = None
    ) -> list[float]:
        """Held-out loss after each round; with `attack`, a further node sends what it makes of the updates."""
        head = self.zero()
        losses = []
        for round_ in range(self.rounds):
            updates = [
                self.update(head, rows, node, round_) for node, rows in enumerate(leaf.shares.values())
            ]
            if attack is not None:
                updates.append(attack(updates))
            head = head + rule(updates)
            losses.append(self.loss(head, leaf.held_out))
        return losses

    def alone(self, leaf: Leaf) -> dict[str, float]:
        """Held-out loss of each owner who trains for the same rounds without the others."""
        losses = {}
        for node, (owner, rows) in enumerate(leaf.shares.items()):
            vector = self.zero()
            for round_ in range(self.rounds):
                vector = vector + self.update(vector, rows, node, round_)
            losses[owner] = self.loss(vector, leaf.held_out)
        return losses

    def zero(self) -> Vector:
        return np.zeros(self.model.layout.dimension, np.float32)


def mean(updates: Sequence[Vector]) -> Vector:
    return np.mean(updates, axis=0, dtype=np.float64).astype(np.float32)


def robust(spec: str, f: int) -> Rule:
    rule = build(spec, f)
    return lambda updates: rule(np.stack(updates)).vector.astype(np.float32)


def sign_flip(factor: float) -> Callable[[list[Vector]], Vector]:
    """The attacker knows the honest updates and sends their mean, turned round and `factor` times as long."""
    return lambda updates: np.float32(-factor) * mean(updates)


def read_leaf(name: str, tokenizer: object, length: int, owners: int) -> Leaf:
    lines = (corpora_path() / f"{name}.jsonl").read_text("utf-8").splitlines()
    shares: dict[str, list[Row]] = {}
    held_out: list[Row] = []
    for value in map(json.loads, lines):
        row = Row((("user", value["prompt"]), ("assistant", value["response"])))
        (held_out if value["split"] == "test" else shares.setdefault(value["client"], [])).append(row)
    chosen = list(shares.items())[:owners]
    return Leaf(
        name,
        {k: examples(rows, tokenizer, length) for k, rows in chosen},
        examples(held_out, tokenizer, length),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, default=base_model_path())
    parser.add_argument("--leaf", nargs="*", help="as domain/subdomain (default: all)")
    parser.add_argument("--owners", type=int, default=5, help="honest nodes")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rate", type=float, nargs="*", default=[0.004])
    parser.add_argument(
        "--flip", type=float, nargs="*", default=[1.0, 5.0], help="factors of the sign-flip attack"
    )
    parser.add_argument("--rule", default="nnm+multi-krum")
    parser.add_argument("--no-alone", action="store_true")
    parser.add_argument("--out", type=Path, help="also write the results here as JSON")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    root = corpora_path()
    names = arguments.leaf or sorted(
        p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.jsonl")
    )
    loaded = base_model.load(arguments.base, "cpu")
    tensors = base_model.target_tensors(arguments.base)
    model = AdaptedModel(
        loaded.model,
        rank=arguments.rank,
        scale=arguments.scale,
        tensors=tensors,
        shared_a=shared_a.draw(1, arguments.rank, tensors),
    )
    results = []
    for rate in arguments.rate:
        settings = TrainingSettings(steps=arguments.steps, batch=arguments.batch, learning_rate=rate)
        bench = Bench(model, settings, arguments.rounds)
        for name in names:
            leaf = read_leaf(name, loaded.tokenizer, settings.max_length, arguments.owners)
            result = {
                "leaf": name,
                "rate": rate,
                "steps": arguments.steps,
                "before": bench.loss(bench.zero(), leaf.held_out),
                "together": bench.together(leaf, mean),
                "alone": {} if arguments.no_alone else bench.alone(leaf),
                "attacked": {},
            }
            for factor in arguments.flip:
                result["attacked"][f"sign-flip x{factor:g}"] = {
                    "mean": bench.together(leaf, mean, sign_flip(factor))[-1],
                    arguments.rule: bench.together(leaf, robust(arguments.rule, 1), sign_flip(factor))[-1],
                }
            results.append(result)
            print(json.dumps(result), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
