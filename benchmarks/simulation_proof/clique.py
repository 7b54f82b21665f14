"""Everybody talks to everybody: 26 nodes of which 5 lie, Dirichlet 1, with and without momentum.

NNA's setting (Farhadkhani et al., MoNNA, ICML 2023, arXiv 2209.10931, and their ``reproduce.py``), with digits for
MNIST; of their Dirichlet 1 and 5 the harder.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from benchmarks.aggregation.gossip import Setting, learn
from benchmarks.simulation_proof.ledger import Ledger, mean, nodes_table

NODES, LIARS, ROUNDS = 26, 5, 200
ALPHAS: Final = (1.0,)
LIES: Final = ("none", "ALIE", "FOE", "sign flip", "label flip")
RULES: Final = {
    "MoNNA (nna, momentum 0.99)": ("nna", 0.99),
    "nna": ("nna", 0.0),
    "trimmed-mean, momentum 0.99": ("trimmed-mean", 0.99),
    "trimmed-mean (BRIDGE)": ("trimmed-mean", 0.0),
    "clipped-gossip, momentum 0.9": ("clipped-gossip", 0.9),
    "nnm+trimmed-mean, momentum 0.99": ("nnm+trimmed-mean", 0.99),
    "mean, momentum 0.99": ("mean", 0.99),
}
"""Rule and momentum by the name in the table; all but the last two are the paper's, which has the geometric median, too
(left out: it costs three times as much here)."""

SEEDS: Final = (0,)


def cells() -> Iterator[str]:
    """Every cell's key."""
    for seed, alpha, lie, name in itertools.product(SEEDS, ALPHAS, LIES, RULES):
        yield f"clique|{alpha}|{name}|{lie}|{seed}"


def run(key: str) -> dict[str, float]:
    """Mean and worst test accuracy of the honest nodes."""
    from banyan.simulations.tasks.digits import partition

    _, alpha, name, lie, seed = key.split("|")
    rule, momentum = RULES[name]
    talk = tuple(tuple(j for j in range(NODES) if j != i) for i in range(NODES))
    setting = Setting(
        talk, frozenset(range(NODES - LIARS, NODES)), lambda seed: partition(NODES, float(alpha), seed), ROUNDS,
        steps=1, rate=0.75, batch=25, momentum=momentum, f=LIARS,
    )  # fmt: skip
    nodes = learn(setting, rule, lie, int(seed)).accuracies
    return {"mean": sum(nodes) / len(nodes), "worst": min(nodes)}


def page(ledger: Ledger) -> list[str]:
    """Mean and worst node by rule and lie, for each α."""
    lines = [
        f"## {NODES} nodes, {LIARS} liars, everybody talks to everybody",
        "",
        f"Digits, perceptron 64-32-10; {ROUNDS} rounds of one step (batch 25, rate 0.75), then mixing; momentum with "
        "dampening. Test accuracy in %, mean / worst honest node, one seed. ALIE is 1.5 deviations off, FOE ten mean "
        "steps back, sign flip the opposite of the honest mean model.",
        "",
    ]
    for alpha in ALPHAS:
        rows = {
            name: [
                tuple(mean(ledger, [f"clique|{alpha}|{name}|{lie}|{seed}" for seed in SEEDS], figure)
                      for figure in ("mean", "worst"))
                for lie in LIES
            ]
            for name in RULES
        }  # fmt: skip
        lines += [f"### Dirichlet {alpha:g}", "", *nodes_table(rows, LIES)]
    return [
        *lines,
        "Theirs is a convolutional network on MNIST for 600 steps (some 2,300 images a node; here 55 digits a node), "
        "and their script draws curves; the order of the rules, and what momentum does, is all that compares.",
        "",
    ]
