"""The table, the page and the plot of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.aggregation.cells import NS, Cell

LIBRARIES = ("banyan", "byzfl-numpy", "byzfl-torch", "flower")


def ratio(cell: Cell, *libraries: str) -> float | None:
    """How many times longer the fastest of these libraries takes than ours."""
    own = cell.median("banyan")
    others = [time for library in libraries if (time := cell.median(library)) is not None]
    return min(others) / own if own and others else None


def slower_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Cells in which another library was faster than ours."""
    return [cell for cell in cells if (ratio(cell, *LIBRARIES[1:]) or 1.0) < 1.0]


def rows(cells: Sequence[Cell]) -> list[list[str]]:
    """One line for each cell: rule, n, d, f, milliseconds of each library, ratios to ByzFL and Flower."""
    lines = []
    newest = max((cell.date for cell in cells), default="")
    for cell in sorted(cells, key=lambda c: (c.rule, c.d, c.n)):
        times = [cell.left_out.get(library) or _milliseconds(cell.median(library)) for library in LIBRARIES]
        ratios = [_times(ratio(cell, "byzfl-numpy", "byzfl-torch")), _times(ratio(cell, "flower"))]
        lines.append(
            [
                cell.rule + ("" if cell.date == newest else " †"),
                str(cell.n),
                f"{cell.d:.0e}".replace("e+0", "e"),
                str(cell.f),
                *times,
                *ratios,
            ]
        )
    return lines


HEADER = ["rule", "n", "d", "f", "banyan ms", "ByzFL numpy", "ByzFL torch", "Flower", "× ByzFL", "× Flower"]


def page(cells: Sequence[Cell], memory: Sequence[dict[str, Any]], facts: dict[str, str]) -> str:
    """The results as Markdown: facts of the run, summary by rule, every cell, memory."""
    lines = ["# Robust aggregation: speed and memory", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += [
        "",
        "Milliseconds are medians of processor time; × is how many times longer the other takes, ByzFL in",
    ]
    lines += ["its faster form. Seconds on the clock are in the JSON file beside this page.", ""]
    if len({cell.date for cell in cells}) > 1:
        lines += ["† measured on an earlier date, with the code of then.", ""]
    lines += ["## Summary: ratio over all cells, smallest – median – largest", ""]
    lines += _table(["rule", "× ByzFL", "× Flower"], _summary(cells))
    worse = slower_cells(cells)
    lines += ["", f"Cells in which another library is faster: {len(worse)} of {len(cells)}."]
    lines += [f"- {c.rule}, n = {c.n}, d = {c.d}: × {ratio(c, *LIBRARIES[1:]):.2f}" for c in worse]
    lines += ["", "## Every cell", "", *_table(HEADER, rows(cells))]
    if memory:
        lines += ["", "## Peak extra memory of one call, MB (the result included)", ""]
        names = list(memory[0])
        lines += _table(names, [[str(entry[name]) for name in names] for entry in memory])
    return "\n".join(lines) + "\n"


def _summary(cells: Sequence[Cell]) -> list[list[str]]:
    lines = []
    for rule in dict.fromkeys(cell.rule for cell in cells):
        line = [rule]
        for libraries in (("byzfl-numpy", "byzfl-torch"), ("flower",)):
            found = sorted(r for c in cells if c.rule == rule and (r := ratio(c, *libraries)) is not None)
            line.append(f"{found[0]:.1f} – {found[len(found) // 2]:.1f} – {found[-1]:.1f}" if found else "–")
        lines.append(line)
    return lines


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + " --- |" * len(header),
        *("| " + " | ".join(r) + " |" for r in body),
    ]


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{1000 * seconds:.2f}" if seconds < 0.01 else f"{1000 * seconds:.0f}"


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}" if value >= 2 else f"{value:.2f}"


def save(
    folder: Path, cells: Sequence[Cell], memory: Sequence[dict[str, Any]], facts: dict[str, str]
) -> list[Path]:
    """Write ``aggregation.json``, ``aggregation.md`` and ``aggregation.svg``; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, text, plot = (folder / f"aggregation.{end}" for end in ("json", "md", "svg"))
    whole = {"facts": facts, "cells": [cell.as_dict() for cell in cells], "memory": list(memory)}
    data.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    text.write_text(page(cells, memory, facts), encoding="utf-8")
    draw(plot, cells)
    return [data, text, plot]


def load(folder: Path) -> tuple[list[Cell], list[dict[str, Any]]]:
    """The cells and memory of an earlier run, so that an interrupted one goes on where it stopped."""
    path = folder / "aggregation.json"
    if not path.exists():
        return [], []
    whole = json.loads(path.read_text(encoding="utf-8"))
    return [Cell(**cell) for cell in whole["cells"]], whole["memory"]


def draw(path: Path, cells: Sequence[Cell]) -> None:
    """Time against d (at the largest n) and against n (at the largest d all measured), for each rule."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(cell.rule for cell in cells))
    styles = {"banyan": ("#1b7837", "o"), "byzfl-numpy": ("#2166ac", "s"), "byzfl-torch": ("#67a9cf", "^"),
              "flower": ("#b2182b", "D")}  # fmt: skip
    wide = min(6, len(names))
    tall = 2 * -(-len(names) // wide)
    figure, axes = plt.subplots(tall, wide, figsize=(2.3 * wide, 2.4 * tall), squeeze=False, sharey=True)
    for axis in axes.flat:
        axis.set_visible(False)
    for number, rule in enumerate(names):
        row, column = 2 * (number // wide), number % wide
        own = [cell for cell in cells if cell.rule == rule]
        for axis, fixed, along in ((axes[row][column], "n", "d"), (axes[row + 1][column], "d", "n")):
            axis.set_visible(True)
            at = 20 if fixed == "n" else 1_000_000
            some = sorted((c for c in own if getattr(c, fixed) == at), key=lambda c: getattr(c, along))
            for library, (color, marker) in styles.items():
                points = [
                    (getattr(c, along), c.median(library)) for c in some if c.median(library) is not None
                ]
                if points:
                    axis.loglog(
                        *zip(*points, strict=True), color=color, marker=marker, ms=3, lw=1.2, label=library
                    )
            axis.grid(alpha=0.25)
            axis.set_xlabel(f"{along}  ({fixed} = {at:,})", fontsize=8)
            axis.tick_params(labelsize=7)
            if along == "n":
                axis.set_xticks(NS, [str(n) for n in NS])
                axis.minorticks_off()
        axes[row][column].set_title(rule, fontsize=9)
    for row in axes:
        row[0].set_ylabel("seconds", fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncol=4, fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
