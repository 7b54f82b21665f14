"""Colours of a plot, and how a plot becomes part of a page: its colours turn into the page's own CSS variables, so
that one drawing serves light and dark."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from html import escape
from typing import Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["LIGHT", "PAGE", "STAND_INS", "Palette", "frame", "inline_svg"]

#: Colours that stand for the page's own.
STAND_INS: Final = {
    "#010203": "var(--ink)",
    "#040506": "var(--soft)",
    "#070809": "var(--line)",
    "#0a0b0c": "var(--good)",
    "#0d0e0f": "var(--alone)",
    "#101112": "var(--bad)",
    "#131415": "var(--calm)",
}


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one drawing."""

    ink: str
    soft: str
    line: str
    good: str
    alone: str
    bad: str
    calm: str
    paper: str


PAGE: Final = Palette(**dict(zip(Palette.__annotations__, [*STAND_INS, "none"], strict=True)))
LIGHT: Final = Palette("#1f2a24", "#5d6a62", "#d9ded8", "#1b7f5c", "#8a7b4f", "#c2412d", "#3a6ea5", "#ffffff")


def frame(axes: Axes, palette: Palette, x: str, y: str) -> None:
    """Quiet axes: a base line, a few horizontal lines, and what is measured."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(palette.line)
    axes.tick_params(colors=palette.soft, length=0, labelsize=9)
    axes.tick_params(which="minor", length=0)
    axes.grid(axis="y", color=palette.line, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.set_ylabel(y, color=palette.soft, fontsize=9)
    axes.set_xlabel(x, color=palette.soft, fontsize=9)


def inline_svg(figure: Figure, name: str, label: str) -> str:
    """``figure``, drawn with :data:`PAGE`, as an inline ``<svg>``. The same figure gives the same text.

    Args:
        name: told apart from every other drawing of the page, since ids are the page's.
        label: what it shows, for those who do not see it.
    """
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "banyan"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    for stand_in, variable in STAND_INS.items():
        drawn = drawn.replace(stand_in, variable)
    drawn = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawn, count=1)
    drawn = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", drawn, count=1)
    drawn = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", drawn)
    return drawn.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
