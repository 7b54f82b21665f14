"""The clinician's walk on a real base model and real medical text: what each lesson, release and lift gains.

Run as ``python -m benchmarks.clinician``; writes ``benchmarks/results/clinician.json``. The model and the text lie
beside the repository, and without them it says so and measures nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT.parent / "shared" / "models" / "base-4m"
CORPUS = ROOT.parent / "shared" / "corpora" / "en" / "medical"
RESULT = ROOT / "benchmarks" / "results" / "clinician.json"


def main() -> int:
    """Run the walk and keep its summary; its exit code."""
    if missing := [str(each) for each in (BASE, CORPUS) if not each.is_dir()]:
        print(f"Skipped: there is no {' and no '.join(missing)}", file=sys.stderr)
        return 0
    walk = [
        sys.executable,
        "-m",
        "examples.clinician",
        "--base",
        str(BASE),
        "--corpus",
        str(CORPUS),
        "--json",
    ]
    done = subprocess.run([*walk, "--steps", "30"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        summary = json.loads(done.stdout)
        RESULT.write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
        print(f"Wrote {RESULT.relative_to(ROOT)}: {json.dumps(summary['losses'])}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
