"""What a report plots, computed once for the page and for the pictures beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from banyan.simulations.report.absence import absence_of
from banyan.simulations.report.curves import Panel, accuracies, latencies, losses, panels
from banyan.simulations.report.figures import absence_figure, curve_figure, timeline_figure, traffic_figure
from banyan.simulations.report.ink import LIGHT
from banyan.simulations.report.story import Arms
from banyan.simulations.report.traffic import Traffic, traffic_of

__all__ = ["Plots", "save_plots"]


@dataclass(frozen=True, slots=True)
class Plots:
    """The curves of all arms and the traffic of the one that is shown; a list is empty where there is nothing."""

    losses: list[Panel]
    accuracies: list[Panel]
    latencies: list[Panel]
    traffic: list[Traffic]

    @classmethod
    def of(cls, arms: Arms) -> Plots:
        records = list(arms.by_name.values())
        return cls(
            panels(records, losses, arms.main.alone),
            panels(records, accuracies),
            panels(records, latencies),
            traffic_of(arms.main),
        )


def save_plots(arms: Arms, plots: Plots, folder: Path) -> list[Path]:
    """Each plot as a picture, 2 pixels a point. The same records give the same bytes."""
    absence = absence_of(arms.main)
    drawn: dict[str, tuple[bool, Callable[[], Figure]]] = {
        "loss": (bool(plots.losses), lambda: curve_figure(plots.losses, LIGHT, "held-out loss")),
        "accuracy": (
            bool(plots.accuracies),
            lambda: curve_figure(plots.accuracies, LIGHT, "held-out accuracy"),
        ),
        "latency": (
            bool(plots.latencies),
            lambda: curve_figure(plots.latencies, LIGHT, "seconds", zero=True),
        ),
        "traffic": (True, lambda: traffic_figure(plots.traffic, LIGHT)),
        "left_out": (bool(absence.reasons), lambda: absence_figure(absence, LIGHT)),
        "timeline": (True, lambda: timeline_figure(arms.main, LIGHT)),
    }
    written = []
    for name, (there, draw) in drawn.items():
        if there:
            figure = draw()
            FigureCanvasAgg(figure)
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=144, facecolor=LIGHT.paper, metadata={"Software": None})
            written.append(path)
    return written
