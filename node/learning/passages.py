"""Plain text and Markdown as passages: pieces that end where a reader would pause."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

#: Characters below which a passage takes the next paragraph along: scraps teach little and hold out badly.
SHORT = 400

#: Characters of a passage at most; a longer paragraph is cut after a sentence, or else between words.
LONG = 4_000

_HEADING = re.compile(r"#{1,6}\s")
_FENCE = re.compile(r"\s*(```|~~~)")
_PAUSE = re.compile(r"[.!?…]['\"”»)]*\s")


def text_passages(lines: Iterable[str]) -> Iterator[str]:
    """Passages of whole paragraphs, which blank lines part; at most :data:`LONG` characters each, never empty."""
    return _packed(_paragraphs(lines))


def markdown_passages(lines: Iterable[str]) -> Iterator[str]:
    """As :func:`text_passages`, a passage ending also before each heading; the front matter is left out."""
    section: list[str] = []
    for line in _marked(_body(lines)):
        if line is None:
            yield from text_passages(section)
            section = []
        else:
            section.append(line)
    yield from text_passages(section)


def _marked(lines: Iterable[str]) -> Iterator[str | None]:
    """The lines, with None before each heading: a ``#`` in a block of code is none."""
    in_code = False
    for line in lines:
        if _FENCE.match(line):
            in_code = not in_code
        elif not in_code and _HEADING.match(line):
            yield None
        yield line


def _body(lines: Iterable[str]) -> Iterator[str]:
    """What follows the front matter between two lines of three dashes, if the text begins with one."""
    iterator = iter(lines)
    head: list[str] = []
    for line in iterator:
        head.append(line)
        if line.strip() != "---":
            if len(head) == 1:
                break  # there is none
        elif len(head) > 1:
            head = []
            break
    yield from head  # all of it, where the second line of dashes never came
    yield from iterator


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    paragraph: list[str] = []
    for line in lines:
        if line.strip():
            paragraph.append(line.rstrip())
        elif paragraph:
            yield "\n".join(paragraph)
            paragraph = []
    if paragraph:
        yield "\n".join(paragraph)


def _packed(paragraphs: Iterable[str]) -> Iterator[str]:
    held = ""
    for paragraph in paragraphs:
        for piece in _cut(paragraph):
            joined = f"{held}\n\n{piece}" if held else piece
            if held and len(joined) > LONG:
                yield held
                held = piece
            elif len(joined) >= SHORT:
                yield joined
                held = ""
            else:
                held = joined
    if held:
        yield held


def _cut(paragraph: str) -> Iterator[str]:
    while len(paragraph) > LONG:
        ends = [match.end() for match in _PAUSE.finditer(paragraph, LONG // 2, LONG)]
        at = ends[-1] if ends else paragraph.rfind(" ", LONG // 2, LONG)
        at = at if at > 0 else LONG
        yield paragraph[:at].strip()
        paragraph = paragraph[at:].strip()
    if paragraph:
        yield paragraph
