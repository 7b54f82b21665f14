"""The plot of the tree: losses by time, for the page (colours as CSS variables) and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from banyan.simulations.report.ink import LIGHT, PAGE, Palette, frame, inline_svg


def loss_svg(summary: Mapping[str, Any]) -> str:
    """The losses as an inline ``<svg>`` in the page's own colours and fonts."""
    label = "Held-out loss of every branch at each of its releases"
    return inline_svg(_losses(summary, PAGE), "loss", label)


def save_loss_png(summary: Mapping[str, Any], path: Path) -> None:
    """The losses as a picture, 2 pixels a point."""
    figure = _losses(summary, LIGHT)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=160, facecolor=LIGHT.paper)


def _losses(summary: Mapping[str, Any], palette: Palette) -> Figure:
    figure = Figure(figsize=(7.6, 4.2), layout="constrained", facecolor=palette.paper)
    axes = figure.add_subplot(facecolor="none")
    frame(axes, palette, x="seconds since the first branch opened", y="held-out loss (nats a token)")
    looks = {
        **dict.fromkeys(summary["leaves"], (palette.alone, 1.4)),
        **dict.fromkeys(summary["parents"], (palette.good, 2.4)),
        summary["newcomers"]["branch"]: (palette.calm, 2.0),
    }
    ends: list[tuple[float, str, str]] = []
    last = max(each["seconds"] for each in summary["releases"])
    for branch, (colour, width) in looks.items():
        known = [
            each for each in summary["releases"] if each["branch"] == branch and each["loss"] is not None
        ]
        if not known:
            continue
        dashes = "--" if branch == "/" else "-"
        axes.plot(
            [each["seconds"] for each in known],
            [each["loss"] for each in known],
            color=colour,
            linewidth=width,
            linestyle=dashes,
            marker="o",
            markersize=3,
        )
        rings = [each for each in known if each["lifts"]]
        axes.scatter(
            [each["seconds"] for each in rings],
            [each["loss"] for each in rings],
            s=60,
            facecolors="none",
            edgecolors=colour,
        )
        stays = known[-1]["loss"]  # a release holds until the next
        axes.plot([known[-1]["seconds"], last], [stays, stays], color=colour, linewidth=0.8, linestyle=":")
        ends.append((known[-1]["loss"], branch, colour))
    _name(axes, sorted(ends), 1.04 * last)
    axes.set_xlim(-0.02 * last, 1.34 * last)
    return figure


def _name(axes: Axes, ends: Sequence[tuple[float, str, str]], at: float) -> None:
    """The names of the curves, each where its curve ends or just above the name below it."""
    low, high = axes.get_ylim()
    gap, before = 0.055 * (high - low), -math.inf
    for loss, branch, colour in ends:
        before = max(loss, before + gap)
        axes.text(at, before, branch, color=colour, fontsize=9, va="center", weight="bold")
