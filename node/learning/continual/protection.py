"""How the training loop is told what must not be lost: rows to train on again, a penalty, a correction of each step."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from banyan.node.learning.tokens import Example


class Protection:
    """Protects nothing: training as if there were no past. Methods override what they need."""

    def rows(self, new: int) -> Sequence[Example]:
        """Rows that join a step's ``new`` new ones."""
        return ()

    def penalty(self, b: Sequence[Tensor]) -> Tensor | None:
        """What is added to the loss (nats a token), differentiable in the B matrices; None: nothing."""
        return None

    def correct(self, b: Sequence[Tensor]) -> None:
        """Change the B matrices in place after an optimiser step."""
