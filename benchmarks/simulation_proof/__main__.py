"""Measure the rules in published decentralised settings.

    python -m benchmarks.simulation_proof                     # everything that is not measured yet
    python -m benchmarks.simulation_proof --only dumbbell     # one part
    python -m benchmarks.simulation_proof --page              # write the page again, measure nothing

All of it takes about half an hour of one core; an interrupted run goes on where it stopped. Writes
``benchmarks/results/simulation-proof.{json,md}``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.aggregation.__main__ import RESULTS, THREAD_VARIABLES

PARTS = ("rules", "dumbbell", "clique")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation_proof",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument(
        "--page", action="store_true", help="measure nothing; write the page from the figures"
    )
    parser.add_argument("--fresh", action="store_true", help="forget earlier figures")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    chosen = parser.parse_args()
    for variable in THREAD_VARIABLES:  # read when the libraries load, so before any import of them
        os.environ[variable] = "1"
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from benchmarks.aggregation.peers import byzfl
    from benchmarks.simulation_proof import page
    from benchmarks.simulation_proof.ledger import Ledger

    console = Console()
    if byzfl() is None:
        console.print(
            "ByzFL is not installed; its columns stay as they are. `make bench` installs it.", style="yellow"
        )
    ledger = Ledger(chosen.out / "simulation-proof.json", chosen.fresh)
    text = chosen.out / "simulation-proof.md"
    todo = [
        (part, key)
        for part in chosen.only
        for key in page.PARTS[part].cells()
        if key not in ledger and (byzfl() is not None or "|byzfl|" not in key)
    ]
    bar = Progress(TextColumn("{task.description:60}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                   console=console)  # fmt: skip
    with bar:
        task = bar.add_task("", total=0 if chosen.page else len(todo))
        for part, key in [] if chosen.page else todo:
            bar.update(task, description=key.replace("|", " · "))
            ledger.put(key, page.PARTS[part].run(key))
            bar.advance(task)
    text.write_text(page.page(ledger), encoding="utf-8")
    console.print(page.page(ledger), highlight=False, markup=False)
    console.print(f"wrote {os.path.relpath(text)}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
