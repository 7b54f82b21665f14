"""The plots of a report: curves by round, traffic of a device, who was left out, what happened when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from rich.filesize import decimal

from banyan.simulations.record import RunRecord
from banyan.simulations.report.absence import Absence
from banyan.simulations.report.curves import Curve, Panel
from banyan.simulations.report.ink import Palette, frame
from banyan.simulations.report.traffic import Traffic
from banyan.simulations.report.words import ARM_NAMES, number

__all__ = ["absence_figure", "curve_figure", "kind_of", "timeline_figure", "traffic_figure"]

#: A curve of the undefended arm is cut at this many times the span that the others take.
HEADROOM: Final = 0.85
#: Values that lie further apart than this are shown by their order of magnitude.
WIDE: Final = 30.0
#: The lines of a timeline: more events of one kind than this cannot be told apart.
SLOTS: Final = 360

Drawn = list[tuple[float, str, str]]


def curve_figure(panels: Sequence[Panel], palette: Palette, unit: str, *, zero: bool = False) -> Figure:
    """One panel beside the other. ``zero``: the axis begins at 0 and is never logarithmic."""
    columns = 1 if len(panels) == 1 else 2
    rows = math.ceil(len(panels) / columns)
    figure = _figure(palette, (7.2, 3.9 if rows == 1 and columns == 1 else 2.7 * rows))
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, panel in zip(grid, panels, strict=False):
        axes.set_facecolor("none")
        frame(axes, palette, x="round", y=unit)
        _scale(axes, panel, zero)
        _draw(axes, panel, palette, named=len(panels) == 1)
        if len(panels) > 1:
            axes.set_title(_plain(panel.title), loc="left", fontsize=10, color=palette.ink, weight="bold")
    for spare in grid[len(panels) :]:
        spare.set_visible(False)
    return figure


def traffic_figure(traffic: Sequence[Traffic], palette: Palette) -> Figure:
    """How many messages and bytes a device sends in a round: how many devices send how much."""
    figure = _figure(palette, (7.2, 2.9))
    left, right = figure.subplots(1, 2)
    _histogram(left, [(each.messages, each.attacks) for each in traffic], palette, "messages sent a round")
    _histogram(right, [(each.bytes, each.attacks) for each in traffic], palette, "bytes sent a round")
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: decimal(int(value))))
    right.set_ylabel("")
    return figure


def absence_figure(absence: Absence, palette: Palette) -> Figure:
    """Updates left out by reason, attackers' and honest devices' apart."""
    reasons = absence.reasons[::-1]
    figure = _figure(palette, (7.2, 0.95 + 0.36 * len(reasons)))
    axes = figure.add_subplot(facecolor="none")
    frame(axes, palette, x="updates left out", y="")
    axes.grid(visible=False)
    axes.grid(axis="x", color=palette.line, linewidth=0.8)
    attackers = [each.attackers for each in reasons]
    honest = [each.honest for each in reasons]
    rows = range(len(reasons))
    axes.barh(rows, attackers, color=palette.bad, height=0.62)
    axes.barh(rows, honest, left=attackers, color=palette.good, height=0.62)
    axes.set_yticks(rows, [_plain(each.reason) for each in reasons])
    for row, each in enumerate(reasons):
        axes.text(each.total, row, f" {each.total:,}", color=palette.soft, fontsize=9, va="center")
    axes.tick_params(axis="y", labelcolor=palette.ink, labelsize=9.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.margins(x=0.08)
    return figure


def timeline_figure(record: RunRecord, palette: Palette) -> Figure:
    """Releases, faults by kind, and broken invariants over virtual time."""
    kinds: dict[str, list[int]] = {}
    for time, what in record.faults:
        kinds.setdefault(kind_of(what), []).append(time)
    if len(kinds) > 6:
        kinds = {"faults": [time for time, _ in record.faults]}
    rows = [("releases", [release.time for release in record.releases], palette.good)]
    rows += [(kind, times, palette.alone) for kind, times in kinds.items()]
    if record.violations:
        rows.append(("broken", [violation.time for violation in record.violations], palette.bad))
    figure = _figure(palette, (7.2, 0.8 + 0.34 * len(rows)))
    axes = figure.add_subplot(facecolor="none")
    end = max([record.virtual_ms, 1, *(time for _, times, _ in rows for time in times)])
    unit, name = next((each for each in UNITS if end >= 3 * each[0]), UNITS[-1])
    frame(axes, palette, x=f"virtual time ({name})", y="")
    axes.grid(visible=False)
    for row, (_, times, colour) in enumerate(rows):
        slots = sorted({round(time / end * SLOTS) for time in times})  # what falls on one pixel is one line
        axes.vlines(
            [slot * end / SLOTS / unit for slot in slots], row - 0.34, row + 0.34, colour, linewidth=1.6
        )
    axes.set_yticks(range(len(rows)), [f"{_plain(name)} ({len(times):,})" for name, times, _ in rows])
    axes.tick_params(axis="y", labelcolor=palette.ink, labelsize=9.5)
    axes.set_xlim(-0.01 * end / unit, 1.01 * end / unit)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    return figure


UNITS: Final = (
    (86_400_000, "days"),
    (3_600_000, "hours"),
    (60_000, "minutes"),
    (1_000, "seconds"),
    (1, "ms"),
)


def kind_of(fault: str) -> str:
    """What happened without to whom: ``crashes`` of ``/en#3 crashes``, ``cut`` of ``cut: 3 devices on one side``."""
    whole, _, rest = fault.partition(" ")
    what = rest if whole.startswith("/") else fault
    words = what.replace(":", "").split() or ["?"]
    if words[0] == "is":
        return " ".join(words[:2])
    return words[0] if what is rest or len(words) == 1 or ":" in what else "other"


# ------------------------------------------------------------------------------------------- parts


def _figure(palette: Palette, inches: tuple[float, float]) -> Figure:
    return Figure(figsize=inches, layout="constrained", facecolor=palette.paper)


def _plain(text: str) -> str:
    """Names come from scenarios: a dollar sign in one begins no formula."""
    return text.replace("$", r"\$")


def _calm(panel: Panel) -> list[float]:
    """The finite numbers that a picture must hold: all but where the undefended arm goes."""
    values = [
        value
        for arm, curve in panel.curves.items()
        for value in (*curve.middle, *curve.high)
        if arm != "plain-mean" or len(panel.curves) == 1
    ]
    values += [panel.alone] if panel.alone is not None else []
    return [value for value in values if math.isfinite(value)] or [0.0, 1.0]


def _scale(axes: Axes, panel: Panel, zero: bool) -> None:
    calm = _calm(panel)
    low, high = min(calm), max(calm)
    undefended = [v for v in panel.curves.get("plain-mean", EMPTY).middle if math.isfinite(v)]
    if not zero and low > 0 and high / low > WIDE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=7))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(low / 1.5, max(high, min(max(undefended, default=high), high * 10)) * 1.5)
        return
    span = (high - low) or abs(high) or 1.0
    top = max(high, min(max(undefended, default=high), high + HEADROOM * span))
    bottom = min(low, max(min(undefended, default=low), low - HEADROOM * span))
    margin = 0.06 * (top - bottom or span)
    axes.set_ylim(0 if zero else bottom - margin, top + margin)


EMPTY: Final = Curve((), (), (), ())

#: Drawn in this order, so that what really happened lies on top.
ORDER: Final = ("plain-mean", "no-attack", "as-is")


def _draw(axes: Axes, panel: Panel, palette: Palette, named: bool) -> None:
    colours = {"as-is": palette.good, "no-attack": palette.calm, "plain-mean": palette.bad}
    styles: dict[str, dict[str, Any]] = {
        "as-is": {"linewidth": 2.6, "marker": "o", "markersize": 4.5},
        "no-attack": {"linewidth": 1.8, "linestyle": (0, (1.2, 1.8))},
        "plain-mean": {"linewidth": 2.0, "linestyle": (0, (5, 2.5))},
    }
    ends: Drawn = []
    if panel.alone is not None:
        axes.axhline(panel.alone, color=palette.alone, linewidth=1.4, linestyle=(0, (6, 2, 1, 2)))
        ends.append((panel.alone, f"alone {number(panel.alone)}", palette.alone))
    for arm in sorted(panel.curves, key=lambda arm: ORDER.index(arm) if arm in ORDER else -1):
        curve, colour = panel.curves[arm], colours.get(arm, palette.soft)
        style = styles.get(arm, {"linewidth": 1.6})
        if len(curve.rounds) > 40:
            style = style | {"marker": ""}
        axes.plot(curve.rounds, curve.middle, color=colour, solid_capstyle="round", **style)
        if arm == "as-is":
            axes.fill_between(curve.rounds, curve.low, curve.high, color=colour, alpha=0.13, linewidth=0)
        name = f"{ARM_NAMES.get(arm, arm)} " if named else ""
        ends.append((curve.middle[-1], f"{name}{number(curve.middle[-1])}", colour))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    _labels(axes, ends, 3.9 if named else 2.7)


def _labels(axes: Axes, ends: Drawn, tall: float) -> None:
    """Each text at the height of its curve's end, right of the plot, a line apart in a panel ``tall`` inches high."""
    scale, (low, high) = axes.transScale, axes.get_ylim()
    bottom, top = (float(scale.transform((0, value))[1]) for value in (low, high))

    def share(value: float) -> float:
        if not math.isfinite(value) or value > high:
            return 1.0
        return max(0.0, (float(scale.transform((0, max(value, low)))[1]) - bottom) / (top - bottom))

    gap = 0.2 / tall
    at = -gap
    for place, (value, text, colour) in sorted((share(end[0]), end) for end in ends):
        at = max(place, at + gap)
        outside = "↑ " if not math.isfinite(value) or value > high else ""
        axes.annotate(
            _plain(f"{outside}{text}"),
            (1.015, at),
            xycoords="axes fraction",
            color=colour,
            fontsize=9.5,
            va="center",
            weight="bold",
        )


def _histogram(axes: Axes, values: list[tuple[float, bool]], palette: Palette, unit: str) -> None:
    axes.set_facecolor("none")
    frame(axes, palette, x=unit, y="devices")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    every = [value for value, _ in values] or [0.0]
    low, high = min(every), max(every)
    positive = [value for value in every if value > 0]
    if positive and high / min(positive) > WIDE:
        axes.set_xscale("symlog", linthresh=min(positive))
        bins = np.geomspace(min(positive), high * 1.0001, 25)
        bins = np.concatenate([[0.0], bins]) if low <= 0 else bins
    else:
        bins = np.linspace(low, high if high > low else low + 1, 25)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    honest = [value for value, attacks in values if not attacks]
    attackers = [value for value, attacks in values if attacks]
    axes.hist([honest, attackers], bins=list(bins), stacked=True, color=[palette.good, palette.bad])
