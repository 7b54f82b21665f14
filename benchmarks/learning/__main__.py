"""A tree of federations against devices alone, one federation of all, and one a leaf, on real text.

    python -m benchmarks.learning                  # three seeds; goes on where an earlier run stopped
    python -m benchmarks.learning --seeds 4 5      # two more
    python -m benchmarks.learning --fresh          # everything again
    python -m benchmarks.learning --report         # write the page of what is there

Writes ``learning.{json,md,svg}`` to ``benchmarks/results/``; after every arm, so that a run may be cut off at any time.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from banyan.node.home import write_durably
from benchmarks.learning.arms import ARMS, Course, Size, run, steps_of
from benchmarks.learning.report import draw, page

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results"
SHARED = ROOT.parent / "shared"
SEEDS = (1, 2, 3)


def measure(
    base: Path, corpora: Path, size: Size, seeds: Sequence[int], result: dict[str, Any], to: Path
) -> None:
    """Run what ``result`` lacks, and keep it after every arm."""
    runs = result["runs"]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    missing = [(seed, arm) for seed in seeds for arm in ARMS if arm not in runs.get(str(seed), {})]
    with Progress(*columns) as progress:
        bar = progress.add_task("learning", total=sum(steps_of(size, arm) for _, arm in missing))
        course: Course | None = None
        for seed, arm in missing:
            progress.update(bar, description=f"seed {seed}: {arm}")
            if course is None or course.seed != seed:
                course = Course(base, corpora, size, seed)
                course.school.on_steps = lambda steps: progress.advance(bar, steps)
            runs.setdefault(str(seed), {})[arm] = run(course, arm)
            result["date"] = datetime.now(UTC).date().isoformat()
            write_durably(to, (json.dumps(result, indent=1) + "\n").encode(), 0o644)


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--base", type=Path, default=SHARED / "models/stories-260k", help="folder of a base model"
    )
    parser.add_argument(
        "--corpora", type=Path, default=SHARED / "corpora", help="folder of the tree of JSONL files"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run had finished")
    parser.add_argument("--report", action="store_true", help="run nothing")
    options = parser.parse_args()
    size, to = Size(), options.out / "learning.json"
    about = {
        "what": "held-out loss, nats a token, of leaves, domains and newcomers, by how devices learn together",
        "machine": f"{platform.machine()}, one core, torch {torch.__version__}, Python {platform.python_version()}",
        "base": options.base.resolve().name,
        "size": json.loads(json.dumps(asdict(size))),
    }
    result: dict[str, Any] = about | {"runs": {}}
    if to.exists() and not options.fresh:
        earlier = json.loads(to.read_text("utf-8"))
        if (earlier["base"], earlier["size"]) == (about["base"], about["size"]):
            result = earlier
    if not options.report:
        for needed in (options.base, options.corpora):
            if not needed.exists():
                raise SystemExit(
                    f"There is nothing at {needed}. Name a base model and corpora with --base and --corpora."
                )
        torch.set_num_threads(1)
        measure(options.base, options.corpora, size, options.seeds, result, to)
    text = page(result)
    (options.out / "learning.md").write_text(text, "utf-8")
    draw(result, options.out / "learning.svg")
    print(text)


if __name__ == "__main__":
    main()
