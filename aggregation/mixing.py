"""Mixing rules for gossip: a node averages with its neighbours, around the one vector it can trust, its own.

A parent's rule has to find out which inputs to trust; a mixing rule knows one: the node's own. It measures
how far each neighbour is from there and nothing else, so its cost is O(n·d) and its decisions are the
node's alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from .arithmetic import Matrix, total
from .distances import lengths_from
from .errors import AggregationError, TooFewInputs
from .points import Points
from .rows import Float32s, Rows, origin, reference


@dataclass(frozen=True, eq=False)
class Mixture:
    """What a node made of its own vector and its neighbours'.

    - ``vector``: float32 (d,).
    - ``own``: the weight of the node's own vector; with ``weights`` it sums to one. None where ``weights`` is.
    - ``weights``: float64 (n,), the weight of each neighbour, in the order they were passed; None for rules
      that work column by column.
    - ``left_out``: positions of the neighbours without weight, ascending.
    - ``distances``: float64 (n,), how far each neighbour is from the node's own vector.
    """

    vector: Float32s
    own: float | None
    weights: Matrix | None
    left_out: tuple[int, ...]
    distances: Matrix


@dataclass(frozen=True)
class Surroundings:
    """What a mixing rule decides on: ``distances`` (n,) of the neighbours from the node's own vector, the
    ``length`` of that vector, and the ``progress`` of training in [0, 1]."""

    distances: Matrix
    length: float
    progress: float


class MixingRule(ABC):
    """A rule for one node and its n neighbours, at most ``f`` of which are malicious."""

    name: ClassVar[str]

    def __init__(self, f: int = 0) -> None:
        if isinstance(f, bool) or not isinstance(f, (int, np.integer)) or f < 0:
            raise AggregationError(f"f counts malicious neighbours: a whole number from 0 on, not {f!r}")
        self.f: Final = int(f)

    @property
    def minimum_n(self) -> int:
        """The fewest neighbours (without the node itself) for this f."""
        return max(1, 2 * self.f)

    def __repr__(self) -> str:
        return f"{type(self).name}(f={self.f})"

    def __call__(self, own: Any, neighbours: Any, *, progress: float = 0.0) -> Mixture:
        """Mix ``own`` (d,) with ``neighbours``, n vectors in any form that rules take.

        ``progress``: how much of the training is done, from 0 to 1, for rules that tighten with time.
        Raises :class:`AggregationError` like the rules.
        """
        rows = Rows(neighbours)
        if rows.n < self.minimum_n:
            raise TooFewInputs(self.name, rows.n, self.minimum_n, self.f)
        if not 0 <= progress <= 1:
            raise AggregationError(f"progress lies between 0 and 1, not {progress}")
        mine = reference(own, rows, "the node's own vector")
        distances = np.sqrt(lengths_from(mine, rows))
        itself = Rows([mine])
        length = float(np.sqrt(lengths_from(origin(itself), itself)[0]))
        weights = self.weigh(Surroundings(distances, length, progress))
        kept = 1 - total(weights)
        vector = Points(rows, mine).combine(np.concatenate([weights, [0.0, kept]]))
        placed, apart = np.empty((2, rows.n))
        placed[rows.order], apart[rows.order] = weights, distances
        return Mixture(vector, kept, placed, tuple(np.flatnonzero(placed == 0).tolist()), apart)

    @abstractmethod
    def weigh(self, around: Surroundings) -> Matrix:
        """The weight of each neighbour (n,); what is missing to one is the node's own."""


def clipped(distances: Matrix, radius: float) -> Matrix:
    """The share (n,) of the way to each neighbour that a step no longer than ``radius`` goes."""
    return np.minimum(1.0, radius / np.maximum(distances, 1e-300))
