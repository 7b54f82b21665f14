"""ClippedGossip: step towards every neighbour, but towards none further than an honest one would be."""

from __future__ import annotations

import numpy as np

from .arithmetic import Matrix, total
from .mixing import MixingRule, Surroundings, clipped


class ClippedGossip(MixingRule):
    """``x + 1/(n+1) Σⱼ clip(xⱼ - x, τ)`` with the radius ``τ² = (1/f) Σ |xⱼ - x|²`` over the n - f nearest.

    The radius balances what clipping takes from honest neighbours against what it leaves to malicious
    ones. It grows as f becomes small beside n: an attacker then has a long lever (searched attacks bring
    it down; see docs/aggregation.md).

    *Condition*: n >= 2f neighbours. *Cost*: two passes, n·d multiplications.
    *Paper*: He, Karimireddy and Jaggi, Byzantine-Robust Decentralized Learning via ClippedGossip, 2022
    (the radius of its experiments, which needs no knowledge of who is honest).

    >>> import numpy as np
    >>> x = np.array([[3], [3], [90]], np.float32)
    >>> ClippedGossip(f=1)(np.zeros(1, np.float32), x).vector.round(2)
    array([2.56], dtype=float32)
    """

    name = "clipped-gossip"

    def weigh(self, around: Surroundings) -> Matrix:
        n = len(around.distances)
        radius = np.inf
        if self.f:
            nearest = np.sort(around.distances)[: n - self.f]
            radius = float(np.sqrt(total(nearest * nearest) / self.f))
        return clipped(around.distances, radius) / (n + 1)
