"""``python -m examples.clinician``: the walk from beginning to end."""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from banyan.security.errors import BanyanError
from examples.clinician.story import CHAPTERS, Choices, Walk
from examples.clinician.terminal import Terminal, WalkFailed

EXAMPLES = """
examples:
  python -m examples.clinician                             made-up notes, the embedded model
  python -m examples.clinician --keep ~/walk               and look afterwards at what everybody holds
  python -m examples.clinician --json | jq .losses
  python -m examples.clinician --base MODEL --corpus NOTES your own model, and a folder with heart_lung.jsonl and
                                                           digestive_kidney.jsonl
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the walk; 0 if everything that it shows is so."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.clinician",
        description="A clinician asks for a model, teaches it local notes, uses it and shares what was learnt. Real "
        "processes and sockets on this machine; every command is shown before it runs, every claim is checked.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", type=Path, help="a base model's folder (default: the embedded one)")
    parser.add_argument("--corpus", type=Path, help="a folder of real notes (default: made up)")
    parser.add_argument(
        "--steps", type=int, default=10, help="optimiser steps a lesson (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=8, help="rows a step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=0.004, help="its peak (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the made-up notes (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this empty folder and leave it")
    parser.add_argument(
        "--json", action="store_true", help="print a summary as JSON; the story goes to stderr"
    )
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)
    try:
        choices = Choices(
            _folder(given.base),
            _folder(given.corpus),
            given.steps,
            given.batch,
            given.learning_rate,
            given.seed,
        )
        with _workplace(given.keep), Terminal(Console(stderr=given.json), CHAPTERS) as terminal:
            summary = Walk(choices, terminal).run()
        summary |= {"processor_seconds": _processor_seconds()}
    except BanyanError as error:
        print(f"clinician: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; everything that was started has ended.", file=sys.stderr)
        return 130
    if given.json:
        print(json.dumps(summary))
    else:
        print(f"\n{len(summary['checks'])} checks hold, in {summary['wall_seconds']:.0f} s.")
    return 0


def _processor_seconds() -> float:
    """What this process and all that it started have taken; they have ended."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(sum(each.ru_utime + each.ru_stime for each in used), 1)


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # an exit that ends what was started


def _folder(given: Path | None) -> Path | None:
    if given is not None and not given.is_dir():
        raise WalkFailed(f"{given} is no folder", "Check the path")
    return given.resolve() if given is not None else None


@contextmanager
def _workplace(keep: Path | None) -> Iterator[None]:
    """Work in ``keep``, or in a folder that is gone afterwards."""
    if keep is not None:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise WalkFailed(f"{keep} is not empty", "Choose another folder with --keep")
        keep.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="clinician-", ignore_cleanup_errors=True) as folder:
        os.chdir(keep or folder)
        try:
            yield
        finally:
            os.chdir(before)


if __name__ == "__main__":
    sys.exit(main())
