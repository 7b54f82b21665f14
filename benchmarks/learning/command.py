"""What the benchmarks of learning have in common: options, results that a later run goes on from, and their page."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch

from banyan.node.home import write_durably

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = ROOT / "benchmarks/results"
SHARED: Final = ROOT.parent / "shared"
SEEDS: Final = (1, 2, 3)


def command(
    prog: str,
    about: str | None,
    *,
    name: str,
    what: str,
    size: Any,
    measure: Callable[[argparse.Namespace, dict[str, Any], Path], None],
    page: Callable[[dict[str, Any]], str],
    draw: Callable[[dict[str, Any], Path], None],
) -> None:
    """Measure what is missing, print and write the results: ``name.{json,md,svg}``.

    ``measure`` is given the options, the results so far, to be added to, and the file that keeps them; results of
    another base model or another ``size`` (a dataclass) are not gone on from.
    """
    parser = argparse.ArgumentParser(
        prog=prog, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
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
    to = options.out / f"{name}.json"
    facts = {
        "what": what,
        "machine": f"{platform.machine()}, one core, torch {torch.__version__}, Python {platform.python_version()}",
        "base": options.base.resolve().name,
        "size": json.loads(json.dumps(asdict(size))),
    }
    result: dict[str, Any] = facts | {"runs": {}}
    if to.exists() and not options.fresh:
        earlier = json.loads(to.read_text("utf-8"))
        if (earlier["base"], earlier["size"]) == (facts["base"], facts["size"]):
            result = earlier
    if not options.report:
        for needed in (options.base, options.corpora):
            if not needed.exists():
                raise SystemExit(
                    f"There is nothing at {needed}. Name a base model and corpora with --base and --corpora."
                )
        torch.set_num_threads(1)
        measure(options, result, to)
    text = page(result)
    (options.out / f"{name}.md").write_text(text, "utf-8")
    draw(result, options.out / f"{name}.svg")
    print(text)


def keep(result: dict[str, Any], to: Path) -> None:
    """Write the results so far, with today's date."""
    result["date"] = datetime.now(UTC).date().isoformat()
    write_durably(to, (json.dumps(result, indent=1) + "\n").encode(), 0o644)
