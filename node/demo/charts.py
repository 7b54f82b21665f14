"""The demo's plots: losses by round, for the page (colours as CSS variables) and as a picture for a README."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from banyan.simulations.report.ink import LIGHT, PAGE, Palette, frame, inline_svg

#: A curve that leaves the picture is cut at this many times the span that the others take, above the start.
HEADROOM: Final = 0.85


def loss_svg(summary: Mapping[str, Any]) -> str:
    """The losses as an inline ``<svg>`` in the page's own colours and fonts."""
    figure = _losses(summary, PAGE, (7.2, 3.9))
    label = "Held-out loss after each round: together, alone, and by the plain mean"
    return inline_svg(figure, "loss", label)


def save_loss_png(summary: Mapping[str, Any], path: Path) -> None:
    """The losses as a picture, 2 pixels a point."""
    figure = _losses(summary, LIGHT, (7.6, 4.2))
    figure.suptitle(_title(summary), x=0.02, ha="left", fontsize=11.5, color=LIGHT.ink, weight="bold")
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=160, facecolor=LIGHT.paper)


def _title(summary: Mapping[str, Any]) -> str:
    honest = sum(node["role"] == "honest" for node in summary["nodes"])
    others = len(summary["nodes"]) - honest
    against = f", {others} {summary['attack']} attacker{'s' if others > 1 else ''}" if others else ""
    return f"{summary['branches'][0]}: {honest} honest nodes{against}"


def _losses(summary: Mapping[str, Any], palette: Palette, inches: tuple[float, float]) -> Figure:
    curves = summary["curves"]
    figure = Figure(figsize=inches, layout="constrained", facecolor=palette.paper)
    axes = figure.add_subplot(facecolor="none")
    frame(axes, palette, x="round", y="held-out loss (nats a token)")
    calm = [
        value
        for curve in (curves["together"], *curves["alone"].values())
        for value in curve
        if value is not None
    ]
    low, start = min(calm), curves["together"][0]
    ceiling = max(max(calm), start) + HEADROOM * max(start - low, 0.1)
    for curve in curves["alone"].values():
        _line(axes, curve, palette.alone, width=1.1, alpha=0.75)
    if summary["attack"] is not None:
        _cut_line(axes, curves["undefended"], palette, ceiling)
    _line(axes, curves["together"], palette.good, width=2.6, marker="o")
    ends = [curve[-1] for curve in curves["alone"].values() if curve[-1] is not None]
    together = curves["together"][-1]
    if together is not None:
        _label(axes, curves["together"], together, f"together {_number(together)}", palette.good)
    if ends:
        gap = 0.055 * (ceiling - low)  # so that two labels never lie on each other
        middle = sum(ends) / len(ends)
        if together is not None and abs(middle - together) < gap:
            middle = together + (gap if middle >= together else -gap)
        _label(axes, curves["together"], middle, f"alone {_span(ends)}", palette.alone)
    axes.set_ylim(low - 0.06 * (ceiling - low), ceiling)
    rounds = len(curves["together"]) - 1
    axes.set_xlim(-0.08 * rounds, rounds * 1.34)
    axes.set_xticks(range(rounds + 1), ["start", *map(str, range(1, rounds + 1))])
    return figure


def _line(axes: Axes, curve: Sequence[float | None], colour: str, **style: Any) -> None:
    points = [(at, value) for at, value in enumerate(curve) if value is not None]
    axes.plot(
        [at for at, _ in points],
        [value for _, value in points],
        color=colour,
        linewidth=style.pop("width"),
        solid_capstyle="round",
        **style,
    )


def _cut_line(axes: Axes, curve: Sequence[float | None], palette: Palette, ceiling: float) -> None:
    """The plain mean; where it leaves the picture, an arrow says so."""
    name, dashes = "plain mean", (0, (5, 2.5))
    numbers = [math.inf if value is None else value for value in curve]
    shown = list(takewhile(lambda value: value <= ceiling, numbers))
    _line(axes, shown, palette.bad, width=2.0, linestyle=dashes)
    last, begin = len(shown) - 1, shown[-1]
    if len(shown) == len(curve):
        _label(axes, curve, begin, f"{name} {_number(begin)}", palette.bad)
        return
    rise = ceiling - begin
    to = last + max(0.3, rise / (numbers[len(shown)] - begin))
    arrow = {"arrowstyle": "-|>", "color": palette.bad, "linewidth": 2.0, "linestyle": dashes, "shrinkA": 0}
    axes.annotate("", (to, ceiling), (last, begin), arrowprops=arrow)
    end = "not a number" if curve[-1] is None else f"{_number(curve[-1])} at the end"
    axes.text(
        to + 0.06,
        ceiling - 0.06 * rise,
        f"{name}: {end}",
        color=palette.bad,
        fontsize=9.5,
        va="top",
        weight="bold",
    )


def _label(axes: Axes, curve: Sequence[float | None], height: float, text: str, colour: str) -> None:
    """``text`` beside the end of ``curve``."""
    at = len(curve) - 1
    axes.text(at * 1.03 + 0.03, height, text, color=colour, fontsize=9.5, va="center", weight="bold")


def _span(values: Sequence[float]) -> str:
    low, high = _number(min(values)), _number(max(values))
    return low if low == high else f"{low}–{high}"


def _number(value: float | None) -> str:
    if value is None:
        return "not a number"
    return f"{value:.2f}" if value < 100 else f"{value:.3g}"
