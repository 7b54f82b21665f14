"""What every rule is: a function of n vectors that says what it chose, composed with ``>>``.

A rule is one of two kinds, by what it needs of its inputs:

- a :class:`WeightRule` looks at mutual distances only and answers with one weight per point; its vector
  is the weighted sum. Krum, the geometric median and centered clipping are of this kind.
- a :class:`ColumnRule` looks at each column by itself. Trimmed mean and median are of this kind.

A :class:`PreAggregation` replaces the points by mixtures of them, in weights, so that a chain of any
length costs one pass over the inputs for the distances and one for the values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np

from .arithmetic import Matrix
from .column_program import ColumnProgram
from .errors import AggregationError, TooFewInputs
from .points import Points
from .rows import Float32s, Rows, reference


class Decision(NamedTuple):
    """Weights (p,) over the base rows (inputs, origin, centre), and the score (n,) of each input or None."""

    shares: Matrix
    scores: Matrix | None


@dataclass(frozen=True, eq=False)
class Aggregate:
    """What a rule made of n inputs of length d.

    - ``vector``: float32 (d,).
    - ``weights``: float64 (n,), the share of each input in the vector, in the order of the inputs; None
      for rules that work column by column. They sum to one unless something else (the origin, the centre
      of a clipping) takes part.
    - ``left_out``: positions of the inputs that have no share at all, ascending.
    - ``scores``: float64 (n,), what the rule judged each input by (its docstring says what; lower is
      better), or None.
    """

    vector: Float32s
    weights: Matrix | None = None
    left_out: tuple[int, ...] = ()
    scores: Matrix | None = None


class Rule(ABC):
    """A rule for n vectors, at most ``f`` of which are malicious.

    Calling it raises :class:`banyan.aggregation.errors.AggregationError` (a ``ValueError``): too few inputs
    for f, lengths that differ, another dtype than float32, rows with NaN or infinities (named by index).
    The result depends neither on the order of the inputs nor on the number of threads, to the last bit.
    """

    name: ClassVar[str]
    tolerance: ClassVar[float]

    def __init__(self, f: int = 0) -> None:
        if isinstance(f, bool) or not isinstance(f, (int, np.integer)) or f < 0:
            raise AggregationError(f"f counts malicious inputs: a whole number from 0 on, not {f!r}")
        self.f: Final = int(f)

    @property
    @abstractmethod
    def minimum_n(self) -> int:
        """The fewest inputs the rule's guarantee needs with this f; fewer are refused."""

    @property
    def breakdown(self) -> float:
        """The share f / n of malicious inputs that the rule's guarantee approaches as n grows."""
        return type(self).tolerance

    @property
    def label(self) -> str:
        """The name as :func:`banyan.aggregation.build` reads it, such as ``nnm+multi-krum``."""
        return type(self).name

    def __repr__(self) -> str:
        return f"{self.label}(f={self.f})"

    def __call__(self, updates: Any, *, around: Any = None) -> Aggregate:
        """Aggregate n vectors of length d.

        ``updates``: a float32 array (n, d), or a sequence of n rows, each a float32 array (also a memory
        map), a torch tensor, or an :class:`banyan.aggregation.encoding.EncodedVector`.
        ``around``: a trusted vector (d,) such as the previous aggregate, used by rules that clip around
        a centre and ignored by the others; by default the origin, which for updates is "no change".
        """
        rows = Rows(updates)
        self.check(rows.n)
        return self.judge(Points(rows, None if around is None else reference(around, rows, "the centre")))

    def judge(self, points: Points) -> Aggregate:
        """The rule on checked inputs: what calling it gives, for distances that were measured elsewhere."""
        return _in_input_order(self.aggregate(points), points.rows)

    def check(self, n: int) -> None:
        """Raise :class:`TooFewInputs` where n is below :attr:`minimum_n`."""
        if n < self.minimum_n:
            raise TooFewInputs(self.label, n, self.minimum_n, self.f)

    @abstractmethod
    def aggregate(self, points: Points) -> Aggregate:
        """The rule on checked points, in their canonical order; ``weights`` over all base rows."""

    def decide(self, points: Points) -> Decision:
        """The weights alone, for vectors that are known by their distances only."""
        raise AggregationError(f"{self.label} works column by column and gives no weights to inputs")


class WeightRule(Rule):
    """A rule that needs mutual distances only, and answers with a weight for each point."""

    @abstractmethod
    def weigh(self, points: Points) -> tuple[Matrix, Matrix | None]:
        """Weights over the points (n,), or (n + references,), and the score of each point or None."""

    def decide(self, points: Points) -> Decision:
        weights, scores = self.weigh(points)
        return Decision(points.shares(weights), scores if points.mix is None else None)

    def aggregate(self, points: Points) -> Aggregate:
        shares, scores = self.decide(points)
        return Aggregate(points.combine(shares), shares, scores=scores)


class ColumnRule(Rule):
    """A rule that treats every column by itself."""

    @abstractmethod
    def program(self, n: int) -> ColumnProgram:
        """The rule for n values of one column."""

    def aggregate(self, points: Points) -> Aggregate:
        return Aggregate(points.columns(self.program(points.n)))


class PreAggregation(ABC):
    """Replaces the inputs by mixtures of them, before a rule: ``pre >> rule``."""

    name: ClassVar[str]

    def __init__(self, f: int = 0) -> None:
        if isinstance(f, bool) or not isinstance(f, (int, np.integer)) or f < 0:
            raise AggregationError(f"f counts malicious inputs: a whole number from 0 on, not {f!r}")
        self.f: Final = int(f)

    @property
    def minimum_n(self) -> int:
        """The fewest inputs it needs with this f."""
        return 2 * self.f + 1

    def outputs(self, n: int) -> int:
        """How many points it makes of n."""
        return n

    def inputs(self, outputs: int) -> int:
        """The fewest inputs of which it makes at least ``outputs`` points."""
        return outputs

    @abstractmethod
    def mix(self, points: Points) -> Matrix:
        """The new points in coordinates over the old ones (k, n), or (k, n + references); rows sum to one."""

    def __repr__(self) -> str:
        return f"{type(self).name}(f={self.f})"

    def __rshift__(self, rule: Rule) -> Rule:
        """This, then ``rule`` on what it made."""
        if not isinstance(rule, Rule):
            return NotImplemented
        return Chain(self, rule)


class Chain(Rule):
    """A pre-aggregation and then a rule on what it made, written ``pre >> rule``."""

    name = "chain"
    tolerance = 0.5

    def __init__(self, first: PreAggregation, then: Rule) -> None:
        super().__init__(max(first.f, then.f))
        self.first, self.then = first, then

    @property
    def minimum_n(self) -> int:
        return max(self.first.minimum_n, self.first.inputs(self.then.minimum_n))

    @property
    def breakdown(self) -> float:
        # Where points are made of several inputs each, one malicious input spoils a whole point.
        return self.then.breakdown * self.first.outputs(1 << 20) / (1 << 20)

    @property
    def label(self) -> str:
        return f"{type(self.first).name}+{self.then.label}"

    def aggregate(self, points: Points) -> Aggregate:
        return self.then.aggregate(points.mixed(self.first.mix(points)))

    def decide(self, points: Points) -> Decision:
        return self.then.decide(points.mixed(self.first.mix(points)))


def _in_input_order(result: Aggregate, rows: Rows) -> Aggregate:
    weights, scores = result.weights, result.scores
    if weights is None:
        left_out = sorted(rows.order[i] for i in result.left_out)
    else:
        shares = weights.tolist()
        if scores is None and shares[0] and shares.count(shares[0]) == len(shares) == rows.n:
            return result  # equal shares have no order
        weights = weights[rows.place]
        left_out = [i for i, share in zip(rows.order, shares[: rows.n], strict=True) if not share]
        left_out.sort()
    return Aggregate(result.vector, weights, tuple(left_out), None if scores is None else scores[rows.place])
