"""What an idle daemon costs, against the limits the project set itself: 150 MB, 1 % of a core, 3 s to start.

Founds a network in a temporary directory, starts the real daemon with no data (so no worker runs), waits until it
has settled, and reads its memory and processor time from the operating system.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

LIMITS = {"memory_mb": 150.0, "processor_percent": 1.0, "start_seconds": 3.0}


def banyan(*arguments: str) -> None:
    command = [sys.executable, "-c", "from banyan.node.cli import main; main()", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def daemon_of(home: Path) -> psutil.Process:
    """The one process that runs a daemon on ``home``."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "banyan.node.daemon" in words and str(home) in words:
            return process
    raise SystemExit("The daemon is not running.")


def measure(seconds: float) -> dict[str, float]:
    """One founded, started, settled daemon: its start (s), memory (MB) and share of one core (%) over ``seconds``."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve() / "node"
        banyan("found", "footprint", "--home", str(home), "--preset", "lan")
        started = time.perf_counter()
        banyan("up", "--home", str(home))
        start = time.perf_counter() - started
        try:
            process = daemon_of(home)
            time.sleep(10)
            before = process.cpu_times()
            time.sleep(seconds)
            after = process.cpu_times()
            used = after.user + after.system - before.user - before.system
            return {
                "memory_mb": process.memory_info().rss / 1e6,
                "processor_percent": 100 * used / seconds,
                "start_seconds": start,
            }
        finally:
            banyan("down", "--home", str(home))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long to watch the idle daemon")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/daemon_footprint.json"))
    options = parser.parse_args()
    found = measure(options.seconds)
    for name, value in found.items():
        print(f"{name:20} {value:8.2f}   limit {LIMITS[name]:6.1f}   ratio {value / LIMITS[name]:.2f}")
    result = {
        "what": "an idle daemon without a worker, against the project's limits",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}",
        "measured": {name: round(value, 2) for name, value in found.items()},
        "limits": LIMITS,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    if any(found[name] > LIMITS[name] for name in LIMITS):
        sys.exit("A limit is exceeded.")


if __name__ == "__main__":
    main()
