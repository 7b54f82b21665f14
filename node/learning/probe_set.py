"""A branch's probe set: a small public file of held-out rows that every voter tries a release on.

It is JSONL as training data is (:mod:`banyan.node.learning.dataset`), each row marked ``"split": "test"``, so that
whoever finds the file among training data does not learn it. Others wrote it: it is bounded and read strictly, and
refused with a reason that is counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from banyan.node.learning.dataset import Row, load_dataset, read_rows
from banyan.node.learning.errors import DataError, LearningError
from banyan.security.charter import PROBE_BYTES

__all__ = ["PROBE_ROWS", "ProbeError", "made_of", "opened"]

PROBE_ROWS: Final = 256
"""The most rows of a probe set: each costs every voter a pass of the model at every release."""

SPLIT: Final = "test"


class ProbeError(LearningError):
    """A file that is no probe set; ``reason`` is ``probe-too-long``, ``probe-malformed``, ``probe-empty``,
    ``probe-too-many-rows`` or ``probe-not-held-out``."""

    def __init__(self, reason: str, what: str, cure: str = "") -> None:
        super().__init__(what, cure)
        self.args = (reason, what, cure)
        self.reason = reason


def made_of(file: Path) -> bytes:
    """The probe set of the rows of ``file``, any file that could be trained on, in the order of the file.

    Raises :class:`ProbeError`, and :class:`DataError` naming the line of a bad row.
    """
    lines: list[bytes] = []
    size = 0
    for row in read_rows(file):
        lines.append(_line(row))
        size += len(lines[-1])
        _check(size, len(lines))
    if not lines:
        raise ProbeError("probe-empty", f"{file} has no rows", "Give a file with some held-out examples")
    return b"".join(lines)


@contextmanager
def opened(data: bytes) -> Iterator[Path]:
    """A file of the probe set in ``data``, checked row by row, for as long as the context lasts.

    Raises :class:`ProbeError`.
    """
    _check(len(data), 0)
    with TemporaryDirectory(prefix="banyan-probe-") as folder:
        file = Path(folder) / "probe.jsonl"
        file.write_bytes(data)
        number = 0
        try:
            for number, row in enumerate(read_rows(file), 1):
                _check(len(data), number)
                if row.split != SPLIT:
                    raise ProbeError("probe-not-held-out", f"Row {number} is not marked as held out")
        except DataError as error:
            raise ProbeError("probe-malformed", f"The probe set cannot be read: {error.what}") from error
        if not number or not load_dataset([file], measured=True).held_out:
            raise ProbeError("probe-empty", "The probe set has no rows")
        yield file


def _check(size: int, rows: int) -> None:
    cure = "Choose fewer or shorter rows"
    if size > PROBE_BYTES:
        raise ProbeError("probe-too-long", f"A probe set has at most {PROBE_BYTES:,} bytes", cure)
    if rows > PROBE_ROWS:
        raise ProbeError("probe-too-many-rows", f"A probe set has at most {PROBE_ROWS} rows", cure)


def _line(row: Row) -> bytes:
    if row.is_text:
        value: dict[str, object] = {"text": row.turns[0][1]}
    else:
        value = {"messages": [{"role": role, "content": content} for role, content in row.turns]}
    return json.dumps(value | {"split": SPLIT}, ensure_ascii=False).encode() + b"\n"
