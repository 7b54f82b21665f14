"""From tokens to text while they come: whole characters only, and nothing from a stop string on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: What a tokenizer writes for bytes that are no whole character.
UNFINISHED = "\ufffd"

#: Tokens that one character may take; more are no character, and are let out as they are.
LONGEST_CHARACTER = 8


class AnswerText:
    """The text of one answer. What :meth:`push` and :meth:`end` return, joined, is the answer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._ids: list[int] = []
        self._from = self._told = 0
        self._held = ""
        self.stopped = False
        """Whether a stop string has come; it and what follows it is not part of the answer."""

    def push(self, token: int) -> str:
        """Take the next token; what can be shown now."""
        self.hold(token)
        new = self._new()
        if new.endswith(UNFINISHED) and len(self._ids) - self._told < LONGEST_CHARACTER:
            return ""
        return self._let_out(new)

    def hold(self, token: int) -> str:
        """Take the next token and show nothing: cheaper, where no stop string can come."""
        self._ids.append(token)
        return ""

    def end(self) -> str:
        """What was held back and is part of the answer after all."""
        shown = self._let_out(self._new())
        held, self._held = self._held, ""
        return shown if self.stopped else shown + held

    def _new(self) -> str:
        """What the tokens that are not told yet add. A few told ones are decoded with them: alone, the first token of a
        piece loses its leading space in some tokenizers."""
        told = self._decode(self._ids[self._from : self._told])
        return self._decode(self._ids[self._from :])[len(told) :]

    def _let_out(self, new: str) -> str:
        if self.stopped or not new:
            return ""
        self._from, self._told = self._told, len(self._ids)
        text = self._held + new
        found = [at for at in map(text.find, self._stop) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of ``text`` that ``stop`` begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
