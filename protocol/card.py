"""Model cards: what a branch is good for, in the words of those who lead it.

A card has two halves. The *sheet* is its author's word: description, languages, tasks, measurements. The *release*
that it describes is quoted whole, so that how old the model is, what it descends from and how many people's work is in
it are read from what a committee has signed the digest of, never from the author. Who may sign a card follows from that
release too: its committee, or a root of the charter.

One card of a branch counts, the newest. Everybody keeps all of them, so that a catalog answers without a network.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias

from banyan.protocol.release import Release, committee_of
from banyan.security.charter import Charter, Foundation
from banyan.security.credential import Credential, is_guest
from banyan.security.errors import Refused
from banyan.security.schema import Between, Digest, Length, Matches, Printable
from banyan.security.scope import Path

__all__ = ["Base", "Card", "CardRefused", "Probe", "Sheet", "check_card"]

_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}")


def _is_language(text: str) -> bool:
    return _LANGUAGE.fullmatch(text) is not None


def _is_text(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


Language: TypeAlias = Annotated[
    str, Length(2, 20), Matches(_is_language, "a language tag such as en or pt-BR")
]
Word: TypeAlias = Annotated[str, Length(1, 64), Printable]
Count: TypeAlias = Annotated[int, Between(1, 2**40)]
Task: TypeAlias = Literal[
    "chat",
    "question-answering",
    "summarisation",
    "writing",
    "translation",
    "classification",
    "extraction",
    "code",
]


class CardRefused(Refused):
    """A card that does not hold; ``reason`` is one of ``unknown-branch``, ``wrong-branch``, ``wrong-base``,
    ``guest``, ``not-on-committee``, ``unknown-release``, ``quarantined``, ``too-long``."""


@dataclass(frozen=True, slots=True)
class Base:
    """The base model below a branch's adapter, and the sizes that its memory follows from.

    ``kv_width`` is the width of one layer's keys, and of its values: heads that have some of their own times their
    width. ``context`` is the longest sequence, in tokens.
    """

    name: Annotated[str, Length(1, 128), Printable]
    digest: Digest
    license: Annotated[str, Length(0, 64), Printable]
    parameters: Annotated[int, Between(1, 2**50)]
    layers: Annotated[int, Between(1, 2**16)]
    hidden: Annotated[int, Between(1, 2**24)]
    intermediate: Annotated[int, Between(1, 2**26)]
    heads: Annotated[int, Between(1, 2**16)]
    kv_width: Annotated[int, Between(1, 2**24)]
    vocabulary: Annotated[int, Between(1, 2**26)]
    context: Annotated[int, Between(1, 2**40)]


@dataclass(frozen=True, slots=True)
class Probe:
    """One measurement of the release of ``height``: ``value`` over ``rows`` rows, 0 where their number is unknown.

    ``reported`` losses are medians of what the members said of their own held-out data.
    """

    metric: Annotated[str, Length(1, 40), Printable]
    value: float
    height: Annotated[int, Between(0, 2**40)]
    rows: Annotated[int, Between(0, 2**40)]
    source: Literal["measured", "reported"]


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the author of a card says. ``license`` is that of the adapter; the base has its own."""

    title: Annotated[str, Length(0, 80), Printable]
    description: Annotated[str, Length(0, 2_000), Matches(_is_text, "printable text")]
    languages: Annotated[tuple[Language, ...], Length(0, 32)]
    domains: Annotated[tuple[Word, ...], Length(0, 32)]
    tasks: Annotated[tuple[Task, ...], Length(0, 8)]
    license: Annotated[str, Length(0, 64), Printable]
    base: Base
    adapter_rank: Annotated[int, Between(1, 1_024)]
    adapter_parameters: Count
    adapter_inputs: Count
    """Numbers of the frozen A: rank · Σ cols_in."""

    probes: Annotated[tuple[Probe, ...], Length(0, 16)]


@dataclass(frozen=True, slots=True)
class Card:
    """``release`` is None for a branch that has none yet: then a root speaks."""

    branch: Path
    credential: Credential
    release: Release | None
    sheet: Sheet

    @property
    def height(self) -> int:
        """The height of the release; -1 without one."""
        return self.release.height if self.release else -1


def check_card(card: Card, author: str, charter: Charter, branches: Container[str]) -> None:
    """Check what follows from the card, the charter and the ``branches`` that there are; that the credential is good is
    the caller's to check.

    Raises:
        CardRefused: it is not about a branch of this network, contradicts its own release or the charter, or
            ``author`` may not sign it.
    """
    release = card.release
    if card.branch not in branches:
        raise CardRefused(
            "unknown-branch", f"This network has no branch {card.branch}, as far as this node knows"
        )
    if release is not None and release.branch != card.branch:
        raise CardRefused("wrong-branch", f"A card of {card.branch} names a release of {release.branch}")
    _check_base(card.sheet, charter.foundation_of(card.branch))
    if any(probe.height > max(0, card.height) for probe in card.sheet.probes):
        raise CardRefused(
            "unknown-release", "A measurement is of a release after the one that the card is of"
        )
    if author in charter.roots:
        return
    if is_guest(card.credential, charter):
        raise CardRefused("guest", "A guest does not speak for a branch")
    if release is None or author not in committee_of(release, charter.committee):
        raise CardRefused(
            "not-on-committee", f"The author has no seat on the committee of {card.branch} and is no root"
        )


def _check_base(sheet: Sheet, ground: Foundation) -> None:
    """What the charter says of a branch's base model and adapter is not for a card to change."""
    said, known, adapter = sheet.base, ground.base, ground.adapter
    shape = (sheet.adapter_rank, sheet.adapter_parameters)
    if (said.name, said.digest, said.parameters, said.license, *shape) != (
        known.name,
        known.digest,
        known.parameters,
        known.license,
        adapter.rank,
        adapter.dimension,
    ):
        raise CardRefused("wrong-base", "The card says of the branch's base model what the charter does not")
