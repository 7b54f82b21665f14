"""Edits of what was understood, as ``drop language:de`` or ``memory=4GB``: one line is one change."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from pydantic import ValidationError

from banyan.node.assistant.hearing import LONGEST, clean
from banyan.node.assistant.state import Line, Topic
from banyan.node.catalog import languages
from banyan.node.catalog.need import Need
from banyan.node.catalog.sizes import size_of
from banyan.node.catalog.subjects import subjects
from banyan.node.catalog.understand import understand
from banyan.node.catalog.words import fold, tokens

#: Chips' names and the fields of a need that they show.
FIELDS: Final = {
    "subject": "domains",
    "task": "tasks",
    "language": "languages",
    "asked-in": "written_in",
    "use": "use",
    "memory": "memory",
    "disk": "disk",
    "license": "license",
    "speed": "tokens_per_second",
    "private": "private",
    "prefer": "prefers",
    "words": "text",
}

#: The question that saying a chip anew, or dropping it, answers.
ANSWERS: Final[dict[str, tuple[Topic, ...]]] = {
    "subject": ("purpose", "detail"),
    "words": ("purpose",),
    "language": ("language",),
    "asked-in": ("language",),
    "use": ("use",),
    "license": ("license",),
    "prefer": ("preference",),
}

Verb: TypeAlias = Literal["drop", "set", "take", "data", "skip", "restart"]

_DROP: Final = re.compile(r"drop\s+([\w-]+)(?::(.+))?", re.IGNORECASE)
_SET: Final = re.compile(r"([a-z][\w-]*)\s*=\s*(.+)", re.IGNORECASE | re.DOTALL)
_TAKE: Final = re.compile(r"take\s+(\S+)", re.IGNORECASE)


class EditRefused(ValueError):
    """An edit that cannot be understood; ``line`` says why."""

    def __init__(self, key: str, **facts: str) -> None:
        super().__init__(key)
        self.line = Line(key=key, facts=facts)


class Edit:
    """An edit, taken apart. ``name`` is a chip's, or of ``take`` what is taken; ``value`` may be empty."""

    __slots__ = ("name", "value", "verb")

    def __init__(self, verb: Verb, name: str = "", value: str = "") -> None:
        self.verb, self.name, self.value = verb, name, value

    @property
    def chip(self) -> str:
        """The id of the chip that it is about."""
        return f"{self.name}:{self.value[:60]}" if self.value else self.name


def is_edit(text: str) -> bool:
    """Whether a turn of free text is meant as an edit: ``/drop use``, ``memory=4GB``."""
    plain = text.removeprefix("/")
    if plain.casefold() in ("skip", "restart") or _DROP.fullmatch(plain) or _TAKE.fullmatch(plain):
        return True
    found = _SET.fullmatch(plain)
    return found is not None and (text.startswith("/") or found[1].casefold() in (*FIELDS, "data"))


def parse(text: str) -> Edit:
    """The edit that ``text`` is, with or without a slash before it. Raises :class:`EditRefused`."""
    if len(text) > LONGEST:
        raise EditRefused("edit-too-long", most=str(LONGEST))
    plain = clean(text).removeprefix("/").strip()
    if plain.casefold() in ("skip", "restart"):
        return Edit("skip" if plain.casefold() == "skip" else "restart")
    if found := _TAKE.fullmatch(plain):
        return Edit("take", found[1])
    if found := _DROP.fullmatch(plain):
        return Edit("drop", _known(found[1]), (found[2] or "").strip())
    if found := _SET.fullmatch(plain):
        if found[1].casefold() == "data":
            return Edit("data", value=found[2].strip())
        return Edit("set", _known(found[1]), found[2].strip())
    raise EditRefused("edit-unknown", edit=plain[:60])


def apply(need: Need, edit: Edit) -> Need:
    """``need`` as an edit that drops or sets makes it. Raises :class:`EditRefused` and changes nothing."""
    changes = _dropped(need, edit) if edit.verb == "drop" else _SETTERS[edit.name](edit.value)
    if edit.name == "subject" and not _narrows(need.domains, changes["domains"]):
        changes["text"] = ""  # else the words would go on matching what is no longer meant
    try:
        return Need.model_validate(need.model_dump() | changes)
    except ValidationError:
        raise EditRefused("edit-value", name=edit.name, value=edit.value[:60]) from None


def _narrows(before: tuple[str, ...], after: tuple[str, ...]) -> bool:
    """Whether ``after`` only says more exactly what ``before`` did."""
    above = subjects().above
    return bool(after) and all(each in before or set(above(each)) & set(before) for each in after)


def _known(name: str) -> str:
    plain = name.casefold().replace("_", "-")
    if plain in FIELDS:
        return plain
    near = difflib.get_close_matches(plain, FIELDS, n=1, cutoff=0.5)
    raise EditRefused("edit-name", name=name[:40], names=", ".join(near or FIELDS))


def _dropped(need: Need, edit: Edit) -> dict[str, Any]:
    field = FIELDS[edit.name]
    value = getattr(need, field)
    if isinstance(value, tuple) and edit.value:
        wanted = _tag(edit.value) if edit.name == "language" else fold(edit.value)
        kept = tuple(each for each in value if fold(each) != wanted)
        if kept == value:
            raise EditRefused("edit-absent", what=edit.chip)
        gone = {"tasks": tuple(each for each in need.tasks if each != wanted)} if field == "domains" else {}
        return {field: kept, **gone}
    empty = Need.model_fields[field].get_default()
    if value == empty and edit.name != "use":
        raise EditRefused("edit-absent", what=edit.chip)
    return {field: empty}


# ---------------------------------------------------------------------------------------------- values


def _subjects(value: str) -> dict[str, Any]:
    known, found = subjects(), list[str]()
    for part in filter(None, map(str.strip, value.split(","))):
        words = tokens(part)
        name = "_".join(words)
        sure = {name: 1.0} if name in known.all else known.found(words)
        if not sure:
            near = difflib.get_close_matches(name, known.all, n=3, cutoff=0.4)
            raise EditRefused("edit-subject", value=part[:60], near=", ".join(near) or "…")
        found += [each for each in sure if each not in found]
    return {"domains": tuple(found)}


def _tasks(value: str) -> dict[str, Any]:
    found = tuple(dict.fromkeys("-".join(tokens(part)) for part in value.split(",") if tokens(part)))
    return {"tasks": found}


def _tags(value: str) -> dict[str, Any]:
    return {"languages": tuple(dict.fromkeys(_tag(part) for part in value.split(",") if part.strip()))}


def _tag(value: str) -> str:
    plain = "".join(tokens(value))
    if plain in languages.KNOWN:
        return plain
    tag = languages.names().get(plain)
    if tag is None:
        raise EditRefused("edit-language", value=value.strip()[:40])
    return tag


def _asked_in(value: str) -> dict[str, Any]:
    return {"written_in": _tag(value)}


def _size(field: str) -> Callable[[str], dict[str, Any]]:
    def read(value: str) -> dict[str, Any]:
        size = size_of(value)
        if size is None:
            raise EditRefused("edit-size", value=value[:40])
        return {field: size}

    return read


def _license(value: str) -> dict[str, Any]:
    plain = "-".join(value.casefold().split())[:64]
    return {"license": None if plain in ("any", "none") else plain}


def _rate(value: str) -> dict[str, Any]:
    found = re.fullmatch(r"(\d{1,6}(?:[.,]\d{1,3})?)(?:\s*tokens?.*)?", value.strip())
    if found is None:
        raise EditRefused("edit-value", name="speed", value=value[:40])
    return {"tokens_per_second": float(found[1].replace(",", "."))}


def _one_of(field: str, words: dict[str, Any], name: str) -> Callable[[str], dict[str, Any]]:
    def read(value: str) -> dict[str, Any]:
        plain = value.strip().casefold()
        if plain not in words:
            raise EditRefused("edit-choice", name=name, value=value[:40], known=", ".join(words))
        return {field: words[plain]}

    return read


def _words(value: str) -> dict[str, Any]:
    return {"text": value, "domains": understand(value).domains}


_SETTERS: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "subject": _subjects,
    "task": _tasks,
    "language": _tags,
    "asked-in": _asked_in,
    "use": _one_of("use", {"run": "run", "train": "train"}, "use"),
    "memory": _size("memory"),
    "disk": _size("disk"),
    "license": _license,
    "speed": _rate,
    "private": _one_of("private", {"yes": True, "no": False}, "private"),
    "prefer": _one_of("prefers", {"quality": "quality", "speed": "speed"}, "prefer"),
    "words": _words,
}
