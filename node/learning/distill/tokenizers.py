"""Whether two tokenizers are the same: the same text gives the same ids, and an id means the same to both models."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Parts of a tokenizer's file that a library sets while it works; they change no id.
_OF_NO_MATTER = ("truncation", "padding")


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> bytes:
    """The SHA-256 of everything that decides which ids a text has: normaliser, pre-tokeniser, model with vocabulary
    and merges, added tokens, and the ids that begin and end a text.

    By content: names, folders and a chat template, which writes text before any id is made, do not matter.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        inner = json.loads(backend.to_str())
        for part in _OF_NO_MATTER:
            inner.pop(part, None)
    else:  # one without a file of rules: its class is the rules
        inner = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    marks = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    return hashlib.sha256(json.dumps([inner, marks], sort_keys=True).encode()).digest()


def same_tokenizer(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether both give every text the same ids, out of vocabularies of one size."""
    return len(one) == len(other) and fingerprint(one) == fingerprint(other)
