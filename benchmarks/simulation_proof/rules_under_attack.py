"""Twenty workers, four liars, Dirichlet 0.5: every attack on updates against every rule, ours and ByzFL's.

Both libraries train on the same shares from the same start with the same chance; a searched attack searches against
the very library. ``admission`` before a rule is what a round of Banyan does first: norms are cut to three times
their median.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

from benchmarks.aggregation.attacks import ATTACKS
from benchmarks.aggregation.peers import byzfl_call
from benchmarks.aggregation.robustness import contest
from benchmarks.simulation_proof.ledger import Ledger, mean, table, worst

WORKERS, LIARS, ALPHA = 20, 4, 0.5
ROUNDS: Final = 60
SEEDS: Final = (0, 1)
_ALONE: Final = (
    "mean", "krum", "multi-krum", "trimmed-mean", "median", "geometric-median", "centered-clipping", "bulyan",
)  # fmt: skip
ADMITTED: Final = ("admission+nnm+multi-krum", "admission+geometric-median", "admission+nnm+trimmed-mean")
RULES: Final = (*_ALONE, *(f"nnm+{rule}" for rule in _ALONE), *ADMITTED)
LIBRARIES: Final = ("banyan", "byzfl")


def cells() -> Iterator[str]:
    """Every cell's key, the first seed first."""
    for seed, library, rule, attack in itertools.product(SEEDS, LIBRARIES, RULES, ATTACKS):
        if library == "banyan" or byzfl_has(rule):
            yield f"rules|{library}|{rule}|{attack}|{seed}"


def byzfl_has(rule: str) -> bool:
    """ByzFL has no Bulyan, and no admission; NNM before a mean is the same in both, and measured once."""
    return "bulyan" not in rule and not rule.startswith("admission") and rule != "nnm+mean"


def run(key: str) -> dict[str, float]:
    """Final test accuracy, and the share of triggered images that the attacker owns."""
    _, library, rule, attack, seed = key.split("|")
    made = _ours(rule) if library == "banyan" else _byzfl(rule)
    outcome = contest(made, attack, ALPHA, int(seed), workers=WORKERS, liars=LIARS, rounds=ROUNDS)
    return {"accuracy": outcome.accuracy, "backdoor": outcome.backdoor}


def _ours(name: str) -> Callable[[Any, Any], Any]:
    import numpy as np

    from banyan.aggregation import build
    from banyan.security.admission import clip_factors
    from banyan.security.policy import RoundPolicy

    admission = name.startswith("admission+")
    rule = build(name.removeprefix("admission+"), LIARS)

    def aggregate(rows: Any, before: Any) -> Any:
        if admission:
            norms = np.linalg.norm(rows.astype(np.float64), axis=1)
            rows = rows * np.array(clip_factors(norms.tolist(), RoundPolicy().clip), np.float32)[:, None]
        return rule(rows, around=before).vector

    return aggregate


def _byzfl(rule: str) -> Callable[[Any, Any], Any]:
    def aggregate(rows: Any, before: Any) -> Any:
        call = byzfl_call(rule, rows, LIARS)
        assert call is not None
        return call()

    return aggregate


def page(ledger: Ledger) -> list[str]:
    """Accuracy by rule and attack, the worst last; the backdoor's success; ours less ByzFL's."""
    lines = [
        f"## {WORKERS} workers, {LIARS} liars, Dirichlet {ALPHA}",
        "",
        f"Digits, perceptron 64-32-10, {ROUNDS} rounds of 5 local steps (batch 32, rate 0.2); test accuracy in %, mean "
        f"of {len(SEEDS)} seeds. An asterisk marks a strength searched anew each round against the very rule. Every "
        "rule is told f = 4, also where nobody lies. The worst is over all columns.",
        "",
    ]
    for library in LIBRARIES:
        lines += [f"### {'Banyan' if library == 'banyan' else 'ByzFL 0.0.11'}", ""]
        lines += table(_accuracies(ledger, library), ATTACKS)
    lines += [
        "### The backdoor's success",
        "",
        "Share of triggered images of other digits read as the attacker wants, in %, without and with the attack.",
        "",
        "| rule | none | backdoor |",
        "|---|---|---|",
    ]
    for rule in RULES:
        shares = [
            mean(ledger, [f"rules|banyan|{rule}|{attack}|{seed}" for seed in SEEDS], "backdoor")
            for attack in ("none", "backdoor")
        ]
        if None not in shares:
            lines.append(f"| {rule} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |")  # type: ignore[operator]
    return [*lines, "", *_differences(ledger)]


def _accuracies(ledger: Ledger, library: str) -> dict[str, list[float | None]]:
    return {
        rule: [
            mean(ledger, [f"rules|{library}|{rule}|{attack}|{seed}" for seed in SEEDS], "accuracy")
            for attack in ATTACKS
        ]
        for rule in RULES
    }


def _differences(ledger: Ledger) -> list[str]:
    """Where the same rule ends elsewhere in the two libraries."""
    ours, theirs = (_accuracies(ledger, library) for library in LIBRARIES)
    lines = [
        "### Ours and ByzFL's: worst case",
        "",
        "| rule | Banyan | ByzFL | largest difference, by attack |",
        "|---|---|---|---|",
    ]
    for rule in RULES:
        pairs = [
            (attack, a, b)
            for attack, a, b in zip(ATTACKS, ours[rule], theirs[rule], strict=True)
            if a is not None and b is not None
        ]
        if pairs:
            attack, a, b = max(pairs, key=lambda each: abs(each[1] - each[2]))
            lines.append(
                f"| {rule} | {worst([p[1] for p in pairs])} | {worst([p[2] for p in pairs])} | "
                f"{100 * (a - b):+.1f} points, {attack} |"
            )
    return [*lines, ""]
