"""The numbers of a report as files: every record as JSON; nodes, releases and scores as CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from banyan.simulations.record import NodeFigures, ReleaseFigures, RunRecord, ScoreFigures

__all__ = ["read_records", "write_csv", "write_records"]


def write_records(records: Sequence[RunRecord], path: Path) -> None:
    """All of ``records``. JSON has no word for a number that is not finite: it is null here."""
    path.write_bytes(to_json(list(records), inf_nan_mode="null") + b"\n")


def read_records(path: Path) -> list[RunRecord]:
    """The inverse of :func:`write_records`; a loss that was not finite comes back as not a number.

    Raises:
        ValueError, KeyError, TypeError: the file holds no records.
    """
    found = json.loads(path.read_text("utf-8"))
    for data in found:
        for score in data["scores"]:
            score |= {name: math.nan for name in ("loss", "worst") if score[name] is None}
        data["alone"] = {branch: math.nan if loss is None else loss for branch, loss in data["alone"].items()}
    return [RunRecord.from_dict(data) for data in found]


def write_csv(records: Sequence[RunRecord], folder: Path) -> list[Path]:
    """``nodes.csv``, ``releases.csv`` and ``scores.csv``: the arm, then the fields of the record's classes.

    ``used`` is a JSON list of names, ``left_out`` a JSON list of names and reasons. What is None is an empty cell.
    """
    parts: list[tuple[str, type, Any]] = [
        ("nodes", NodeFigures, lambda record: record.nodes),
        ("releases", ReleaseFigures, lambda record: record.releases),
        ("scores", ScoreFigures, lambda record: record.scores),
    ]
    written = []
    for name, kind, rows in parts:
        columns = [field.name for field in fields(kind)]
        path = folder / f"{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["arm", *columns])
            table.writerows(
                [record.arm, *(_cell(getattr(row, column)) for column in columns)]
                for record in records
                for row in rows(record)
            )
        written.append(path)
    return written


def _cell(value: object) -> object:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, tuple) else value
