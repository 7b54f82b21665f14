"""Two cliques with different data and little between them: where robust rules cut off the other half.

ClippedGossip's setting (He, Karimireddy and Jaggi, arXiv 2202.01545): one clique holds the digits 0 to 4, the other 5
to 9. *Dumbbell*: two cliques of ten with one link between them and nobody lying. *Bridge*: two cliques of five, a node
between them that holds all digits, and one attacker at that node.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

from benchmarks.aggregation.gossip import Setting, learn
from benchmarks.simulation_proof.ledger import Ledger, mean, nodes_table

RULES: Final = (
    "mean", "trimmed-mean", "median", "geometric-median", "nnm+trimmed-mean", "nna", "clipped-gossip", "cs+", "balance",
)  # fmt: skip
LIES: Final = {"dumbbell": ("none",), "bridge": ("none", "sign flip", "dissensus", "FOE")}
SEEDS: Final = (0,)
ROUNDS: Final = 400
RATE: Final = 0.05

PUBLISHED: Final = (
    "Published for MNIST, non-IID, no attack (arXiv 2202.01545, final accuracies from the authors' logs): "
    "ClippedGossip 93.8, plain gossip 93.6, geometric median 88.6, trimmed mean 86.9, MOZI 86.2."
)


def cells() -> Iterator[str]:
    """Every cell's key, the first seed first."""
    for seed, graph in itertools.product(SEEDS, LIES):
        for lie, rule in itertools.product(LIES[graph], RULES):
            yield f"dumbbell|{graph}|{rule}|{lie}|{seed}"


def run(key: str) -> dict[str, float]:
    """Test accuracy of the average of the honest models, mean and worst of the honest nodes."""
    _, graph, rule, lie, seed = key.split("|")
    found = learn(setting(graph), rule, lie, int(seed))
    nodes = found.accuracies
    return {"average": found.average, "mean": sum(nodes) / len(nodes), "worst": min(nodes)}


def setting(graph: str) -> Setting:
    """Every node guards against one liar, since it cannot know that there is none."""
    if graph == "dumbbell":
        links, nodes, liars = [*_clique(range(10)), *_clique(range(10, 20)), (0, 10)], 20, frozenset[int]()
    else:
        links = [*_clique(range(5)), *_clique(range(5, 10)), (0, 10), (5, 10), (10, 11)]
        nodes, liars = 12, frozenset({11})
    talk: list[set[int]] = [set() for _ in range(nodes)]
    for a, b in links:
        talk[a].add(b)
        talk[b].add(a)
    half = 10 if graph == "dumbbell" else 5
    return Setting(
        tuple(tuple(sorted(others)) for others in talk), liars, lambda seed: by_clique(nodes, half, seed), ROUNDS,
        steps=1, rate=RATE, momentum=0.9, f=1,
    )  # fmt: skip


def _clique(members: range) -> Iterator[tuple[int, int]]:
    return itertools.combinations(members, 2)


def by_clique(nodes: int, half: int, seed: int) -> Any:
    """The first ``half`` nodes share the digits 0 to 4 evenly, the next ``half`` the others; further nodes have all."""
    import numpy as np

    from banyan.simulations.tasks.digits import Shares, partition

    whole = partition(1, 1.0, seed)
    x, y = whole.train
    order = np.random.default_rng(seed).permutation(len(y))
    low, high = order[y[order] < 5], order[y[order] >= 5]
    owned = [*np.array_split(low, half), *np.array_split(high, half), *[order[:70]] * (nodes - 2 * half)]
    return Shares(tuple((x[rows], y[rows]) for rows in owned), whole.train, whole.test)


def page(ledger: Ledger) -> list[str]:
    """The averaged model, mean and worst node by rule, graph and lie."""
    columns = [(graph, lie) for graph in LIES for lie in LIES[graph]]
    rows = {
        rule: [
            tuple(mean(ledger, [f"dumbbell|{graph}|{rule}|{lie}|{seed}" for seed in SEEDS], figure)
                  for figure in ("average", "mean", "worst"))
            for graph, lie in columns
        ]
        for rule in RULES
    }  # fmt: skip
    return [
        "## Two cliques with different data",
        "",
        "Digits, perceptron 64-32-10; one clique holds the digits 0 to 4, the other 5 to 9. Dumbbell: two cliques of "
        "ten, one link, nobody lies. Bridge: two cliques of five, a node between them, one attacker at that node. "
        f"{ROUNDS} rounds of one step (batch 32, rate {RATE}, momentum 0.9), then mixing; every node guards against "
        "one liar. Test accuracy in % of the average of the honest models / mean node / worst node, one seed. Rules "
        "without a centre of their own see the node's model as one input more; `mean` is plain gossip with equal "
        "weights.",
        "",
        *nodes_table(rows, [f"{graph}: {lie}" for graph, lie in columns]),
        PUBLISHED,
        "They measure a convolutional network after 1,500 steps; only the order of the rules compares.",
        "",
    ]
