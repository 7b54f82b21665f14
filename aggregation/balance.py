"""BALANCE: average with the neighbours that are close enough, judged by one's own length."""

from __future__ import annotations

import math

import numpy as np

from .arithmetic import Matrix, total
from .errors import AggregationError
from .mixing import MixingRule, Surroundings


class Balance(MixingRule):
    """``α x + (1 - α) mean{xⱼ : |xⱼ - x| <= γ exp(-κ t/T) |x|}``; x alone where no neighbour is so close.

    No f is needed: neighbours are accepted one by one. The bound follows the length of the node's own
    vector, so it suits models better than updates, and tightens as training goes on (``progress`` t/T).

    ``reach`` γ: larger accepts more neighbours, honest and malicious. ``decay`` κ: how much the reach
    shrinks until the end. ``inertia`` α: the share of the node's own vector.

    *Condition*: n >= 1 neighbour. *Cost*: two passes, n·d multiplications.
    *Paper*: Fang et al., Byzantine-Robust Decentralized Federated Learning, 2024.

    >>> import numpy as np
    >>> x = np.array([[11], [13], [90]], np.float32)
    >>> Balance()(np.array([10], np.float32), x).vector
    array([11.], dtype=float32)
    """

    name = "balance"

    def __init__(self, f: int = 0, reach: float = 0.3, decay: float = 1.0, inertia: float = 0.5) -> None:
        super().__init__(f)
        if not (reach > 0 and decay >= 0 and 0 <= inertia <= 1):
            raise AggregationError("reach must be above zero, decay not negative, inertia between 0 and 1")
        self.reach, self.decay, self.inertia = reach, decay, inertia

    @property
    def minimum_n(self) -> int:
        return 1

    def weigh(self, around: Surroundings) -> Matrix:
        bound = self.reach * math.exp(-self.decay * around.progress) * around.length
        accepted = (around.distances <= bound).astype(np.float64)
        return accepted * ((1 - self.inertia) / max(1.0, total(accepted)))
