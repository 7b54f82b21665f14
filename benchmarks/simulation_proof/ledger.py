"""What has been measured so far, in one file, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

__all__ = ["Ledger", "mean", "nodes_table", "table", "worst"]

Pair: TypeAlias = "tuple[float | None, ...]"


class Ledger:
    """Figures by the key of their cell. Each new one is on disk before the next is measured."""

    def __init__(self, path: Path, fresh: bool = False) -> None:
        self._path = path
        kept = path.exists() and not fresh
        self._found: dict[str, dict[str, float]] = json.loads(path.read_text("utf-8")) if kept else {}

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def get(self, key: str) -> dict[str, float] | None:
        return self._found.get(key)

    def put(self, key: str, figures: dict[str, float]) -> None:
        self._found[key] = figures
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(
            f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(value)}"
            for name, value in self._found.items()
        )
        partial = self._path.with_suffix(".partial")
        partial.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
        os.replace(partial, self._path)


def mean(ledger: Ledger, keys: Iterable[str], figure: str) -> float | None:
    """The mean of ``figure`` over the cells that are measured; None if there is none."""
    some = [found[figure] for key in keys if (found := ledger.get(key)) is not None and figure in found]
    return statistics.mean(some) if some else None


def worst(shares: Sequence[float | None]) -> str:
    """The least of ``shares`` in percent, or a dash."""
    known = [share for share in shares if share is not None]
    return f"{100 * min(known):.1f}" if known else "–"


def table(rows: Mapping[str, Sequence[float | None]], columns: Iterable[str]) -> list[str]:
    """Markdown, shares in percent, the row with the best worst case first; rows without a figure are left out."""
    columns = list(columns)
    lines = ["| rule | " + " | ".join(columns) + " | **worst** |", "|" + " --- |" * (len(columns) + 2)]
    measured = {name: row for name, row in rows.items() if any(share is not None for share in row)}
    ranked = sorted(measured, key=lambda name: -min(s for s in measured[name] if s is not None))
    for name in ranked:
        cells = ["–" if share is None else f"{100 * share:.1f}" for share in measured[name]]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | **{worst(measured[name])}** |")
    return [*lines, ""]


def nodes_table(rows: Mapping[str, Sequence[Pair]], columns: Iterable[str]) -> list[str]:
    """Markdown of (mean, worst node) shares in percent; rows without a figure are left out."""
    columns = list(columns)
    lines = ["| rule | " + " | ".join(columns) + " |", "|" + " --- |" * (len(columns) + 1)]
    for name, row in rows.items():
        cells = [" / ".join("–" if share is None else f"{100 * share:.1f}" for share in pair) for pair in row]
        if any(share is not None for pair in row for share in pair):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]
