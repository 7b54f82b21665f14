"""Extra memory of one call: how far the resident size of a fresh process rises while the rule runs.

Each measurement is a process of its own: ``python -m benchmarks.aggregation.memory RULE LIBRARY N D KIND``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from banyan.aggregation import EncodedVector, build
from benchmarks.aggregation.cells import inputs
from benchmarks.aggregation.peers import contenders, malicious

MEGABYTE = 1 << 20
KINDS = ("float32", "int8 maps", "float32 maps")


def extra_megabytes(rule: str, library: str, n: int, d: int, kind: str = "float32") -> float | None:
    """Peak extra megabytes of one call in a fresh process; None where it failed."""
    arguments = [sys.executable, "-m", "benchmarks.aggregation.memory", rule, library, str(n), str(d), kind]
    run = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return float(run.stdout.strip().splitlines()[-1]) if run.returncode == 0 else None


def mapped(n: int, d: int, kind: str, folder: Path) -> list[Any]:
    """n rows in files of their own, mapped into memory: float32, or int8 codes with their scales."""
    rng = np.random.default_rng(0)
    rows: list[Any] = []
    for i in range(n):
        path = folder / f"{i}.bin"
        if kind.startswith("int8"):
            rng.integers(-127, 128, d, np.int8).tofile(path)
            scales = rng.uniform(0.5, 1.5, -(-d // 1024)).astype(np.float32)
            rows.append(EncodedVector("int8", d, 1024, np.memmap(path, np.int8, "r"), scales))
        else:
            rng.standard_normal(d, np.float32).tofile(path)
            rows.append(np.memmap(path, np.float32, "r"))
    return rows


class Watch:
    """The largest resident size of this process while it is open, sampled every millisecond."""

    def __enter__(self) -> Watch:
        self._process, self._stop = psutil.Process(), threading.Event()
        self.start = self.most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.001):
            self.most = max(self.most, self._process.memory_info().rss)


def main(arguments: Sequence[str]) -> None:
    rule, library, n, d, kind = arguments[0], arguments[1], int(arguments[2]), int(arguments[3]), arguments[4]
    f = malicious(rule, n) or 0
    with tempfile.TemporaryDirectory() as folder:
        if kind == "float32":
            contenders(rule, inputs(n, 1000), f)[library]  # imports and first-call costs come before
            call = contenders(rule, inputs(n, d), f)[library]
            prepare = getattr(call, "prepare", None)
            if prepare is not None:
                prepare()
        else:
            made, rows = build(rule, f), mapped(n, d, kind, Path(folder))
            made([row.decode(0, 4096) if isinstance(row, EncodedVector) else row[:4096] for row in rows])

            def call() -> object:
                return made(rows)

        with Watch() as watch:
            kept = call()
        del kept
    print((watch.most - watch.start) / MEGABYTE)


if __name__ == "__main__":
    main(sys.argv[1:])
