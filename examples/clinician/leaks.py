"""Whether notes can be found where they must not be: as text, or as the token ids that training makes of them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

#: Bytes of text, and tokens, that are looked for at a time. Whatever has been copied of a note and is twice as long as
#: one of these, less one, holds a whole one.
BYTES, TOKENS = 24, 8

#: How token ids may lie in a file.
FORMS: Final = ("<i4", "<i8", "<u2", ">i4")


class Traces:
    """Pieces of some people's notes that nobody else's have.

    Args:
        notes: the texts to look for.
        others: texts of other people, who may have said the same.
        encode: makes token ids of a text, as the base model reads it.
    """

    def __init__(
        self, notes: Sequence[str], others: Sequence[str], encode: Callable[[str], Sequence[int]]
    ) -> None:
        text_of_others = "\n".join(others)
        ids_of_others = {row for text in others for row in _rows(encode(text), 1)}
        self._pieces: set[bytes] = set()
        for text in {part for note in notes for part in (note, *note.splitlines())}:
            data = text.encode()
            pieces = (data[at : at + BYTES] for at in range(0, len(data) - BYTES + 1, BYTES))
            self._pieces |= {each for each in pieces if each.decode("utf-8", "ignore") not in text_of_others}
            rows = set(_rows(encode(text), TOKENS)) - ids_of_others
            self._pieces |= {np.asarray(row, form).tobytes() for row in rows for form in FORMS}

    def __len__(self) -> int:
        return len(self._pieces)

    def found_in(self, places: Iterable[Path], *, but: Container[str] = ()) -> Iterator[Path]:
        """The files at and below ``places`` that hold a piece, but for blobs whose digest (in hexadecimal) is in
        ``but``."""
        for place in places:
            for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
                if file.is_file() and not file.is_symlink() and file.parent.name + file.name not in but:
                    data = file.read_bytes()
                    if any(piece in data for piece in self._pieces):
                        yield file


def _rows(ids: Sequence[int], step: int) -> Iterator[tuple[int, ...]]:
    """Runs of ids; the first id is left out, since it depends on what stands before the text."""
    return (tuple(ids[at : at + TOKENS]) for at in range(1, len(ids) - TOKENS + 1, step))
