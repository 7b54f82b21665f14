"""What a conversation is between two turns, and what a turn gives back. All of it is JSON-ready."""

from __future__ import annotations

import shlex
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from banyan.node.catalog.need import Need, Precision
from banyan.node.catalog.recommender import LeftOut

#: The languages of replies.
Tongue: TypeAlias = Literal["en", "de", "es", "fr"]

#: What can be asked. The first six about the need, in this order; ``change`` where nothing fits.
Topic: TypeAlias = Literal[
    "purpose", "detail", "language", "use", "license", "preference", "change", "confirm", "data", "serve"
]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Chip(_Facts):
    """One thing that was understood; ``drop {id}`` takes it back."""

    id: str
    name: str
    value: str
    label: str


class Choice(_Facts):
    """An answer that the question expects: ``edit`` is what it does."""

    label: str
    edit: str


class Question(_Facts):
    """The one thing that is asked."""

    topic: Topic
    choices: tuple[Choice, ...] = ()


class Action(_Facts):
    """What the person has agreed to. ``data`` is a file or folder to train on; with ``private`` what is learnt from it
    stays on this device."""

    do: Literal["clone", "train", "serve"]
    branch: str
    data: str | None = None
    private: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """The same as arguments of the command line."""
        match self.do:
            case "train":
                keep = ("--private",) if self.private else ()
                return ("train", "--branch", self.branch, f"--data={self.data}", *keep)
            case _:
                return (self.do, self.branch)

    @property
    def command(self) -> str:
        """The same as a command line."""
        return shlex.join(("banyan", *self.arguments))


class Proposal(_Facts):
    """An offer in short. ``memory`` in bytes at ``precision``."""

    path: str
    title: str
    score: float
    memory: int
    precision: Precision
    tokens_per_second: float | None
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]


class Line(_Facts):
    """One sentence or paragraph of a reply: a key of ``sentences.toml`` and what goes into it."""

    key: str
    facts: dict[str, str] = Field(default_factory=dict)


class Answer(_Facts):
    """What a turn gives back. ``reply`` says ``lines`` in ``language``; everything else is decided without it."""

    language: Tongue
    lines: tuple[Line, ...] = Field(exclude=True)
    reply: str
    chips: tuple[Chip, ...]
    question: Question | None
    offers: tuple[Proposal, ...]
    left_out: tuple[LeftOut, ...]
    changes: tuple[str, ...]
    actions: tuple[Action, ...]


class Dialogue(_Facts):
    """A conversation so far.

    ``settled`` are the topics that were answered or waved aside, ``asked`` those that were asked about; ``choices`` and
    ``offered`` are what numbers in the next turn mean; ``accepted`` is the branch that was taken.
    """

    need: Need = Need()
    settled: tuple[Topic, ...] = ()
    asked: tuple[Topic, ...] = ()
    pending: Topic | None = None
    choices: tuple[Choice, ...] = ()
    offered: tuple[str, ...] = ()
    accepted: str | None = None
    tongue: Tongue = "en"


class Said(_Facts):
    """A turn in free text."""

    text: str


class Edited(_Facts):
    """A turn that changes what was understood, as ``docs/assistant.md`` writes it."""

    edit: str


Turn: TypeAlias = Said | Edited | None
