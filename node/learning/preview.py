"""What was understood of an owner's data, before anything is trained on it. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from banyan.node.learning.dataset import KINDS, Row, below_folder, files_of, read_rows, split
from banyan.node.learning.errors import DataError
from banyan.node.learning.table_rows import Account

#: Characters of rows whose tokens are counted; the rest is taken to be alike.
COUNTED = 2_000_000

#: Characters a token where there is no tokenizer to count with.
CHARACTERS_A_TOKEN = 4.0


@dataclass(frozen=True, slots=True)
class FileSeen:
    """One file: what it is taken for, its rows, the columns that are learnt (tables) and why rows are left out."""

    path: str
    kind: str
    rows: int
    columns: str
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True)
class Preview:
    """All of it. ``others`` are files that are not read, with the reason. ``tokens`` are ``counted`` with the base
    model's tokenizer, or else estimated."""

    files: tuple[FileSeen, ...]
    others: tuple[tuple[str, str], ...]
    training: int
    held_out: int
    conversations: int
    duplicates: int
    characters: int
    tokens: int
    counted: bool
    longest: int

    def plain(self) -> dict[str, object]:
        """JSON-ready."""
        return asdict(self)


def preview(paths: Iterable[Path], count_tokens: Callable[[list[str]], int] | None = None) -> Preview:
    """Read everything in ``paths`` as training will. ``count_tokens`` gives the tokens of texts, all together.

    Raises :class:`DataError` naming file and line of the first row that cannot be read, or if there is none.
    """
    paths = tuple(paths)
    seen: list[FileSeen] = []
    rows: list[Row] = []
    for path in files_of(paths):
        account = Account()
        before = len(rows)
        rows += read_rows(path, account)
        kind = KINDS.get(path.suffix.lower(), "JSONL")
        seen.append(FileSeen(str(path), kind, len(rows) - before, account.columns, dict(account.left_out)))
    if not rows:
        raise DataError(", ".join(map(str, paths)), None, "there is no row in it", "Add rows to it")
    dataset = split(rows)
    texts = ["\n".join(content for _, content in row.turns) for row in rows]
    characters = sum(map(len, texts))
    return Preview(
        files=tuple(seen),
        others=tuple(
            (str(file), why) for path in paths if path.is_dir() for file, why in below_folder(path) if why
        ),
        training=len(dataset.training),
        held_out=len(dataset.held_out),
        conversations=sum(not row.is_text for row in rows),
        duplicates=len(rows) - len({row.content for row in rows}),
        characters=characters,
        tokens=_tokens(texts, characters, count_tokens),
        counted=count_tokens is not None,
        longest=max(map(len, texts)),
    )


def tokenizer_of(folder: Path) -> Callable[[list[str]], int] | None:
    """Counts tokens as the base model in ``folder`` does; None where it has no ``tokenizer.json``."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda texts: sum(
        len(each) for each in tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    )


def _tokens(texts: list[str], characters: int, count: Callable[[list[str]], int] | None) -> int:
    if count is None:
        return round(characters / CHARACTERS_A_TOKEN)
    sample: list[str] = []
    length = 0
    for text in texts:
        if length >= COUNTED:
            break
        sample.append(text)
        length += len(text)
    return round(count(sample) * characters / length) if length else 0
