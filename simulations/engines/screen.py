"""A sweep as it is seen in a terminal: a bar with the time left, and how many failed."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from banyan.simulations.engines.job import Engine
from banyan.simulations.engines.sweep import Finished, Sweep

__all__ = ["shown"]


def shown(sweep: Sweep, engine: Engine, console: Console) -> Iterator[Finished]:
    """:meth:`Sweep.over`, with a bar on ``console``. What an earlier sweep finished does not count as speed."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("running", total=len(sweep.jobs), failed="", start=False)
        for count, finished in enumerate(sweep.over(engine), 1):
            if count <= sweep.already:
                progress.update(bar, total=len(sweep.jobs) - count)
            else:
                progress.start_task(bar)
                progress.advance(bar)
            progress.update(bar, failed=f"{sweep.failures:,} failed" if sweep.failures else "")
            yield finished
