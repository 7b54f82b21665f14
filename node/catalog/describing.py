"""The sheet of a branch's card: what its author says, and the sizes that are read from the base model's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from banyan.node.catalog.languages import KNOWN
from banyan.protocol.card import Base, Probe, Sheet
from banyan.security.charter import BaseModel as CharterBase
from banyan.security.charter import Charter
from banyan.security.errors import BanyanError
from banyan.security.schema import to_plain


class DescriptionError(BanyanError):
    """A branch cannot be described: its base model's sizes cannot be read."""


class Words(BaseModel):
    """What only a person can say of a branch. What is None stays as the card has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str | None = Field(None, max_length=80)
    description: str | None = Field(None, max_length=2_000)
    languages: tuple[str, ...] | None = Field(None, max_length=32)
    domains: tuple[str, ...] | None = Field(None, max_length=32)
    tasks: tuple[str, ...] | None = Field(None, max_length=8)
    license: str | None = Field(None, max_length=64)


def sheet(
    path: str, words: Words, before: Sheet | None, charter: Charter, base: Base, probes: Sequence[Probe]
) -> str:
    """The sheet of ``path`` as JSON: ``words``, where they say nothing those of the card ``before``, and without one
    what the path tells."""
    known = to_plain(before) if before is not None else _from_path(path)
    said = {name: value for name, value in words.model_dump(mode="json").items() if value is not None}
    plain = {name: said.get(name, known[name]) for name in Words.model_fields}
    adapter = charter.adapter_at(path)
    return json.dumps(
        {
            **plain,
            "base": {**to_plain(base), "digest": base.digest.hex()},
            "adapter_rank": adapter.rank,
            "adapter_parameters": adapter.dimension,
            "adapter_inputs": adapter.rank * sum(tensor.cols_in for tensor in adapter.tensors),
            "probes": [to_plain(probe) for probe in probes],
        }
    )


def base_of(config_file: Path, base: CharterBase) -> Base:
    """The sizes of the base model whose config.json this is, and which is the charter's ``base`` of a branch.

    Raises :class:`DescriptionError` where the file lacks them.
    """
    try:
        config: Any = json.loads(config_file.read_text("utf-8"))
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        return Base(
            name=base.name,
            digest=base.digest,
            license=base.license,
            parameters=base.parameters,
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(config.get("intermediate_size") or 4 * hidden),
            heads=heads,
            kv_width=int(config.get("num_key_value_heads") or heads)
            * int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
            context=int(config.get("max_position_embeddings") or 2_048),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise DescriptionError(
            f"The sizes of the base model {base.name} cannot be read ({type(error).__name__}: {error})",
            "Its config.json must name hidden_size, num_hidden_layers, num_attention_heads and vocab_size",
        ) from error


#: What a path may begin with for a language; ``/is`` or ``/it`` could be something else, and is corrected by its card.
_LANGUAGES: Final = frozenset(KNOWN)


def _from_path(path: str) -> dict[str, object]:
    """What a path tells: ``/en/medical`` is English, and about "medical"."""
    parts = [part.replace("_", " ") for part in path.strip("/").split("/") if part]
    languages = parts[:1] if parts and parts[0] in _LANGUAGES else []
    domains = parts[len(languages) :]
    return {
        "title": "",
        "description": "",
        "languages": languages,
        "domains": domains,
        "tasks": [],
        "license": "",
    }
