"""A tokenizer in the terms of GGUF: what llama.cpp needs to cut text into the very same tokens.

llama.cpp knows ways of splitting text by name. A tokenizer that splits in a way without a name is refused: the file
would load, and read every text wrongly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gguf import TokenType

from banyan.node.serving.errors import ServingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Llama 3's expression for splitting text, as its tokenizer.json has it.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_BYTE = re.compile(r"<0x[0-9A-F]{2}>\Z")
_SPACE = "▁"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens by id with their types. ``model`` is GGUF's name: ``gpt2`` (byte-level, with ``merges`` and the splitting
    ``pre``) or ``llama`` (as sentencepiece, with ``scores``)."""

    model: str
    tokens: tuple[str, ...]
    types: tuple[TokenType, ...]
    pre: str = "default"
    merges: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    space_first: bool = False
    special: Mapping[str, int] = field(default_factory=dict)
    """Ids by what they are for: bos, eos, unk, pad."""


def vocabulary_of(tokenizer: PreTrainedTokenizerBase, size: int) -> Vocabulary:
    """The vocabulary of a model with ``size`` tokens. Raises :class:`ServingError` for a kind that is not known."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _unknown("has no tokenizer.json")
    plain = json.loads(backend.to_str())
    model = plain["model"]
    if model["type"] != "BPE":
        raise _unknown(f"is of the kind {model['type']}")
    named = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "unk", "pad")}
    special = {name: int(token) for name, token in named.items() if token is not None}
    tokens, types = _tokens(plain, size, special.get("unk"))
    pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
    if model.get("byte_fallback"):
        return _as_sentencepiece(plain, tokens, types, pairs, special)
    merges = tuple(" ".join(pair) for pair in pairs)
    return Vocabulary("gpt2", tokens, types, pre=_splitting(plain), merges=merges, special=special)


def _tokens(plain: Any, size: int, unknown: int | None) -> tuple[tuple[str, ...], tuple[TokenType, ...]]:
    tokens = [f"[PAD{i}]" for i in range(size)]
    types = [TokenType.UNUSED] * size
    for token, i in plain["model"]["vocab"].items():
        tokens[i], types[i] = token, TokenType.BYTE if _BYTE.match(token) else TokenType.NORMAL
    for added in plain["added_tokens"]:
        i = added["id"]
        tokens[i] = added["content"]
        types[i] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    if unknown is not None:
        types[unknown] = TokenType.UNKNOWN
    return tuple(tokens), tuple(types)


def _as_sentencepiece(
    plain: Any,
    tokens: tuple[str, ...],
    types: tuple[TokenType, ...],
    pairs: Sequence[Sequence[str]],
    special: Mapping[str, int],
) -> Vocabulary:
    """llama.cpp joins the neighbours whose token scores highest: a merge that comes earlier scores higher."""
    steps = _steps(plain["normalizer"], "normalizers") + _steps(plain["pre_tokenizer"], "pretokenizers")
    known = {
        json.dumps({"type": "Prepend", "prepend": _SPACE}),
        json.dumps({"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}),
    }
    first = [step for step in steps if step["type"] == "Prepend"]
    for step in steps:
        if step["type"] == "Metaspace" and step.get("replacement") == _SPACE and not step.get("split", True):
            first += [step] if step.get("prepend_scheme") in ("always", "first") else []
        elif json.dumps(step) not in known:
            raise _unknown(f"prepares text by {step['type']}")
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(pairs):
        ranks.setdefault("".join(pair), rank)
    lowest = float(-len(pairs) - 1)
    scores = tuple(-float(ranks[token]) if token in ranks else lowest for token in tokens)
    return Vocabulary("llama", tokens, types, scores=scores, space_first=bool(first), special=special)


def _splitting(plain: Any) -> str:
    """llama.cpp's name for how the tokenizer splits text before it merges."""
    if plain["normalizer"] is not None:
        raise _unknown(f"prepares text by {plain['normalizer']['type']}")
    match _steps(plain["pre_tokenizer"], "pretokenizers"):
        case [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]:
            return "gpt-2"
        case [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        ]:
            return "smollm"
        case [
            {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ] if expression == LLAMA_3:
            return "llama-bpe"
    raise _unknown("splits text in a way that llama.cpp has no name for, as far as we know")


def _steps(step: Any, inner: str) -> list[Any]:
    """The steps of a normalizer or pre-tokenizer, one after another."""
    if step is None:
        return []
    return list(step[inner]) if step["type"] == "Sequence" else [step]


def _unknown(why: str) -> ServingError:
    return ServingError(
        f"The base model's tokenizer {why}, and cannot be written as GGUF",
        "Use `--format merged`, which keeps the tokenizer as it is",
    )
