"""Compare the rules with ByzFL and Flower in one interleaved run.

    python -m benchmarks.aggregation                    # every cell that is not measured yet
    python -m benchmarks.aggregation --fresh            # every cell again
    python -m benchmarks.aggregation --n 20 --d 1e6     # some cells

Prints the table and writes ``benchmarks/results/aggregation.{json,md,svg}``. Libraries that are not installed
are named, with how to install them; the others are compared.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from pathlib import Path

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
RESULTS = Path(__file__).resolve().parents[1] / "results"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.aggregation", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--n", type=int, nargs="+", help="numbers of inputs (default 5 10 20 50)")
    parser.add_argument("--d", type=lambda v: int(float(v)), nargs="+", help="lengths (default 1e5 1e6 1e7)")
    parser.add_argument("--rules", nargs="+", help="rules (default: all that another library has too)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="calls of each library in each cell (default 5)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and torch (default 1)")
    parser.add_argument("--fresh", action="store_true", help="forget the cells measured before")
    parser.add_argument("--memory", action="store_true", help="measure extra memory too")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser.parse_args()


def main() -> int:
    chosen = options()
    for variable in THREAD_VARIABLES:  # read when the libraries load, so before any import of them
        os.environ[variable] = str(chosen.threads)
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Table

    from benchmarks.aggregation import cells, memory, peers, report

    console = Console()
    for sentence in peers.missing():
        console.print(sentence, style="yellow", highlight=False)
    if peers.byzfl() is not None:
        import torch

        torch.set_num_threads(chosen.threads)
    measured, footprints = ([], []) if chosen.fresh else report.load(chosen.out)
    planned = cells.plan(
        tuple(chosen.n or cells.NS), tuple(chosen.d or cells.DS), tuple(chosen.rules or peers.RULES)
    )
    done = {(cell.n, cell.d, cell.rule) for cell in measured}
    todo = [cell for cell in planned if cell not in done]
    bar = Progress(TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   TimeRemainingColumn(), console=console)  # fmt: skip
    with bar:
        task = bar.add_task("", total=sum(_cost(n, d) for n, d, _ in todo) * (chosen.repeats + 1))
        shape, x = (0, 0), cells.inputs(1, 1)
        for n, d, rule in todo:
            bar.update(task, description=f"{rule} n={n} d={d:.0e}")
            if shape != (n, d):
                shape, x = (n, d), cells.inputs(n, d)
            measured.append(
                cells.measure(
                    rule, x, chosen.repeats, lambda n=n, d=d: bar.advance(task, _cost(n, d)), measured
                )
            )
            report.save(chosen.out, measured, footprints, facts(chosen.threads, chosen.repeats, measured))
    if chosen.memory:
        footprints = footprint(console, memory)
    table = Table(*report.HEADER, title="Robust aggregation: median milliseconds and ratios")
    for line in report.rows(measured):
        table.add_row(*line)
    console.print(table)
    for path in report.save(
        chosen.out, measured, footprints, facts(chosen.threads, chosen.repeats, measured)
    ):
        console.print(f"wrote {os.path.relpath(path)}", highlight=False)
    worse = report.slower_cells(measured)
    console.print(f"Cells in which another library is faster: {len(worse)} of {len(measured)}")
    return 0


def _cost(n: int, d: int) -> int:
    """What a cell costs beside others, for the bar: its numbers, in tens of thousands."""
    return max(1, n * d // 10_000)


def footprint(console: object, memory: object) -> list[dict[str, object]]:
    """Extra memory at n = 20, d = 2e6 for each library, and of ours from maps at n = 50, d = 1e7."""
    from benchmarks.aggregation import peers, report
    from benchmarks.aggregation.memory import extra_megabytes

    lines: list[dict[str, object]] = []
    for rule in ("mean", "trimmed-mean", "multi-krum", "geometric-median", "bulyan", "nnm+trimmed-mean"):
        line: dict[str, object] = {"rule": rule, "inputs": "20 × 2e6 float32, 153 MB"}
        for library in report.LIBRARIES:
            if library == "banyan" or peers.missing() == []:
                value = extra_megabytes(rule, library, 20, 2_000_000)
                line[library] = "–" if value is None else f"{value:.0f}"
        lines.append(line)
    for rule in ("mean", "trimmed-mean", "nnm+multi-krum", "nnm+trimmed-mean", "geometric-median"):
        value = extra_megabytes(rule, "banyan", 50, 10_000_000, "int8 maps")
        line = {"rule": rule, "inputs": "50 × 1e7 int8 maps, 479 MB"}
        line |= dict.fromkeys(report.LIBRARIES, "–")
        lines.append(line | {"banyan": "–" if value is None else f"{value:.0f}"})
    return lines


def facts(threads: int, repeats: int, measured: list[object]) -> dict[str, str]:
    """Where, when and with what the run was made."""
    import importlib.metadata as metadata

    from banyan.aggregation.compiled import kernels

    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return "not installed"

    loads = [cell.load for cell in measured]
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": f"{platform.python_version()}, numpy {version('numpy')}, torch {version('torch')}",
        "compared": f"byzfl {version('byzfl')}, flwr {version('flwr')}",
        "kernel": "compiled" if kernels is not None else "NumPy",
        "threads": f"{threads}; {repeats} calls of each library in each cell, in turn",
        "load": f"{min(loads):.1f} to {max(loads):.1f} while it ran (other work on the machine)"
        if loads
        else "–",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
