"""What a run did, for people and for programs: a page, plots, tables.

Imports nothing until it is asked to write: matplotlib takes its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from banyan.simulations.record import RunRecord

__all__ = ["write"]


def write(records: Sequence[RunRecord], folder: Path, replay: str | None = None) -> list[Path]:
    """Write the report of one scenario and seed into ``folder``; the files, the page first.

    ``index.html`` is self-contained; ``run.json`` holds all of ``records``; ``nodes.csv``, ``releases.csv`` and
    ``scores.csv`` are for a spreadsheet; the PNG files are the page's plots. The same records give the same bytes.

    Args:
        records: the arms that ran; the page is about ``as-is``, else about the first.
        replay: the command that shows this run again; by default scenario and seed, as if nothing had been set.

    Raises:
        ValueError: no record, an arm twice, or records of several scenarios or seeds.
    """
    from banyan.simulations.replay import replay_command
    from banyan.simulations.report.page import page
    from banyan.simulations.report.plots import Plots, save_plots
    from banyan.simulations.report.story import Arms
    from banyan.simulations.report.tables import write_csv, write_records

    arms = Arms(records)
    plots = Plots.of(arms)
    folder.mkdir(parents=True, exist_ok=True)
    index, run = folder / "index.html", folder / "run.json"
    index.write_text(
        page(arms, plots, replay or replay_command(arms.main.scenario, (), arms.main.seed)), "utf-8"
    )
    write_records(records, run)
    return [index, run, *write_csv(records, folder), *save_plots(arms, plots, folder)]
