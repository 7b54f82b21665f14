"""A linear layer with its adapter, where both are only read: what PEFT's layer computes, bit for bit, without its
choices. On a small model, and a token at a time, those cost as much as the sums."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear


class AdaptedLinear(torch.nn.Module):
    """``x ↦ base(x) + scale · (x Aᵀ) Bᵀ``. The weights are those given, not copies.

    Args:
        base: the layer without an adapter.
        a: float ``(rank, cols_in)``.
        b: float ``(rows_out, rank)``.
        scale: by what the adapter's part is multiplied.
    """

    def __init__(
        self, base: torch.nn.Linear, a: torch.nn.Parameter, b: torch.nn.Parameter, scale: float
    ) -> None:
        super().__init__()
        self.base_layer, self.scale = base, scale
        self.lora_A, self.lora_B = a, b  # as PEFT calls them

    def forward(self, x: Tensor) -> Tensor:
        base, a = self.base_layer, self.lora_A
        plain = linear(x, base.weight, base.bias)
        added = linear(linear(x.to(a.dtype), a), self.lora_B) * self.scale
        return (plain + added).to(plain.dtype)
