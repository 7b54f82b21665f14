"""Answers that one model writes together, a token each at a time; they come and go at any step (continuous batching,
Yu et al., "Orca", OSDI 2022).

Rows are padded on the left to one length, so that all of them end at the same column of one key-value cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from banyan.node.serving.base_in_memory import Forward
from banyan.node.serving.generation import Generation
from banyan.node.serving.sampling import choose


class Batch:
    """The answers that are being written with one release's model. Every call must be in ``torch.inference_mode``."""

    def __init__(self, forward: Forward, device: torch.device, ends: frozenset[int]) -> None:
        self._forward = forward
        self._device = device
        self._ends = ends
        self.rows: list[Generation] = []
        self._cache = DynamicCache()
        self._mask = torch.zeros((0, 0), dtype=torch.long, device=device)
        self._last = torch.zeros((0, 1), dtype=torch.long, device=device)
        self._heat = self._top_p = torch.zeros(0, dtype=torch.float64, device=device)

    def admit(self, rows: Sequence[Generation]) -> None:
        """Read the prompts of ``rows`` together, and write the first token of each."""
        length = max(len(row.wish.ids) for row in rows)
        ids = torch.zeros((len(rows), length), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, length - len(row.wish.ids) :] = torch.tensor(row.wish.ids)
            mask[i, length - len(row.wish.ids) :] = 1
        mask, cache = mask.to(self._device), DynamicCache()
        logits = self._forward(ids.to(self._device), mask, cache)
        heat, top_p = (
            torch.tensor([getattr(row.wish.sampling, name) for row in rows], dtype=torch.float64)
            for name in ("temperature", "top_p")
        )
        heat, top_p = heat.to(self._device), top_p.to(self._device)
        last = self._choose(rows, logits, heat, top_p)
        if self.rows:
            self._cache = _joined(self._cache, cache)
            width = max(self._mask.shape[1], length)
            mask = torch.cat([_wider(each, width) for each in (self._mask, mask)])
            last = torch.cat([self._last, last])
            heat, top_p = torch.cat([self._heat, heat]), torch.cat([self._top_p, top_p])
        else:
            self._cache = cache
        self.rows += rows
        self._mask, self._last, self._heat, self._top_p = mask, last, heat, top_p
        self._take(self._last[-len(rows) :], rows)

    def step(self) -> None:
        """Write one more token of every answer."""
        self._keep([row for row in self.rows if not row.cancelled])
        if not self.rows:
            return
        self._mask = pad(self._mask, (0, 1), value=1)
        logits = self._forward(self._last, self._mask, self._cache)
        self._last = self._choose(self.rows, logits, self._heat, self._top_p)
        self._take(self._last, self.rows)

    def clear(self) -> None:
        """Let every answer go, untold."""
        self._remain([])

    def _choose(self, rows: Sequence[Generation], logits: Tensor, heat: Tensor, top_p: Tensor) -> Tensor:
        draws = torch.tensor([row.draw() for row in rows], dtype=torch.float64).to(self._device)
        return choose(logits.float(), heat, top_p, draws)[:, None]

    def _take(self, tokens: Tensor, rows: Sequence[Generation]) -> None:
        """Give each of ``rows`` its token, and let those go that are over."""
        over = {
            id(row)
            for row, token in zip(rows, tokens[:, 0].tolist(), strict=True)
            if row.take(token, self._ends)
        }
        if over:
            self._remain([row for row in self.rows if id(row) not in over])

    def _keep(self, rows: list[Generation]) -> None:
        """Go on with ``rows`` only, and tell the others."""
        if len(rows) == len(self.rows):
            return
        for row in self.rows:
            if row.cancelled:
                row.drop()
        self._remain(rows)

    def _remain(self, rows: list[Generation]) -> None:
        kept = {id(row) for row in rows}
        places = [i for i, row in enumerate(self.rows) if id(row) in kept]
        self.rows = rows
        at = torch.tensor(places, dtype=torch.long, device=self._device)
        mask = self._mask[at]
        lead = (
            int(mask.argmax(dim=1).min()) if places else mask.shape[1]
        )  # columns in which nobody has anything
        self._mask = mask[:, lead:]
        self._last, self._heat, self._top_p = self._last[at], self._heat[at], self._top_p[at]
        if not places:
            self._cache = DynamicCache()
            return
        for layer in self._cache.layers:
            layer.keys, layer.values = (each[at, :, lead:] for each in (layer.keys, layer.values))


def _joined(one: DynamicCache, other: DynamicCache) -> DynamicCache:
    width = max(one.get_seq_length(), other.get_seq_length())
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        mine.keys = torch.cat([_longer(mine.keys, width), _longer(theirs.keys, width)])
        mine.values = torch.cat([_longer(mine.values, width), _longer(theirs.values, width)])
    return one


def _wider(mask: Tensor, width: int) -> Tensor:
    return pad(mask, (width - mask.shape[1], 0))


def _longer(states: Tensor, width: int) -> Tensor:
    """Keys or values ``(rows, heads, columns, size)`` with columns of zeros before them."""
    return pad(states, (0, 0, width - states.shape[2], 0))
