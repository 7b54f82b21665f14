"""Sizes of memory and disk as people write and read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from banyan.node.catalog.words import fold

_SIZE: Final = re.compile(r"(\d{1,6}(?:[.,]\d{1,3})?)\s*(tb|tib|to|gb|gib|go|gig|gigs|g|mb|mib|mo)\b")
_UNITS: Final = {"t": 10**12, "g": 10**9, "m": 10**6}


def sizes(text: str) -> Iterator[tuple[int, int, int]]:
    """Every size in ``text``, folded as :func:`~banyan.node.catalog.words.fold` does: bytes, begin, end."""
    for found in _SIZE.finditer(text):
        size = round(float(found[1].replace(",", ".")) * _UNITS[found[2][0]])
        if size:
            yield size, found.start(), found.end()


def size_of(text: str) -> int | None:
    """Bytes in ``4 GB``, ``512MB``, ``1,5 Go``; None where the text is anything else."""
    plain = fold(text).strip()
    return next((size for size, begin, end in sizes(plain) if (begin, end) == (0, len(plain))), None)


def in_words(count: float) -> str:
    """``7.1 GB``, ``512 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
