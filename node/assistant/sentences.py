"""How the assistant says things: ``sentences.toml`` in the languages that are understood."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Final, Literal

from banyan.node.assistant.state import Line, Tongue

TONGUES: Final[tuple[Tongue, ...]] = ("en", "de", "es", "fr")


def said(lines: Iterable[Line], tongue: Tongue) -> str:
    """``lines`` in ``tongue``, one a line."""
    return "\n".join(sentence(line.key, tongue, **line.facts) for line in lines)


def sentence(key: str, tongue: Tongue, **facts: str) -> str:
    """The sentence or label ``key``. Raises :class:`KeyError` for one that there is not, or a fact that it lacks."""
    return sentences()[tongue][key].format_map(facts)


def listed(items: Sequence[str], tongue: Tongue, word: Literal["and", "or"] = "and") -> str:
    """``a, b and c``."""
    *first, last = items or ("",)
    return f"{', '.join(first)} {sentence(word, tongue)} {last}" if first else last


def language_name(tag: str, tongue: Tongue) -> str:
    """``German``, ``alemán``; the tag itself where nobody knows it."""
    from babel import Locale

    return str(Locale(tongue).languages.get(tag, tag))


def subject_name(subject: str, tongue: Tongue) -> str:
    """A subject of ``subjects.toml`` in words."""
    names = _subject_names().get(subject)
    if tongue == "en" or names is None:
        return subject.replace("_", " ")
    return names[TONGUES.index(tongue) - 1]


@cache
def sentences() -> dict[Tongue, dict[str, str]]:
    """Every sentence by language and key."""
    return tomllib.loads(_text("sentences.toml"))  # type: ignore[return-value]


@cache
def _subject_names() -> dict[str, list[str]]:
    return tomllib.loads(_text("subject_names.toml"))


def _text(name: str) -> str:
    return files("banyan.node.assistant").joinpath(name).read_text("utf-8")
