"""Which columns of a table, or fields of an object, are what is learnt: by the names that data sets use for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: Names that are understood, the surest first, in lower case.
TEXTS = ("text", "content", "body", "note", "notes", "document", "article", "passage", "sentence", "report")
PROMPTS = ("prompt", "question", "instruction", "query", "input", "user", "problem")
RESPONSES = ("response", "answer", "output", "completion", "reply", "assistant", "target", "solution")
ADDITIONS = ("input", "context")


@dataclass(frozen=True, slots=True)
class Columns:
    """The chosen columns: ``messages`` alone, ``text`` alone, or ``prompt`` and ``response``; an ``addition`` that is
    not empty follows the prompt after a blank line. ``split`` marks held-out rows."""

    text: str = ""
    prompt: str = ""
    response: str = ""
    addition: str = ""
    messages: str = ""
    split: str = ""

    def describe(self) -> str:
        """As a reader would say it: ``question + context → answer``."""
        if self.prompt:
            asked = f"{self.prompt} + {self.addition}" if self.addition else self.prompt
            return f"{asked} → {self.response}"
        return self.text or self.messages

    def plain(self, row: Mapping[str, object]) -> dict[str, object]:
        """``row`` as the object that a line of JSONL would hold."""
        mark = {"split": row[self.split]} if self.split else {}
        if self.messages:
            return {"messages": row[self.messages], **mark}
        if self.prompt:
            prompt = row[self.prompt]
            if self.addition and row[self.addition]:
                prompt = f"{prompt}\n\n{row[self.addition]}"
            return {"prompt": prompt, "response": row[self.response], **mark}
        return {"text": row[self.text], **mark}


def choose(names: Iterable[str], *, alone: bool = True) -> Columns | None:
    """The columns to learn from among ``names``; None where none is known. A column that is ``alone`` in its table is a
    text whatever it is called."""
    names = [name for name in names if name]
    known = {name.strip().lower(): name for name in reversed(names)}
    split = known.get("split", "")
    if "messages" in known:
        return Columns(messages=known["messages"], split=split)
    prompt, response = _first(PROMPTS, known), _first(RESPONSES, known)
    if prompt and response:
        addition = _first([name for name in ADDITIONS if known.get(name) != prompt], known)
        return Columns(prompt=prompt, response=response, addition=addition, split=split)
    text = _first(TEXTS, known)
    others = [name for name in names if name != split]
    if not text and alone and len(others) == 1:
        text = others[0]
    return Columns(text=text, split=split) if text else None


def _first(wanted: Iterable[str], known: Mapping[str, str]) -> str:
    return next((known[name] for name in wanted if name in known), "")
