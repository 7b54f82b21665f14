"""What may be asked of the server, as OpenAI's API has it; what is not offered is refused by name, never ignored."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from banyan.node.learning.dataset import Turn
from banyan.node.serving.errors import RequestRefused
from banyan.node.serving.sampling import Sampling

#: Answers that one request may ask for.
MAX_CHOICES: Final = 8

#: Characters of one text, messages of one conversation, stop strings of one request.
MAX_TEXT, MAX_MESSAGES, MAX_STOPS = 1_000_000, 1_000, 4

#: Fields that say nothing about the answer, and are taken without a look.
UNHEEDED: Final = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "parallel_tool_calls",
    }
)

#: Fields that this server does not offer, with the values that ask for nothing.
NOT_OFFERED: Final[Mapping[str, tuple[object, ...]]] = {
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "prediction": (None,),
    "presence_penalty": (None, 0),
    "reasoning_effort": (None, "none"),
    "response_format": (None, {"type": "text"}),
    "suffix": (None, ""),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
}

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MAX_TEXT)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextPart(_Part):
    """A piece of a message's content."""

    type: Literal["text"]
    text: Text


class Message(_Part):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(max_length=MAX_MESSAGES)]
    name: str | None = Field(None, max_length=256)

    @property
    def turn(self) -> Turn:
        """Role and text, in the words that a chat template knows."""
        role = "system" if self.role == "developer" else self.role
        content = self.content
        return role, content if isinstance(content, str) else "".join(part.text for part in content)


class StreamOptions(_Part):
    """How a stream is to be."""

    include_usage: bool = False
    include_obfuscation: bool = False  # nothing is added to a stream, so there is nothing to leave out


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(None, max_length=512)
    max_tokens: int | None = Field(None, ge=1, le=1 << 30)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63)
    stop: (
        Annotated[str, Field(max_length=1_000)]
        | Annotated[list[Annotated[str, Field(max_length=1_000)]], Field(max_length=MAX_STOPS)]
        | None
    ) = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    #: Not OpenAI's: the end-of-text token ends nothing, as in vLLM; for measuring.
    ignore_eos: bool = False

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, without empty ones."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(each for each in given if each)

    @property
    def choices(self) -> int:
        """How many answers each prompt gets."""
        return self.n or 1

    def sampling(self, choice: int) -> Sampling:
        """How answer number ``choice`` is drawn: with a seed each is another, and the same each time."""
        return Sampling(
            1.0 if self.temperature is None else self.temperature,
            1.0 if self.top_p is None else self.top_p,
            None if self.seed is None else self.seed + choice,
        )


class ChatRequest(_Asked):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: int | None = Field(None, ge=1, le=1 << 30)

    @property
    def most(self) -> int | None:
        """The tokens an answer may have; None: as many as fit."""
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(_Asked):
    """``POST /v1/completions``. ``prompt`` is a text, several, or token ids."""

    prompt: (
        Text
        | Tokens
        | Annotated[list[Text], Field(min_length=1, max_length=MAX_CHOICES)]
        | Annotated[list[Tokens], Field(min_length=1, max_length=MAX_CHOICES)]
    )

    @property
    def most(self) -> int:
        """The tokens an answer may have; OpenAI's default."""
        return self.max_tokens or 16

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt, as text or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]  # type: ignore[list-item]
        return list(self.prompt)  # type: ignore[arg-type]


Asked = TypeVar("Asked", bound=_Asked)


def parse(model: type[Asked], body: bytes) -> Asked:
    """The request in ``body``. Raises :class:`RequestRefused` that names the field at fault."""
    try:
        plain: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestRefused(f"The request is not valid JSON ({error})") from None
    if not isinstance(plain, dict):
        raise RequestRefused("The request is not a JSON object")
    wanted = {}
    for name, value in plain.items():
        if name in UNHEEDED:
            continue
        if name in NOT_OFFERED and name not in model.model_fields:
            if value not in NOT_OFFERED[name]:
                raise RequestRefused(
                    f"{name} is not offered by this server",
                    "Leave it out",
                    code="unsupported_parameter",
                    param=name,
                )
            continue
        wanted[name] = value
    try:
        return model.model_validate(wanted)
    except ValidationError as error:
        raise _refusal(model, error) from None


def _refusal(model: type[_Asked], error: ValidationError) -> RequestRefused:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][:2])
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        near = difflib.get_close_matches(name, model.model_fields, n=1)
        cure = f"Did you mean {near[0]}?" if near else f"There are {', '.join(model.model_fields)}"
        return RequestRefused(
            f"Unrecognized request argument: {name[:64]}", cure, code="unknown_parameter", param=name[:64]
        )
    return RequestRefused(
        f"{name}: {first['msg']}",
        "See OpenAI's API reference for what it may be",
        code="invalid_value",
        param=name,
    )
