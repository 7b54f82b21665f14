"""An aggregation rule as a mixing rule: the node's own vector is one more vote among its neighbours'."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arithmetic import Matrix
from .distances import lengths_from
from .errors import AggregationError, TooFewInputs
from .mixing import MixingRule, Mixture, Surroundings
from .rows import Rows, reference
from .rule import Rule


class Pooled(MixingRule):
    """``rule(x, x₁ … xₙ)``: the rule decides, and the node's own vector has one vote like any other.

    ``mean`` pooled is plain gossip, no defence; ``nnm+trimmed-mean`` kept the most under searched attacks (see
    docs/aggregation.md). Rules that clip around a centre clip around the node's own vector.

    *Condition*: one neighbour fewer than the rule needs inputs. *Cost*: the rule's, on n + 1 vectors.

    >>> import numpy as np
    >>> from banyan.aggregation import Median
    >>> x = np.array([[1], [2], [90]], np.float32)
    >>> Pooled(Median(f=1))(np.zeros(1, np.float32), x).vector
    array([1.5], dtype=float32)
    """

    name = "pooled"

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.f)
        self.rule = rule

    @property
    def minimum_n(self) -> int:
        return max(1, self.rule.minimum_n - 1)

    def __repr__(self) -> str:
        return f"pooled {self.rule!r}"

    def __call__(self, own: Any, neighbours: Any, *, progress: float = 0.0) -> Mixture:
        """See :class:`MixingRule`; ``weights`` and ``own`` are None where the rule works column by column."""
        if not 0 <= progress <= 1:
            raise AggregationError(f"progress lies between 0 and 1, not {progress}")
        rows = Rows(neighbours)
        if rows.n < self.minimum_n:
            raise TooFewInputs(self.rule.label, rows.n, self.minimum_n, self.f)
        distances = np.empty(rows.n)
        distances[rows.order] = np.sqrt(lengths_from(reference(own, rows, "the node's own vector"), rows))
        result = self.rule([own, *neighbours], around=own)
        left_out = tuple(index - 1 for index in result.left_out if index)
        if result.weights is None:
            return Mixture(result.vector, None, None, left_out, distances)
        return Mixture(result.vector, float(result.weights[0]), result.weights[1:], left_out, distances)

    def weigh(self, around: Surroundings) -> Matrix:
        raise AggregationError(f"{self!r} decides on the vectors, not on their distances from one's own")
