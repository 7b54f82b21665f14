"""Mixing between siblings, with no parent to aggregate: who survives liars that tell each neighbour another lie.

    python -m benchmarks.aggregation.gossip

Twenty nodes on a tree: a top group of five and three groups of five children below three of them. Siblings
talk to each other and to their parent; in the second graph also to their parent's siblings ("uncles"). One
node of each group lies, to each receiver whatever harms that receiver most under the very rule it uses.
Prints test accuracies and writes ``benchmarks/results/aggregation-gossip.{json,md}``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.aggregation.__main__ import RESULTS, THREAD_VARIABLES

GROUP, GROUPS, ROUNDS = 5, 4, 40
NODES: Final = GROUP * GROUPS
LIARS: Final = frozenset(GROUP * g + GROUP - 1 for g in range(GROUPS))
STEPS, RATE, BATCH = 5, 0.2, 32
RULES: Final = ("mean", "trimmed-mean", "median", "geometric-median", "nnm+trimmed-mean", "nna", "clipped-gossip",
                "cs+", "balance")  # fmt: skip
GRAPHS: Final = ("tree", "tree + uncles")
LIES: Final = ("none", "ALIE*", "FOE*")


def neighbours(graph: str) -> list[list[int]]:
    """Who talks to whom: siblings, parent and child, and with uncles every child to the whole top group."""
    linked: list[set[int]] = [set() for _ in range(NODES)]

    def link(a: int, b: int) -> None:
        if a != b:
            linked[a].add(b)
            linked[b].add(a)

    for g in range(GROUPS):
        members = range(GROUP * g, GROUP * (g + 1))
        for a in members:
            for b in members:
                link(a, b)
            if g:
                for uncle in range(GROUP) if graph.endswith("uncles") else (g - 1,):
                    link(a, uncle)
    return [sorted(others) for others in linked]


def mix(rule_name: str, own: Any, others: Any, f: int, progress: float) -> Any:
    """One node's next model. Rules without a centre of their own see the node's model as one input more."""
    import numpy as np

    from banyan.aggregation import build, mixing_rules

    if rule_name in mixing_rules():
        return mixing_rules()[rule_name](f)(own, others, progress=progress).vector
    return build(rule_name, f)(np.concatenate([own[None], others])).vector


@dataclass(frozen=True)
class Setting:
    """Who talks to whom about which data.

    Args:
        talk: each node's neighbours.
        liars: the nodes that lie.
        data: a seed's shares, one a node.
        rounds, steps, rate, batch: of training; each round every node trains, then mixes.
        momentum: of the nodes' steps from round to round, with dampening as in MoNNA.
        f: liars that every node guards against; None: as many as it has.
    """

    talk: tuple[tuple[int, ...], ...]
    liars: frozenset[int]
    data: Callable[[int], Any]
    rounds: int
    steps: int = STEPS
    rate: float = RATE
    batch: int = BATCH
    momentum: float = 0.0
    f: int | None = None


@dataclass(frozen=True)
class Around:
    """What the liars know of one receiver: its own model (d,), its honest neighbours' (h, d), the mean honest step (d,)
    of this round and how many of them lie to it."""

    own: Any
    honest: Any
    step: Any
    liars: int


def candidates(lie: str, around: Around) -> list[Any]:
    """What the liars could tell a receiver; where there are several, the worst for it is told."""
    from benchmarks.aggregation.attacks import STRENGTHS

    middle, spread, step = around.honest.mean(axis=0), around.honest.std(axis=0), around.step
    match lie:
        case "ALIE*":
            return [middle + side * z * spread for z in STRENGTHS[::2] for side in (-1, 1)]
        case "FOE*":
            return [middle - z * step for z in STRENGTHS]
        case "ALIE":
            return [middle - 1.5 * spread]
        case "FOE":
            return [middle - 10 * step]
        case "sign flip":
            return [-middle]
        case (
            "dissensus"
        ):  # He, Karimireddy and Jaggi (2022), with their strength: push the receiver off its neighbours
            return [around.own - 1.5 * (around.honest - around.own).sum(axis=0) / around.liars]
    raise ValueError(f"there is no lie {lie!r}")


def train(rule: str, lie: str, graph: str, seed: int) -> list[float]:
    """Test accuracy of every honest node of the tree after all rounds."""
    from banyan.simulations.tasks.digits import partition

    talk = tuple(tuple(others) for others in neighbours(graph))
    setting = Setting(talk, LIARS, lambda seed: partition(NODES, 0.5, seed), ROUNDS)
    return learn(setting, rule, lie, seed).accuracies


@dataclass(frozen=True)
class Learned:
    """Test accuracy of every honest node, and of the average of their models."""

    accuracies: list[float]
    average: float


def learn(setting: Setting, rule: str, lie: str, seed: int) -> Learned:
    """What the honest nodes are worth after all rounds. With the lie ``none`` the liars are honest, with ``label flip``
    they train on labels 9 - y (they are the last nodes then)."""
    import numpy as np

    from banyan.simulations.tasks.digits import PERCEPTRON, local_updates

    data, talk, nodes = setting.data(seed), setting.talk, len(setting.talk)
    rng = np.random.default_rng(seed + 1000)
    sample = rng.permutation(len(data.train[1]))[:300]
    watched = (data.train[0][sample], data.train[1][sample])
    models = np.repeat(PERCEPTRON.start(seed)[None], nodes, axis=0)
    velocity = np.zeros_like(models)
    honest_nodes = [i for i in range(nodes) if i not in setting.liars]
    trains = lie in ("none", "label flip")
    for turn in range(setting.rounds):
        changes = local_updates(
            models, data, rng, steps=setting.steps, rate=setting.rate, batch=setting.batch,
            liars=len(setting.liars), poison="label-flip" if lie == "label flip" else None,
        )  # fmt: skip
        velocity = setting.momentum * velocity + (1 - setting.momentum) * changes
        trained, following = models + velocity, models.copy()
        step, progress = velocity[honest_nodes].mean(axis=0), turn / setting.rounds
        for i in range(nodes) if trains else honest_nodes:
            lying = [j for j in talk[i] if j in setting.liars]
            f = len(lying) if setting.f is None else setting.f
            if trains or not lying:
                guarded = f if i in honest_nodes else 0
                following[i] = mix(rule, trained[i], trained[list(talk[i])], guarded, progress)
                continue
            honest = trained[[j for j in talk[i] if j not in setting.liars]]
            told = np.array(candidates(lie, Around(trained[i], honest, step, len(lying))), np.float32)
            outcomes = [
                mix(
                    rule,
                    trained[i],
                    np.concatenate([honest, np.repeat(each[None], len(lying), axis=0)]),
                    f,
                    progress,
                )
                for each in told
            ]
            if len(outcomes) > 1:
                outcomes.sort(key=lambda model: PERCEPTRON.loss(model, watched))
            following[i] = outcomes[-1]
        models = np.clip(np.nan_to_num(following), -1e6, 1e6).astype(np.float32)
    average = models[honest_nodes].mean(axis=0)
    accuracies = [PERCEPTRON.accuracy(models[i], data.test) for i in honest_nodes]
    return Learned(accuracies, PERCEPTRON.accuracy(average, data.test))


def page(found: dict[str, list[float]]) -> str:
    """Mean and worst node, in percent, by rule, graph and lie."""
    import numpy as np

    seeds = sorted({key.split("|")[3] for key in found})
    columns = {(key.split("|")[2], key.split("|")[1]) for key in found}
    measured = [(graph, lie) for graph in GRAPHS for lie in LIES if (graph, lie) in columns]
    lines = [
        "# Gossip between siblings: who survives what",
        "",
        f"- date: {datetime.date.today().isoformat()}",
        f"- task: digits, {NODES} nodes in {GROUPS} groups, one liar in each, Dirichlet 0.5, {ROUNDS} rounds of "
        f"{STEPS} local steps; test accuracy in %, mean / worst honest node, {len(seeds)} seed(s)",
        "- liars know everything and tell each neighbour what harms it most; rules know how many liars each node has",
        "",
        "| rule | " + " | ".join(f"{graph}: {lie}" for graph, lie in measured) + " |",
        "|" + " --- |" * (len(measured) + 1),
    ]
    for rule in RULES:
        cells = []
        for graph, lie in measured:
            some = [found[key] for seed in seeds if (key := f"{rule}|{lie}|{graph}|{seed}") in found]
            cells.append(f"{100 * np.mean(some):.0f} / {100 * np.min(some):.0f}" if some else "–")
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    from rich.console import Console
    from rich.progress import track

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    data, text = (chosen.out / f"aggregation-gossip.{end}" for end in ("json", "md"))
    found: dict[str, list[float]] = {}
    if data.exists() and not chosen.fresh:
        found = json.loads(data.read_text(encoding="utf-8"))
    todo = [
        (rule, lie, graph, seed)
        for seed in range(chosen.seeds)
        for graph in GRAPHS[::-1]
        for lie in LIES[::-1]
        for rule in RULES
        if f"{rule}|{lie}|{graph}|{seed}" not in found
    ]
    console = Console()
    for rule, lie, graph, seed in track(todo, description="gossip", console=console):
        found[f"{rule}|{lie}|{graph}|{seed}"] = train(rule, lie, graph, seed)
        chosen.out.mkdir(parents=True, exist_ok=True)
        data.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
        text.write_text(page(found), encoding="utf-8")
    console.print(page(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
