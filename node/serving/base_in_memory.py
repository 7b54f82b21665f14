"""One base model in memory, and beside it a model for each release that is in use: they share every weight but B."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from banyan.node.learning.adapter import AdaptedModel
from banyan.node.learning.base_model import load, parameters_of
from banyan.node.learning.errors import ModelError
from banyan.node.learning.frozen import NONE, Frozen
from banyan.node.learning.layout import Vector
from banyan.security.model import AdapterSpec

#: ``(ids, mask, cache)`` to the logits of the last column, ``(rows, vocabulary)``. ``ids`` are int64 ``(rows, new)``,
#: ``mask`` is 1 where a column of cache and ids holds a token, ``(rows, old + new)``; the cache grows by the new ones.
Forward: TypeAlias = Callable[[Tensor, Tensor, DynamicCache], Tensor]

#: Room beside the weights that a model needs to be loaded and to speak (bytes).
SPARE = 256 << 20


class BaseInMemory:
    """A loaded base model with its tokenizer. Raises :class:`ModelError` and
    :class:`~banyan.node.learning.errors.AdapterError`."""

    def __init__(
        self, folder: Path, spec: AdapterSpec, shared_a: Mapping[str, Vector], device: str = "auto"
    ) -> None:
        if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
            check_fits(folder, available_memory())  # an accelerator says so itself
        base = load(folder, device)
        self.device = base.device
        self.tokenizer = base.tokenizer
        config = base.model.config.get_text_config()
        self.context = int(getattr(config, "max_position_embeddings", 1 << 20))
        self.ends = _ends(base.model.generation_config, self.tokenizer)
        self._pattern = AdaptedModel(
            base.model, rank=spec.rank, scale=spec.scale, tensors=spec.tensors, shared_a=shared_a
        )
        self._pattern.simplify()
        check_can_be_batched(base.model, self.device)

    def model_with(self, vector: Vector, later: Frozen = NONE) -> AdaptedModel:
        """The model whose B is ``vector`` (float32, Layout order), with ``later`` added. It holds memory of its own for
        these alone."""
        shared = [*self._pattern.peft.parameters(), *self._pattern.peft.buffers(), self._pattern.layout]
        own = {id(b) for b in self._pattern.trainable()}
        model = copy.deepcopy(self._pattern, {id(each): each for each in shared if id(each) not in own})
        model.set_vector(vector)
        model.freeze(later)
        return model

    def forward_of(self, model: AdaptedModel) -> Forward:
        """How a batch calls ``model``."""
        return forward_of(model.peft.base_model.model)


def forward_of(network: torch.nn.Module) -> Forward:
    """How a batch calls a causal language model of transformers."""
    only_last = (
        {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(network.forward).parameters else {}
    )

    def forward(ids: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
        places = (mask.cumsum(dim=-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        answer = network(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            **only_last,
        )
        logits: Tensor = answer.logits[:, -1]
        return logits

    return forward


def check_can_be_batched(network: torch.nn.Module, device: torch.device) -> None:
    """Raise :class:`ModelError` unless the model remembers by keys and values of each token alone."""
    cache, two = DynamicCache(), torch.zeros((1, 2), dtype=torch.long, device=device)
    try:
        with torch.inference_mode():
            forward_of(network)(two, torch.ones_like(two), cache)
        plain = bool(cache.layers) and all(
            type(layer) is DynamicLayer and layer.is_initialized and layer.get_seq_length() == 2
            for layer in cache.layers
        )
    except Exception:  # noqa: BLE001 - whatever such a model raises means the same
        plain = False
    if not plain:
        raise ModelError(
            f"{type(network).__name__} keeps another memory than the keys and values of each token, which this server "
            "cannot share between answers",
            "Export the model with `banyan export` and serve it with a tool made for it",
        )


def check_fits(folder: Path, free: int | None) -> None:
    """Raise :class:`ModelError` where the weights, as float32, are more than the ``free`` bytes (None: not known)."""
    needed = parameters_of(folder) * 4 + SPARE
    if free is not None and needed > free:
        raise ModelError(
            f"The base model needs {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free",
            "End other programs, or export it with `banyan export --format gguf` for a tool that quantises",
        )


def available_memory() -> int | None:
    """Bytes that a new program could use; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _ends(config: object, tokenizer: object) -> frozenset[int]:
    """The tokens after which the model has nothing more to say."""
    named = getattr(config, "eos_token_id", None)
    found = list(named) if isinstance(named, (list, tuple)) else [named]
    return frozenset(
        int(each) for each in (*found, getattr(tokenizer, "eos_token_id", None)) if each is not None
    )
