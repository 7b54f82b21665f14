"""Rows of tables: CSV and TSV, and with pyarrow Parquet files and data sets saved by the Hugging Face library.

Each gives (line or row number from 1, row as a JSONL object would be), or None for a row that is left out.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from banyan.node.learning.columns import PROMPTS, RESPONSES, TEXTS, Columns, choose
from banyan.node.learning.errors import DataError

#: Rows of a Parquet file that are in memory at once.
BATCH = 1_024

_SHARD = re.compile(r"(?P<split>[a-z]+)-\d{5}-of-\d{5}")  # as the hub names the files of a split


@dataclass
class Account:
    """What became of a table: the columns that are learnt, and why how many rows are left out."""

    columns: str = ""
    left_out: Counter[str] = field(default_factory=Counter)


def read_csv(path: Path, field_bytes: int, account: Account) -> Iterator[tuple[int, dict[str, object]]]:
    """The rows of a CSV file with a header line: comma, semicolon, tab or bar, whichever the header has most of.

    ``account`` is kept while they are read. Raises :class:`DataError` naming the line that is no row of the table.
    """
    csv.field_size_limit(field_bytes)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = file.readline(field_bytes)
            delimiter = max(",;\t|", key=header.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            names = next(reader, [])
            columns = chosen(path, names)
            account.columns = columns.describe()
            line = reader.line_num + 1
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    account.left_out["empty row"] += 1
                elif len(cells) != len(names):
                    raise DataError(
                        str(path),
                        line,
                        f"this row has {len(cells)} cells where the header has {len(names)}",
                        "Put text that holds the separator or a line break in double quotes",
                    )
                elif (row := _filled(columns, dict(zip(names, cells, strict=True)), account)) is not None:
                    yield line, row
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise DataError(
            str(path), None, f"the text is not valid UTF-8 ({error})", "Save it as UTF-8"
        ) from None
    except csv.Error as error:
        raise DataError(str(path), line, f"this is not valid CSV ({error})", "Mend that line") from None


def read_arrow(path: Path, account: Account) -> Iterator[tuple[int, dict[str, object]]]:
    """The rows of a ``.parquet`` or ``.arrow`` file. Raises :class:`DataError`, also where pyarrow is not installed."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            str(path), None, "reading this kind of file needs pyarrow", "pip install 'banyan-fl[arrow]'"
        ) from None

    def batches() -> Iterator[Any]:
        if path.suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as table:
                yield from table.iter_batches(BATCH)
            return
        with pyarrow.memory_map(str(path)) as file:
            try:
                stream = pyarrow.ipc.open_stream(file)  # what save_to_disk writes
            except pyarrow.ArrowInvalid:
                file.seek(0)
                table = pyarrow.ipc.open_file(file)
                stream = (table.get_batch(i) for i in range(table.num_record_batches))
            for batch in stream:
                for at in range(0, len(batch), BATCH):
                    yield batch.slice(at, BATCH)

    number, columns, mark = 0, None, split_of(path)
    try:
        for batch in batches():
            columns = columns or chosen(path, batch.schema.names)
            account.columns = columns.describe()
            for values in batch.to_pylist():
                number += 1
                if (row := _filled(columns, values, account)) is not None:
                    yield number, {"split": mark, **row} if mark else row
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(str(path), None, f"this is no whole {path.suffix} file ({error})") from None


def chosen(path: Path, names: list[str]) -> Columns:
    """The columns to learn from. Raises :class:`DataError` naming those that are there."""
    columns = choose(names)
    if columns is None:
        raise DataError(
            str(path),
            None,
            f"none of its columns is known as text ({', '.join(names)[:200] or 'it has none'})",
            f"Name the column to learn {TEXTS[0]}, or two of them {PROMPTS[0]} and {RESPONSES[0]}",
        )
    return columns


def split_of(path: Path) -> str:
    """The split that a file's place says it is of, as data set libraries lay them out; empty: it says none."""
    if (path.parent.parent / "dataset_dict.json").is_file():
        return path.parent.name
    shard = _SHARD.fullmatch(path.stem)
    return shard["split"] if shard and path.suffix == ".parquet" else ""


def _filled(columns: Columns, values: dict[str, Any], account: Account) -> dict[str, object] | None:
    """The row, or None where a cell that is learnt is empty: tables often have gaps, which are no mistakes."""
    needed = (columns.prompt, columns.response) if columns.prompt else (columns.text or columns.messages,)
    for name in needed:
        value = values.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            account.left_out[f"{name} is empty"] += 1
            return None
    return columns.plain(values)
