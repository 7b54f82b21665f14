"""Learning the teacher's probabilities of every next token, which say more than the one token that came, beside that
token (Hinton et al. 2015, "Distilling the knowledge in a neural network")."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from banyan.node.learning.adapter import AdaptedModel
from banyan.node.learning.tokens import IGNORED
from banyan.node.learning.trainer import Batch

#: How much of the loss of a new row is the teacher's; the rest is that of the row's own text. More: the better where
#: the teacher knows much more than so little text says, the worse where it knows less.
SHARE: Final = 0.5


class SoftenedProbabilities:
    """An :data:`~banyan.node.learning.trainer.Objective`: ``share`` · T² · KL(teacher ‖ student) of probabilities
    softened by the temperature T, plus (1 - ``share``) · the cross entropy of the text, the mean over the targets of
    the new rows (equation 1 and section 2 of the paper; T² keeps the size of gradients).

    Replayed rows are this device's own past, of which the teacher knows nothing: they keep the loss of their own text.
    ``vocabulary``: ids that both models have; logits beyond it pad a matrix and mean nothing.
    """

    def __init__(
        self, teacher: AdaptedModel, *, temperature: float, vocabulary: int, share: float = SHARE
    ) -> None:
        self._teacher = teacher
        self._temperature = temperature
        self._vocabulary = vocabulary
        self._share = share

    def __call__(self, model: AdaptedModel, batch: Batch, new: int) -> Tensor:
        targets = batch.labels[:, 1:] != IGNORED
        logits = model.peft(input_ids=batch.ids, attention_mask=batch.mask).logits[:, :-1]
        taught = divergence(
            logits[:new][targets[:new]][:, : self._vocabulary].float(),
            self._logits(batch.ids[:new], batch.mask[:new])[targets[:new]][:, : self._vocabulary].float(),
            self._temperature,
        )
        own = torch.nn.functional.cross_entropy(
            logits[targets].float(), batch.labels[:, 1:][targets], reduction="none"
        )
        is_new = torch.arange(len(targets), device=targets.device)[:, None].expand_as(targets)[targets] < new
        weights = torch.where(is_new, 1 - self._share, 1.0)
        return (self._share * taught + (weights * own).sum()) / targets.sum()

    @torch.no_grad()
    def _logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self._teacher.peft(input_ids=ids, attention_mask=mask).logits
        return logits[:, :-1]


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · Σ KL(softmax(teacher / T) ‖ softmax(student / T)) over rows of logits (targets, vocabulary), in nats."""
    goal = torch.log_softmax(teacher / temperature, -1)
    reached = torch.log_softmax(student / temperature, -1)
    return temperature**2 * torch.nn.functional.kl_div(reached, goal, reduction="sum", log_target=True)
