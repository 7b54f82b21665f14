"""The results as a page and a figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from benchmarks.learning.arms import LORA_RATE, NEWCOMER_ROWS, RATE
from benchmarks.learning.shares import NEWCOMERS, TREE

NAMES: Final = {
    "base": "base model",
    "alone": "alone",
    "flat": "flat: one federation of all (FedIT, LoRA rank 8)",
    "leaf only": "leaf only: one federation a leaf",
    "tree": "**tree**",
}
BESIDES: Final = {"flat, shared A": "flat, with the tree's adapter in place of LoRA"}
"""An arm that is told where there is one."""

LEAVES: Final = tuple(leaf for leaves in TREE.values() for leaf in leaves)


def finished(result: dict[str, Any], arms: Sequence[str]) -> list[str]:
    """The seeds with all of these arms."""
    return sorted(
        (seed for seed, runs in result["runs"].items() if all(arm in runs for arm in arms)), key=int
    )


def over_seeds(
    result: dict[str, Any], arm: str, seeds: Sequence[str], of: Callable[[Any], float]
) -> list[float]:
    """One number of an arm by seed."""
    return [of(result["runs"][seed][arm]) for seed in seeds]


def mean_leaf(run: dict[str, Any]) -> float:
    """The mean over the leaves."""
    return fmean(run["leaves"].values())


def page(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    size, seeds = result["size"], finished(result, [*NAMES])
    if not seeds:
        return "# A tree of federations\n\nNo seed is finished yet.\n"
    first, second, third = size["rounds"]
    lines = [
        "# A tree of federations",
        "",
        f"`python -m benchmarks.learning`, {result['date']}, {result['machine']}. Base `{result['base']}`, seeds "
        f"{', '.join(seeds)}; means over them, held-out loss in nats a token on at most {size['held_out']} rows a "
        "leaf.",
        "",
        f"- {len(LEAVES)} leaves, {size['devices']} devices each, {size['rows']} training rows a device, dealt by "
        "natural owner. Everybody is honest; the rule is the mean.",
        f"- {first + second + third} rounds of {size['steps']} steps for every device in every arm, 4 rows a step, "
        f"peak learning rate {RATE:g} ({LORA_RATE:g} for LoRA).",
        f"- Tree: {first} rounds at the master, {second} in the domain, {third} in the leaf; a model is the sum along "
        "its path. After each of the last rounds what children share is lifted, where the charter's default policy "
        "asks for it. Rounds, lifts and sums are the node's own jobs; updates travel as int8.",
        "- Alone: the mean of the leaf's devices.",
        "",
        "## Leaves",
        "",
        "| arm | "
        + " | ".join(leaf.rpartition("/")[2] for leaf in LEAVES)
        + " | mean | by seed | sent, kB a node "
        "| received | seconds |",
        "|---|" + "---|" * (len(LEAVES) + 5),
    ]
    for arm, name in (NAMES | BESIDES).items():
        runs = [result["runs"][seed][arm] for seed in seeds if arm in result["runs"][seed]]
        if not runs:
            continue
        cells = [f"{fmean(run['leaves'][leaf] for run in runs):.3f}" for leaf in LEAVES]
        means = [mean_leaf(run) for run in runs]
        by_seed = ", ".join(f"{each:.3f}" for each in means)
        traffic = [f"{fmean(run.get(way, 0) for run in runs) / 1000:.0f}" for way in ("sent", "received")]
        seconds = f"{fmean(run['seconds'] for run in runs):.0f}"
        lines.append(
            f"| {name} | "
            + " | ".join([*cells, f"**{fmean(means):.3f}**", by_seed, *traffic, seconds])
            + " |"
        )
    lines += ["", *_domains(result, seeds), "", *_cold(result, seeds)]
    return "\n".join([*lines, "", "![Losses by arm and of newcomers](learning.svg)", ""])


def _domains(result: dict[str, Any], seeds: Sequence[str]) -> list[str]:
    """Quality of the branches above the leaves."""

    def of(arm: str, key: str, domain: str) -> str:
        return f"{fmean(result['runs'][seed][arm][key][domain] for seed in seeds):.3f}"

    rows = {
        "base model": ("base", "domains"),
        "flat": ("flat", "domains"),
        "parent by lifts alone (leaf only)": ("leaf only", "domains"),
        "tree, before its lifts": ("tree", "domains_before_lifts"),
        "**tree, after its lifts**": ("tree", "domains"),
    }
    moved = max(result["runs"][seed][arm]["moved_by_lift"] for seed in seeds for arm in ("leaf only", "tree"))
    lifts = fmean(result["runs"][seed]["tree"]["lifted"] for seed in seeds)
    return [
        "## Parents",
        "",
        "A domain's model on the held-out rows of all its leaves.",
        "",
        "| model | " + " | ".join(TREE) + " |",
        "|---|" + "---|" * len(TREE),
        *(
            f"| {name} | " + " | ".join(of(arm, key, domain) for domain in TREE) + " |"
            for name, (arm, key) in rows.items()
        ),
        "",
        f"{lifts:.1f} lifts a run of the tree. The largest change of any number of any leaf's model by a lift: "
        f"{moved:g}.",
    ]


def _cold(result: dict[str, Any], seeds: Sequence[str]) -> list[str]:
    rows = {"base": "base model", "leaf only": "parent by lifts alone", "tree": "**parent in the tree**"}
    lines = [
        "## Newcomers",
        "",
        f"A sub-domain that opens later, one device, {NEWCOMER_ROWS} rows: loss at its start → after each of its "
        "rounds.",
        "",
        "| starts from | " + " | ".join(NEWCOMERS.values()) + " |",
        "|---|" + "---|" * len(NEWCOMERS),
    ]
    for arm, name in rows.items():
        cells = []
        for domain in NEWCOMERS:
            curves = [result["runs"][seed][arm]["cold"][domain] for seed in seeds]
            cells.append(" → ".join(f"{fmean(point):.3f}" for point in zip(*curves, strict=True)))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def draw(result: dict[str, Any], to: Path) -> None:
    """Two panels: leaves by arm, newcomers by start."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    seeds = finished(result, [*NAMES])
    if not seeds:
        return
    matplotlib.rcParams.update({"svg.hashsalt": "learning", "font.size": 9})
    figure, (bars, cold) = plt.subplots(1, 2, figsize=(8.5, 3.4))
    arms = ["alone", "flat", "flat, shared A", "leaf only", "tree"]
    arms = [arm for arm in arms if all(arm in result["runs"][seed] for seed in seeds)]
    for at, arm in enumerate(arms):
        means = over_seeds(result, arm, seeds, mean_leaf)
        bars.bar(at, fmean(means), color="C2" if arm == "tree" else "C7", width=0.7)
        bars.plot([at] * len(means), means, "k.", markersize=4)
        bars.text(
            at, fmean(means), f"{fmean(means):.2f} ", ha="center", va="top", color="white", weight="bold"
        )
    lowest = min(min(over_seeds(result, arm, seeds, mean_leaf)) for arm in arms)
    bars.set(
        xticks=range(len(arms)),
        title="leaves, mean",
        ylabel="held-out loss, nats a token",
        ylim=(lowest * 0.9, None),
    )
    bars.set_xticklabels([arm.replace(", ", ",\n") for arm in arms])
    for arm, name in (("base", "base model"), ("leaf only", "lifts alone"), ("tree", "tree")):
        for number, domain in enumerate(NEWCOMERS):
            curves = [result["runs"][seed][arm]["cold"][domain] for seed in seeds]
            points = [fmean(point) for point in zip(*curves, strict=True)]
            colour = {"base": "C7", "leaf only": "C0", "tree": "C2"}[arm]
            cold.plot(points, "--" if number else "-", color=colour, label=f"{NEWCOMERS[domain]} from {name}")
    cold.set(title=f"newcomers, {NEWCOMER_ROWS} rows", xlabel="round")
    cold.legend(fontsize=6, frameon=False)
    figure.tight_layout()
    figure.savefig(to, metadata={"Date": None})
    plt.close(figure)
