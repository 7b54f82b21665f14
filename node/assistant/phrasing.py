"""How an answer is worded. The sentences are the default; a local model may reword some of them, and decides nothing.

What is asked, what is agreed to and what was refused stays word for word: who says yes must know to what. Of the rest a
model's wording is taken only where it names the very paths, numbers and commands that the sentences name.
What it says in other words cannot be checked; the chips and offers beside it are the decision's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol

from banyan.node.assistant.hearing import clean
from banyan.node.assistant.sentences import language_name, said
from banyan.node.assistant.state import Answer, Line
from banyan.security.errors import BanyanError

#: The sentences that a model may reword: why an offer is made.
REWORDED: Final = frozenset(
    {
        "offer",
        "about",
        "general",
        "general-only",
        "near-only",
        "by-words",
        "unsaid",
        "knows",
        "foreign",
        "licensed",
        "fit",
    }
    | {
        "fit-tight",
        "fit-train",
        "reads-fast",
        "reads-slow",
        "learns",
        "certified",
        "claimed",
        "unreleased",
        "private",
    }
)

#: A wording may be this much longer than the sentences.
LONGER: Final = 2

_FACTS: Final = re.compile(r"`[^`]*`|(?<!\w)~?/[\w/.-]*\w|\d+(?:[.,]\d+)*")

PROMPT: Final = (
    "Say this to a person in {language}, in a friendly way and in a few sentences. Keep every name, path and number "
    "exactly as it is. Add nothing.\n\n{text}"
)


class Phrasing(Protocol):
    """Words an answer. Has no say in anything else: it is given what has been decided."""

    def phrase(self, answer: Answer) -> str: ...


class Plain:
    """The sentences as they are."""

    def phrase(self, answer: Answer) -> str:
        """``answer.reply``."""
        return answer.reply


class Reworded:
    """Lets ``model``, a prompt in and a text out, word the reasons of an offer; where it errs they stay as they are."""

    def __init__(self, model: Callable[[str], str]) -> None:
        self._model = model

    def phrase(self, answer: Answer) -> str:
        """The reply, each run of reasons in the model's words."""
        parts, run = list[str](), list[Line]()
        for line in answer.lines:
            if line.key in REWORDED:
                run.append(line)
                continue
            parts += self._reworded(run, answer)
            run = []
            parts.append(said([line], answer.language))
        return "\n".join(parts + self._reworded(run, answer))

    def _reworded(self, run: list[Line], answer: Answer) -> list[str]:
        if not run:
            return []
        plain = said(run, answer.language)
        try:
            wording = clean(
                self._model(PROMPT.format(language=language_name(answer.language, "en"), text=plain))
            )
        except BanyanError:
            return [plain]
        return [wording if is_faithful(wording, plain) else plain]


def is_faithful(wording: str, plain: str) -> bool:
    """Whether ``wording`` names what ``plain`` names, asks nothing, and is no essay."""
    return (
        bool(wording)
        and "?" not in wording
        and len(wording) <= LONGER * len(plain)
        and _facts(wording) == _facts(plain)
    )


def _facts(text: str) -> set[str]:
    return {found.rstrip(".,") for found in _FACTS.findall(text)}
