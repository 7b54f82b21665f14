"""Bulyan: Krum again and again to choose, then the values closest to the median in every column."""

from __future__ import annotations

import numpy as np

from .arithmetic import Matrix
from .column_program import ColumnProgram
from .krum import krum_scores
from .meamed import closest_to_median
from .points import Points
from .rule import Aggregate, ColumnRule


class Bulyan(ColumnRule):
    """Krum chooses θ = n - 2f inputs, one after the other; then, in every column, the mean of the
    θ - 2f chosen values closest to the median of the chosen.

    Each choice is made by Krum on the inputs not chosen yet. The second step takes away the room that an
    attacker finds within a small distance when there are many columns. Needs many inputs, and does badly
    where honest inputs differ a lot.

    *Condition*: n >= 4f + 3. *Cost*: n²·d multiplications, one choice O(n² log n), then one pass.
    *Paper*: El Mhamdi et al., The Hidden Vulnerability of Distributed Learning in Byzantium, 2018.

    >>> import numpy as np
    >>> x = np.array([[1], [2], [3], [4], [5], [6], [1000]], np.float32)
    >>> Bulyan(f=1)(x).left_out
    (5, 6)
    """

    name = "bulyan"
    tolerance = 0.25

    @property
    def minimum_n(self) -> int:
        return 4 * self.f + 3

    def program(self, n: int) -> ColumnProgram:
        return closest_to_median(n, n - 2 * self.f)

    def aggregate(self, points: Points) -> Aggregate:
        chosen = choose(points.geometry.squared, self.f)
        result = super().aggregate(points.mixed(np.eye(points.n)[chosen]))
        left_out = () if points.mix is not None else tuple(set(range(points.n)) - set(chosen))
        return Aggregate(result.vector, left_out=left_out)


def choose(squared: Matrix, f: int) -> list[int]:
    """The n - 2f points that Krum chooses one after the other, in ascending order."""
    left = list(range(len(squared)))
    chosen = []
    for _ in range(len(squared) - 2 * f):
        best = left[int(np.argmin(krum_scores(squared[np.ix_(left, left)], f)))]
        chosen.append(best)
        left.remove(best)
    return sorted(chosen)
