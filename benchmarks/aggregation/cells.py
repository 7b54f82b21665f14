"""One cell of the table: a rule on n rows of d numbers, all libraries in turn, again and again.

Interleaved, so that whatever else the machine does falls on all of them alike. A library is left out of a
cell, with the reason, where a call would take longer than the limit or more memory than there is.
"""

from __future__ import annotations

import datetime
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import psutil

from benchmarks.aggregation.peers import RULES, Call, contenders, malicious

NS = (5, 10, 20, 50)
DS = (100_000, 1_000_000, 10_000_000)

# Copies of the inputs that a library holds at its peak (measured at n = 20, d = 2e6), to stay within memory.
COPIES = {"byzfl-numpy": 4.0, "byzfl-torch": 3.5, "flower": 3.5}
COPIES_NNM = {"byzfl-numpy": 18.0, "byzfl-torch": 18.0}

QUICK = 0.01
"""Seconds below which a call is made several times in each turn, as long as that takes three times this, and
the quickest counted: the first finds the processor's caches full of another library's data."""

STEADY = 2.0
"""Seconds of a call from which on the first one counts too: it is long past any warming up."""

SLOWEST = 20.0
"""Seconds of a call after which a library is not called again in this cell."""

HOPELESS = 90.0
"""Seconds that a call would take, by the same library's time on shorter rows, to be left out at once."""


@dataclass
class Cell:
    """``seconds``: processor seconds of each call by library, ``wall``: seconds on the clock; ``left_out``:
    why a library has none.

    With one thread both are the same on a quiet machine; on a busy one the clock measures the neighbours.
    """

    rule: str
    n: int
    d: int
    f: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    wall: dict[str, list[float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    load: float = 0.0
    date: str = "2026-11-22"  # of the cells that were measured before cells kept their date

    def median(self, library: str) -> float | None:
        times = self.seconds.get(library)
        return statistics.median(times) if times else None

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def plan(
    ns: tuple[int, ...] = NS, ds: tuple[int, ...] = DS, rules: tuple[str, ...] = RULES
) -> list[tuple[int, int, str]]:
    """The cells to measure, small ones first."""
    return [
        (n, d, rule)
        for d in sorted(ds)
        for n in sorted(ns)
        for rule in rules
        if malicious(rule, n) is not None
    ]


def inputs(n: int, d: int) -> np.ndarray:
    """n float32 rows around a common direction, as updates are; the same at every run."""
    rng = np.random.default_rng(n * d)
    x = rng.standard_normal((n, d), dtype=np.float32)
    x += rng.standard_normal(d, dtype=np.float32)
    return x


def measure(
    rule: str, x: np.ndarray, repeats: int, tick: Callable[[], None], earlier: Sequence[Cell] = ()
) -> Cell:
    """Time every library on the rule, ``repeats`` times each in turn, after one call that is not counted."""
    n, d = x.shape
    f = malicious(rule, n)
    assert f is not None  # plan() left the others out
    cell = Cell(rule, n, d, f, load=os.getloadavg()[0], date=datetime.date.today().isoformat())
    running = contenders(rule, x, f)
    for library in list(running):
        if reason := _hopeless(library, cell, x.nbytes, earlier):
            cell.left_out[library] = reason
            del running[library]
    for turn in range(repeats + 1):
        for library, call in list(running.items()):
            took, wall = timed(call)
            if turn or took > STEADY:
                cell.seconds.setdefault(library, []).append(took)
                cell.wall.setdefault(library, []).append(wall)
            if took > SLOWEST or len(cell.seconds.get(library, [])) == repeats:
                del running[library]
        tick()
    return cell


def _hopeless(library: str, cell: Cell, size: int, earlier: Sequence[Cell]) -> str | None:
    """Why a library is left out of a cell: it would need more memory or time than there is."""
    needed = COPIES.get(library, 0.0)
    if cell.rule.startswith("nnm"):
        needed = COPIES_NNM.get(library, needed)
    if needed * size > 0.7 * psutil.virtual_memory().available:
        return f"{needed * size / 2**30:.0f} GB"
    for other in earlier:
        if (other.rule, other.n) == (cell.rule, cell.n) and library != "banyan":
            expected = (other.median(library) or 0) * cell.d / other.d
            if expected > HOPELESS or library in other.left_out:
                return other.left_out.get(library) or f"≈ {expected:.0f} s"
    return None


def timed(call: Call) -> tuple[float, float]:
    """Processor seconds and wall seconds of one call."""
    best = _timed(call)
    if best[0] < QUICK:
        more = min(20, int(3 * QUICK / max(best[0], 1e-6)))
        best = min(_timed(call) for _ in range(max(1, more)))
    return best


def _timed(call: Call) -> tuple[float, float]:
    prepare = getattr(call, "prepare", None)
    if prepare is not None:
        prepare()
    wall, start = time.perf_counter(), time.process_time()
    call()
    return time.process_time() - start, time.perf_counter() - wall
