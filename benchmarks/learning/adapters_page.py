"""The comparison of adapters as a page and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

NAMES: Final = {
    "one season": "shared A, rank 16, one season",
    "seasons": "shared A, rank 16, seasons when converged",
    "short seasons": "shared A, rank 16, a season every 4 rounds",
    "LoRA": "LoRA, rank 8, averaged as products",
    "LoRA, half the rate": "the same at half the learning rate",
}
Curve = Sequence[dict[str, float]]


def curves(result: dict[str, Any]) -> dict[str, dict[str, Curve]]:
    """The curves of the seeds that have seasons and LoRA, by seed and arm."""
    return {
        seed: {
            arm: run["shared A"][arm] if arm in run["shared A"] else run[arm]["curve"]
            for arm in NAMES
            if arm in run["shared A"] or arm in run
        }
        for seed, run in sorted(result["runs"].items(), key=lambda each: int(each[0]))
        if {"shared A", "LoRA"} <= run.keys()
    }


def chosen(curve: Curve, most_sent: float) -> dict[str, float]:
    """The release that one would use: of those within so many bytes the best on the rows that are tried."""
    return min((point for point in curve if point["sent"] <= most_sent), key=lambda point: point["tried"])


def rounds_to_converge(curve: Curve, patience: int, gain: float) -> int | None:
    """The round after which ``patience`` rounds gained less than ``gain`` on the rows that are tried; None if the curve
    ends before that."""
    tried = [point["tried"] for point in curve]
    for end in range(1, len(tried) - patience + 1):
        if min(tried[end : end + patience]) > min(tried[:end]) - gain:
            return end - 1
    return None


def page(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    found = curves(result)
    if not found:
        return "# Kinds of adapters\n\nNo seed is finished yet.\n"
    size = result["size"]
    tuning = "; ".join(
        f"{kind}: " + ", ".join(f"{loss:.3f} at {rate}" for rate, loss in tuned.items())
        for kind, tuned in result["tuning"].items()
    )
    return "\n".join(
        [
            "# Kinds of adapters at equal bytes, and what a season brings",
            "",
            f"`python -m benchmarks adapters`, {result['date']}, {result['machine']}. Base `{result['base']}`, seeds "
            f"{', '.join(found)}; losses in nats a token.",
            "",
            f"- One branch, `/de/law`: three devices, one a sub-domain, at most {size['rows']} training rows each; "
            f"rounds of {size['steps']} steps of {size['batch']} rows. Everybody is honest; the rule is the mean. "
            "Updates travel as int8, releases as float32, in all arms.",
            f"- Converged: {size['patience']} rounds in a row gained less than {size['gain']:g} nats on "
            f"{3 * size['tried']} rows that releases are tried on. Reported are the losses on {3 * size['held_out']} "
            "other rows, of the release that was best on the first.",
            "- A season is opened where the one before has converged. The arm without goes on in the same A, and LoRA "
            "too, for as many rounds as all seasons took.",
            f"- Peak learning rates by the lowest loss in {size['tuning_rounds']} rounds of a seed that is not "
            f"reported: {tuning}.",
            "",
            *_equal_bytes(result, found),
            "",
            *_seasons(result, found),
            "",
            "![Held-out loss by bytes sent, and by round through three seasons](learning-adapters.svg)",
            "",
        ]
    )


def _equal_bytes(result: dict[str, Any], found: dict[str, dict[str, Curve]]) -> list[str]:
    """Each kind at budgets of bytes that all of them reached."""
    size = result["size"]
    ends = {seed: min(curve[-1]["sent"] for curve in told.values()) for seed, told in found.items()}
    lines = [
        "## At equal bytes",
        "",
        "| adapter | kB a round sent, received | rounds to converge | at ¼ of the bytes | at ½ | **at all** | by seed "
        "| seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm, name in NAMES.items():
        told = {seed: arms[arm] for seed, arms in found.items() if arm in arms}
        if not told:
            continue
        losses = {
            share: [chosen(curve, share * ends[seed])["held_out"] for seed, curve in told.items()]
            for share in (0.25, 0.5, 1.0)
        }
        a_round = [
            fmean(curve[-1][way] / (len(curve) - 1) for curve in told.values()) / 1000
            for way in ("sent", "received")
        ]
        needed = [rounds_to_converge(curve, size["patience"], size["gain"]) for curve in told.values()]
        if "seasons" in arm:  # they go on where others have converged
            needed = [None for _ in needed]
        seconds = fmean(
            result["runs"][seed].get(arm, result["runs"][seed]["shared A"])["seconds"] for seed in told
        )
        lines.append(
            f"| {name} | {a_round[0]:.1f}, {a_round[1]:.0f} | "
            + ", ".join("–" if each is None else str(each) for each in needed)
            + f" | {fmean(losses[0.25]):.3f} | {fmean(losses[0.5]):.3f} | **{fmean(losses[1.0]):.3f}** | "
            + ", ".join(f"{loss:.3f}" for loss in losses[1.0])
            + f" | {seconds:.0f}"
            + (" with the arm above |" if arm == "seasons" else " |")
        )
    residuals = [fmean(result["runs"][seed]["LoRA"]["residuals"]) for seed in found]
    budget = fmean(ends.values()) / 1000
    return [
        *lines,
        "",
        f"All the bytes: {budget:.0f} kB sent by a node. Truncating the mean of LoRA's products to its rank left "
        f"{fmean(residuals):.1%} of its norm behind each round.",
    ]


def _seasons(result: dict[str, Any], found: dict[str, dict[str, Curve]]) -> list[str]:
    lines = [
        "## Seasons",
        "",
        "| seed | season | rounds | before the turn → after | frozen, kB | best so far | without a turn, same round |",
        "|---|---|---|---|---|---|---|",
    ]
    for seed, told in found.items():
        begun = 0
        for number, turn in enumerate(result["runs"][seed]["shared A"]["turns"], 1):
            end = turn["round"]
            bests = [
                min(told[arm][: end + 1], key=lambda point: point["tried"])["held_out"]
                for arm in ("seasons", "one season")
            ]
            lines.append(
                f"| {seed} | {number} | {end - begun} | {turn['before']:.6f} → {turn['after']:.6f} | "
                f"{turn['frozen_bytes'] / 1000:.0f} | {bests[0]:.3f} | {bests[1]:.3f} |"
            )
            begun = end
    turns = [turn for seed in found for turn in result["runs"][seed]["shared A"]["turns"]]
    apart = max(abs(turn["after"] - turn["before"]) for turn in turns)
    return [
        *lines,
        "",
        f"A turn moves nothing: the greatest change of a loss by one was {apart:.1g} nats. It sends no update; a "
        "newcomer fetches what is frozen.",
    ]


def draw(result: dict[str, Any], to: Path) -> None:
    """Two panels: held-out loss by bytes sent; and by round, with turns."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = curves(result)
    if not found:
        return
    matplotlib.rcParams.update({"svg.hashsalt": "adapters", "font.size": 9})
    figure, panels = plt.subplots(1, len(found), figsize=(4 * len(found), 3.4), sharey=True, squeeze=False)
    colours = {
        "one season": "C0",
        "seasons": "C2",
        "short seasons": "C4",
        "LoRA": "C1",
        "LoRA, half the rate": "C3",
    }
    for panel, (seed, told) in zip(panels[0], found.items(), strict=True):
        for arm, curve in told.items():
            panel.plot(
                [point["sent"] / 1000 for point in curve],
                [point["held_out"] for point in curve],
                "--" if arm == "one season" else "-",
                color=colours[arm],
                label=NAMES[arm],
            )
        for turn in result["runs"][seed]["shared A"]["turns"][:-1]:
            panel.axvline(told["seasons"][turn["round"]]["sent"] / 1000, color="C7", linewidth=0.6)
        panel.set(title=f"seed {seed}", xlabel="sent by a node, kB")
    lowest = min(point["held_out"] for told in found.values() for curve in told.values() for point in curve)
    panels[0][0].set(ylabel="held-out loss, nats a token", ylim=(lowest - 0.05, lowest + 1.2))
    panels[0][0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(to, metadata={"Date": None})
    plt.close(figure)
