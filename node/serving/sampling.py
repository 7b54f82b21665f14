"""Choosing the next token: each row of a batch by its own temperature, top-p and seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one answer is drawn. ``temperature`` 0 takes the likeliest token; ``seed`` makes the draws repeatable."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None


def choose(logits: Tensor, temperature: Tensor, top_p: Tensor, draws: Tensor) -> Tensor:
    """The next token of each row, int64 ``(rows,)``.

    ``logits`` are float ``(rows, vocabulary)``; ``temperature``, ``top_p`` and ``draws`` (uniform in [0, 1)) are
    float64 ``(rows,)``. A row's token depends on its own numbers only: neighbours in a batch do not change an answer.
    Top-p is nucleus sampling (Holtzman et al., 2020): the fewest likeliest tokens whose probabilities reach ``top_p``.
    """
    greedy = logits.argmax(dim=-1)
    if not bool((temperature > 0).any()):
        return greedy
    away = (logits - logits.amax(dim=-1, keepdim=True)).double()
    heat = torch.where(temperature > 0, temperature, torch.ones_like(temperature))
    likely, order = torch.softmax(away / heat[:, None], dim=-1).sort(dim=-1, descending=True, stable=True)
    before = likely.cumsum(dim=-1) - likely
    reach = likely.masked_fill(before >= top_p[:, None], 0.0).cumsum(dim=-1)
    at = torch.searchsorted(reach, draws[:, None] * reach[:, -1:], right=True).clamp(max=reach.shape[-1] - 1)
    return torch.where(temperature > 0, order.gather(1, at).squeeze(1), greedy)
