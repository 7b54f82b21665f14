"""One answer: what was asked for, how far it is, and who is told."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from banyan.node.serving.answer_text import AnswerText
from banyan.node.serving.sampling import Sampling
from banyan.security.errors import BanyanError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Finish = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True, slots=True)
class Wish:
    """A prompt as token ids (at least one), and how to go on from it."""

    ids: tuple[int, ...]
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    #: Whether the model's end-of-text token is a token like any other.
    ignore_end: bool = False
    #: Whether to tell of the answer once, when it is over: nobody waits for the parts of it.
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """News of an answer: more ``text``, ``tokens`` so far, the model's ``release``, and at the end why it is over."""

    text: str
    tokens: int
    release: str
    finish: Finish | None = None
    error: BanyanError | None = None


class Generation:
    """An answer being written. The engine's thread alone calls its methods but :meth:`cancel`."""

    def __init__(
        self, wish: Wish, tokenizer: PreTrainedTokenizerBase, deliver: Callable[[Piece], None]
    ) -> None:
        self.wish = wish
        self.release = ""
        self.tokens = 0
        self.cancelled = False
        self._over = False
        self._said = ""
        self._deliver = deliver
        self._text = AnswerText(tokenizer, wish.stop)
        self._random = random.Random(wish.sampling.seed)

    def cancel(self) -> None:
        """Give the answer up: nobody listens any more. It ends at the next token."""
        self.cancelled = True

    def draw(self) -> float:
        """The next uniform number of this answer's own."""
        return self._random.random()

    def take(self, token: int, ends: frozenset[int]) -> bool:
        """Add a token and tell; whether the answer is over."""
        self.tokens += 1
        if token in ends and not self.wish.ignore_end:
            self._tell(self._text.end(), "stop")
            return True
        text = self._text.hold(token) if self.wish.whole and not self.wish.stop else self._text.push(token)
        if self._text.stopped:
            self._tell(text, "stop")
            return True
        if self.tokens >= self.wish.max_tokens:
            text += self._text.end()
            self._tell(text, "stop" if self._text.stopped else "length")
            return True
        if self.wish.whole:
            self._said += text
        elif text:
            self._tell(text)
        return False

    def fail(self, error: BanyanError) -> None:
        """Tell that there will be no more, and why."""
        if not self._over:
            self._over = True
            self._deliver(Piece("", self.tokens, self.release, "error", error))

    def drop(self) -> None:
        """Tell that it was cancelled."""
        self._tell("", "cancelled")

    def _tell(self, text: str, finish: Finish | None = None) -> None:
        self._over = finish is not None
        self._deliver(Piece(self._said + text, self.tokens, self.release, finish))
