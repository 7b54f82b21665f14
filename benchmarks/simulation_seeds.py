"""Many seeds of the scenarios that try hardest to break the protocol, every invariant watched.

Run as ``python -m benchmarks.simulation_seeds [--seeds N] [--scenarios NAME …]``; by default 250 seeds of each of four
scenarios. It may be stopped and goes on where it was. Writes ``benchmarks/results/simulation-seeds.json`` and ``.md``;
exits with 1 where a seed failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from banyan.simulations.engines import open_engine
from banyan.simulations.engines.screen import shown
from banyan.simulations.engines.sweep import Finished, Sweep, broke
from banyan.simulations.invariants import INVARIANTS
from banyan.simulations.replay import replay_command
from banyan.simulations.run import run_scenario
from banyan.simulations.scenario import load

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks/results/simulation-seeds.json"
KEPT = ROOT / "build/simulation-seeds"
SCENARIOS = ("churn", "partition-heals", "committee-captured-minority", "all-attacks")


def outcome(scenario: str, seed: int) -> dict[str, Any]:
    """One run, in a few numbers."""
    record = run_scenario(load(scenario), seed)
    return {
        "finished": record.finished,
        "violations": [f"{v.invariant}: {v.where}: {v.what}" for v in record.violations],
        "releases": len(record.releases),
        "left_out": sum(len(release.left_out) for release in record.releases),
        "faults": len(record.faults),
        "events": record.events,
        "virtual_ms": record.virtual_ms,
        "trace": record.trace,
    }


def swept(scenario: str, seeds: int, console: Console) -> dict[str, Any]:
    from banyan.simulations.engines.job import Job

    jobs = [Job(f"{scenario} {seed}", {"scenario": scenario, "seed": seed}) for seed in range(seeds)]
    sweep = Sweep(jobs, "benchmarks.simulation_seeds:outcome", KEPT / scenario)
    console.print(f"{scenario}: {load(scenario).about}", highlight=False)
    with open_engine("local") as engine:
        finished = list(shown(sweep, engine, console))
    failing = sorted((each for each in finished if broke(each)), key=_seed)
    good = [each.result for each in finished if each.error is None]
    return {
        "scenario": scenario,
        "devices": load(scenario).devices,
        "seeds": len(finished),
        "failed": [{"seed": _seed(each), "why": _why(each)} for each in failing],
        **{name: sum(each[name] for each in good) for name in ("releases", "left_out", "faults", "events")},
        "virtual_hours": round(sum(each["virtual_ms"] for each in good) / 3_600_000, 1),
    }


def _seed(finished: Finished) -> int:
    return int(finished.job.arguments["seed"])


def _why(finished: Finished) -> str:
    if finished.error is not None:
        return finished.error
    return next(iter(finished.result["violations"]), "it did not reach its goal")


def page(found: dict[str, Any]) -> str:
    lines = [
        "# Seeds without a violation",
        "",
        f"- {found['date']}, {found['machine']}, {found['minutes']} minutes",
        f"- real Ed25519; {len(INVARIANTS)} invariants watched in every run: "
        + ", ".join(kind.name for kind in INVARIANTS),
        "",
        "| scenario | devices | seeds | failed | releases | votes left out | mishaps | events | virtual hours |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['scenario']} | {row['devices']} | {row['seeds']:,} | {len(row['failed'])} | {row['releases']:,} "
        f"| {row['left_out']:,} | {row['faults']:,} | {row['events']:,} | {row['virtual_hours']} |"
        for row in found["scenarios"]
    ]
    for row in found["scenarios"]:
        lines += [
            f"\n`{replay_command(row['scenario'], (), each['seed'])} --trace`: {each['why']}"
            for each in row["failed"]
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=250, help="of each scenario (default 250)")
    parser.add_argument("--scenarios", nargs="+", default=SCENARIOS)
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run had finished")
    chosen = parser.parse_args()
    console, started = Console(), time.time()
    if chosen.fresh:
        shutil.rmtree(KEPT, ignore_errors=True)
    rows = [swept(scenario, chosen.seeds, console) for scenario in chosen.scenarios]
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "minutes": round((time.time() - started) / 60),
        "scenarios": rows,
    }
    RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    RESULT.with_suffix(".md").write_text(page(found), encoding="utf-8")
    console.print(page(found), highlight=False)
    return 1 if any(row["failed"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
