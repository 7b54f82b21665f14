"""A tree of federations against devices alone, one federation of all, and one a leaf, on real text.

    python -m benchmarks.learning                  # three seeds; goes on where an earlier run stopped
    python -m benchmarks.learning --seeds 4 5      # two more
    python -m benchmarks.learning --fresh          # everything again
    python -m benchmarks.learning --report         # write the page of what is there

Writes ``learning.{json,md,svg}`` to ``benchmarks/results/``; after every arm, so that a run may be cut off at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchmarks.learning.arms import ARMS, Course, Size, run, steps_of
from benchmarks.learning.command import command, keep
from benchmarks.learning.report import draw, page


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
            keep(result, to)


def main() -> None:
    """Measure, print and write the results."""
    size = Size()
    command(
        "python -m benchmarks.learning",
        __doc__,
        name="learning",
        what="held-out loss, nats a token, of leaves, domains and newcomers, by how devices learn together",
        size=size,
        measure=lambda options, result, to: measure(
            options.base, options.corpora, size, options.seeds, result, to
        ),
        page=page,
        draw=draw,
    )


if __name__ == "__main__":
    main()
