"""Elastic weight consolidation: a spring on every number of B, as stiff as earlier tasks need it to be.

Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks", equation 3, in the online form of
Schwarz et al. 2018, "Progress & Compress": one diagonal Fisher matrix, summed over the tasks, and one anchor, the B at
which the newest task began. So the size stays that of two adapters however many tasks there are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from banyan.node.learning.adapter import AdaptedModel
from banyan.node.learning.continual.protection import Protection
from banyan.node.learning.layout import Vector
from banyan.node.learning.progress import Progress, report
from banyan.node.learning.tokens import Example
from banyan.node.learning.trainer import collate


class ElasticWeights(Protection):
    """Adds λ/2 · Σᵢ Fᵢ (Bᵢ - B*ᵢ)² to the loss, with F = ``fisher``, B* = ``anchor`` and λ = ``strength``.

    Both are float32 in the layout's order. F is in nats a token, so λ = 1 is the second-order estimate of how much the
    earlier tasks' losses rise, summed over them.
    """

    def __init__(self, model: AdaptedModel, fisher: Vector, anchor: Vector, strength: float) -> None:
        self._fisher, self._anchor = (
            [torch.from_numpy(part.copy()).to(model.device) for part in model.layout.split(whole).values()]
            for whole in (fisher, anchor)
        )
        self._strength = strength

    def penalty(self, b: Sequence[Tensor]) -> Tensor:
        """See :class:`Protection`."""
        parts = zip(b, self._fisher, self._anchor, strict=True)
        total = sum(((fisher * (now - then) ** 2).sum() for now, fisher, then in parts), torch.zeros(()))
        return self._strength / 2 * total


def fisher(model: AdaptedModel, rows: Sequence[Example], *, seed: int, pad: int = 0) -> Vector:
    """The diagonal Fisher information of B at its present value, float32 ``(dimension,)``, in nats a token.

    F = Σ gₙ² / Σ Tₙ over ``rows``, where gₙ is the gradient of row n's whole log-likelihood and Tₙ its number of
    targets. The targets are drawn from the model's own distribution, as the Fisher's definition asks; with the rows'
    own ones it would be the empirical Fisher, which is no curvature (Kunstner et al. 2019). One row at a time.
    """
    b = model.trainable()
    squares = [torch.zeros_like(matrix) for matrix in b]
    chance = torch.Generator(device=model.device).manual_seed(seed)
    model.peft.eval()
    targets = 0
    for at, row in enumerate(rows):
        batch = collate([row], pad, model.device)
        logits = model.peft(input_ids=batch.ids, attention_mask=batch.mask).logits[0, :-1].float()
        logits = logits[batch.labels[0, 1:] >= 0]
        drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=chance).squeeze(-1)
        loss = torch.nn.functional.cross_entropy(logits, drawn, reduction="sum")
        for square, gradient in zip(squares, torch.autograd.grad(loss, b), strict=True):
            square += gradient**2
        targets += len(drawn)
        report(Progress("weigh earlier tasks", at + 1, len(rows)))
    names = (tensor.name for tensor in model.layout.tensors)
    matrices = {
        name: (square / max(1, targets)).cpu().numpy() for name, square in zip(names, squares, strict=True)
    }
    return model.layout.join(matrices)
