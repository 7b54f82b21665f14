"""Rows of an owner's files, strictly read, and the split that keeps some of them apart for honest measurement.

| suffix | a row is |
|---|---|
| ``.jsonl``, ``.ndjson`` | a JSON object with ``text``, or ``prompt`` and ``response``, or ``messages`` (a list of |
| | ``{"role", "content"}``), or fields of :mod:`banyan.node.learning.columns` |
| ``.csv``, ``.tsv`` | a row of a table with a header |
| ``.parquet``, ``.arrow`` | a row of a table; Hugging Face data sets on disk are such (needs pyarrow) |
| ``.txt``, ``.md``, ``.markdown`` | a passage (:mod:`banyan.node.learning.passages`) |

Other fields are ignored, except ``split``:

- ``test`` (or ``validation``, ``dev``): held out, never trained on;
- ``pretrain``: what a base model may have seen; dropped where the caller asks;
- anything else, or none: training.

Where no row of the whole data set is marked as held out, every tenth one is, chosen by a hash of its content:
the choice does not depend on files, names or order, and equal rows always fall on the same side. A row whose
content is held out anywhere is trained on nowhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from banyan.node.learning.columns import choose
from banyan.node.learning.errors import DataError
from banyan.node.learning.passages import markdown_passages, text_passages
from banyan.node.learning.table_rows import Account, read_arrow, read_csv
from banyan.security.canonical import encode

ROW_BYTES = 1 << 20  # longer lines are refused: no tokenizer setting would use more of a row
HELD_OUT_SHARE = 0.1
HELD_OUT_SPLITS = frozenset({"test", "validation", "valid", "val", "dev", "eval"})
#: What is read, by suffix.
KINDS = {
    ".jsonl": "JSONL",
    ".ndjson": "JSONL",
    ".csv": "CSV",
    ".tsv": "CSV",
    ".txt": "text",
    ".md": "Markdown",
    ".markdown": "Markdown",
    ".parquet": "Parquet",
    ".arrow": "Arrow",
}
#: Files of a folder that speak about its data and are none of it, by the beginning of their names.
ABOUT = ("readme", "license", "licence", "changelog", "citation", "notice")
ROLES = ("system", "user", "assistant")

Turn: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """One example: ``turns`` of (role, content), or plain ``text`` as one turn without a role.

    The loss falls on the turns of the assistant, or on the whole of a plain text.
    """

    turns: tuple[Turn, ...]
    split: str = ""

    @property
    def is_text(self) -> bool:
        return self.turns[0][0] == ""

    @property
    def content(self) -> bytes:
        """A hash that equal rows share, whatever their file, order or extra fields."""
        return hashlib.sha256(b"banyan/row/1\0" + encode(self.turns)).digest()


@dataclass(frozen=True, slots=True)
class Dataset:
    """What is trained on, and what is only measured on. No content is in both."""

    training: tuple[Row, ...]
    held_out: tuple[Row, ...]


def load_dataset(paths: Iterable[Path], *, use_pretrain_rows: bool = True, measured: bool = False) -> Dataset:
    """Read files and folders (see :func:`files_of`) and split their rows.

    Raises :class:`DataError` naming the file and line of the first bad row, or, unless it is ``measured`` with only, if
    nothing is left to train on.
    """
    paths = tuple(paths)
    rows = [row for path in files_of(paths) for row in read_rows(path)]
    if not use_pretrain_rows:
        rows = [row for row in rows if row.split != "pretrain"]
    dataset = split(rows)
    if not dataset.training and not measured:
        raise DataError(
            ", ".join(map(str, paths)) or "no file",
            None,
            "there is no row to train on",
            "Add rows to it",
        )
    return dataset


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files among ``paths`` and every one below its folders that is data, in that order. Raises
    :class:`DataError` for a folder without any and for a file that is not there."""
    files = []
    for path in paths:
        below = [file for file, why in below_folder(path) if not why] if path.is_dir() else [path]
        if not below:
            raise DataError(
                str(path),
                None,
                f"there is no file in this folder that can be read ({', '.join(KINDS)})",
                "Put your rows there",
            )
        if not below[0].is_file():
            raise DataError(str(path), None, "there is no such file", "Check the path")
        files += below
    return files


def below_folder(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file below ``folder`` that is not hidden, sorted, each with why it is left out (empty: it is data)."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") for part in parts) or not path.is_file():
            continue
        if path.suffix.lower() not in KINDS:
            yield path, f"{path.suffix or 'no suffix'}: not a kind that is read"
        elif path.suffix.lower() in (".md", ".markdown", ".txt") and path.name.lower().startswith(ABOUT):
            yield path, "about the data"
        elif path.suffix.lower() == ".arrow" and path.name.startswith("cache-"):
            yield path, "a cache of the data set library"
        else:
            yield path, ""


def is_jsonl(path: Path) -> bool:
    """Whether the file is read as JSONL: rows of JSON objects that may say more than what is learnt."""
    return KINDS.get(path.suffix.lower(), "JSONL") == "JSONL"


def read_rows(path: Path, account: Account | None = None) -> Iterator[Row]:
    """The rows of one file, in order, by its suffix (any other than those of :data:`KINDS` is read as JSONL).

    Blank lines are skipped. ``account`` is kept of what a table holds. Raises :class:`DataError`.
    """
    kind = KINDS.get(path.suffix.lower(), "JSONL")
    account = account or Account()
    try:
        if kind == "JSONL":
            for number, line in _lines(path):
                if line.strip():
                    yield _row(_object(line, str(path), number), str(path), number)
        elif kind in ("CSV", "Parquet", "Arrow"):
            table = read_csv(path, ROW_BYTES, account) if kind == "CSV" else read_arrow(path, account)
            for number, value in table:
                yield _row(value, str(path), number)
        else:
            cut = markdown_passages if kind == "Markdown" else text_passages
            for passage in cut(_text_lines(path)):
                yield Row((("", passage),))
    except OSError as error:
        raise DataError(str(path), None, f"the file cannot be read ({error.strerror})") from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(ROW_BYTES + 1):
            number += 1
            if len(line) > ROW_BYTES:
                raise DataError(
                    str(path),
                    number,
                    f"the row is longer than {ROW_BYTES:,} bytes",
                    "Cut it into several rows",
                )
            yield number, line


def _text_lines(path: Path) -> Iterator[str]:
    for number, line in _lines(path):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                str(path), number, f"the text is not valid UTF-8 ({error})", "Save it as UTF-8"
            ) from None
        if "\0" in text:
            raise DataError(str(path), number, "this is no text: it holds a zero byte", "Give text files")
        yield text


def split(rows: Iterable[Row]) -> Dataset:
    """Divide rows into training and held-out ones; see the module's docstring for the rule."""
    rows = list(rows)
    hashes = [row.content for row in rows]
    marked = {digest for row, digest in zip(rows, hashes, strict=True) if row.split in HELD_OUT_SPLITS}
    held_out = marked or _chosen(hashes)
    training = tuple(row for row, digest in zip(rows, hashes, strict=True) if digest not in held_out)
    once = {digest: row for row, digest in zip(rows, hashes, strict=True) if digest in held_out}
    return Dataset(training, tuple(once[digest] for digest in sorted(once)))


def _chosen(hashes: list[bytes]) -> set[bytes]:
    """A tenth of the distinct contents by hash; at least one where there are two or more, and never all."""
    distinct = sorted(set(hashes))
    limit = round(HELD_OUT_SHARE * 2**64)
    chosen = {digest for digest in distinct if int.from_bytes(digest[:8]) < limit}
    if len(distinct) > 1 and not chosen:
        chosen = {distinct[0]}
    elif len(chosen) == len(distinct):
        chosen -= {distinct[-1]} if distinct else set()
    return chosen


def _object(line: bytes, file: str, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            file, number, f"this is not a JSON object ({error})", "Write one JSON object a line"
        ) from None
    if not isinstance(value, dict):
        raise DataError(file, number, "this is not a JSON object", "Write one JSON object a line")
    return value


def _row(value: dict[str, Any], file: str, number: int) -> Row:
    try:
        turns = _turns(value)
        encode(turns)  # lone surrogates have no encoding, and so no hash and no tokens
    except ValueError as problem:
        cure = 'Give {"text"}, {"prompt", "response"} or {"messages": [{"role", "content"}, …]}'
        raise DataError(file, number, str(problem), cure) from None
    except Exception as error:
        raise DataError(file, number, "the text is not valid Unicode") from error
    mark = value.get("split", "")
    return Row(turns, mark.lower() if isinstance(mark, str) else "")


def _turns(value: dict[str, Any]) -> tuple[Turn, ...]:
    """The turns of a row. Raises ValueError saying what is wrong with it."""
    if "messages" in value:
        messages = value["messages"]
        if not isinstance(messages, list) or not messages:
            raise ValueError("messages must be a list with at least one message")
        turns = tuple(_message(message) for message in messages)
        if not any(role == "assistant" for role, _ in turns):
            raise ValueError("none of the messages is the assistant's, so there is nothing to learn")
        return turns
    if "prompt" in value or "response" in value:
        return (("user", _text(value, "prompt", empty=True)), ("assistant", _text(value, "response")))
    if "text" not in value and (columns := choose(value, alone=False)) is not None:
        return _turns(columns.plain(value))
    return (("", _text(value, "text")),)


def _message(message: object) -> Turn:
    if not isinstance(message, dict):
        raise ValueError("each message must be an object with role and content")
    role = message.get("role")
    if role not in ROLES:
        raise ValueError(f"a message's role must be {', '.join(ROLES)}, not {role!r:.40}")
    return role, _text(message, "content", empty=role != "assistant")


def _text(value: dict[str, Any], field: str, empty: bool = False) -> str:
    text = value.get(field)
    if not isinstance(text, str):
        raise ValueError(f"the row has no {field}" if text is None else f"{field} must be text")
    if not empty and not text.strip():
        raise ValueError(f"{field} is empty")
    return text
