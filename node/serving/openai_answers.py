"""What the server answers, in the shapes of OpenAI's API."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from banyan.node.serving.generation import Piece

Kind = Literal["chat", "completion"]


@dataclass
class Choice:
    """An answer as far as it has come."""

    text: str = ""
    tokens: int = 0
    finish: str | None = None
    release: str = ""

    def add(self, piece: Piece) -> None:
        """Take the next piece of it."""
        self.text += piece.text
        self.tokens, self.finish, self.release = piece.tokens, piece.finish, piece.release


@dataclass
class Answer:
    """One response: its name and time, the model's name, what its prompts cost."""

    kind: Kind
    model: str
    prompt_tokens: int
    choices: Sequence[Choice]
    created: int = field(default_factory=lambda: int(time.time()))
    id: str = ""

    def __post_init__(self) -> None:
        prefix = "chatcmpl" if self.kind == "chat" else "cmpl"
        self.id = self.id or f"{prefix}-{secrets.token_hex(12)}"

    def whole(self) -> dict[str, object]:
        """The answer to a request that does not stream."""
        choices = []
        for index, choice in enumerate(self.choices):
            said: dict[str, object] = (
                {"message": {"role": "assistant", "content": choice.text, "refusal": None}}
                if self.kind == "chat"
                else {"text": choice.text}
            )
            choices.append({"index": index, **said, "logprobs": None, "finish_reason": choice.finish})
        name = "chat.completion" if self.kind == "chat" else "text_completion"
        return self._head(name, self.choices[0].release) | {"choices": choices, "usage": self.usage()}

    def chunk(self, index: int, piece: Piece, *, first: bool = False) -> dict[str, object]:
        """One event of a stream; ``first`` says who speaks."""
        said: dict[str, object]
        if self.kind == "chat":
            delta = ({"role": "assistant"} if first else {}) | (
                {"content": piece.text} if piece.text or first else {}
            )
            said = {"delta": delta}
        else:
            said = {"text": piece.text}
        choice = {"index": index, **said, "logprobs": None, "finish_reason": piece.finish}
        return self._head(self._chunk_name, piece.release) | {"choices": [choice]}

    def last_chunk(self) -> dict[str, object]:
        """The event of a stream that says what it cost."""
        release = self.choices[0].release
        return self._head(self._chunk_name, release) | {"choices": [], "usage": self.usage()}

    def usage(self) -> dict[str, int]:
        """Tokens read and written; each prompt counts once, however many answers it gets."""
        written = sum(choice.tokens for choice in self.choices)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self.prompt_tokens + written,
        }

    @property
    def _chunk_name(self) -> str:
        return "chat.completion.chunk" if self.kind == "chat" else "text_completion"

    def _head(self, name: str, release: str) -> dict[str, object]:
        return {
            "id": self.id,
            "object": name,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"fp_{release}" if release else None,
        }


def event(plain: object) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


#: The last event of every stream.
DONE = b"data: [DONE]\n\n"
