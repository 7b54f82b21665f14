"""The points a rule sees: the inputs, or mixtures of them after a pre-aggregation.

Mixtures are kept as weights over the inputs and never computed as a whole: their distances follow from
the distances of the inputs, a weighted sum of mixtures is a weighted sum of inputs, and a rule that needs
their columns gets them block by block. So a chain of any length reads the inputs once for the distances
and once for the values.

Beside the n inputs two references may take part: the origin (for updates: "no change"), and a vector the
caller trusts. Weights of a point over inputs and references sum to one, so a clipped input, for instance,
is a mixture of that input and the origin.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .arithmetic import Matrix, product
from .column_program import ColumnProgram, Draft
from .distances import lengths_from, measure
from .evaluation import evaluate
from .geometry import Geometry
from .rows import Float32s, Row, Rows, origin

Indices: TypeAlias = npt.NDArray[np.intp]


class Points:
    """n points in canonical order, as weights ``mix`` (n, p) over the p base rows: the inputs, the origin
    and, where the caller gave one, the vector to aggregate around. None: the inputs themselves."""

    def __init__(
        self, rows: Rows, around: Row | None = None, mix: Matrix | None = None, base: Points | None = None
    ) -> None:
        self.rows, self.around, self.mix = rows, around, mix
        self._base = base

    @property
    def base(self) -> Points:
        """The points as they were before any mixing."""
        return self if self._base is None else self._base  # held by nothing in itself: freed at once

    @classmethod
    def measured(cls, rows: Rows, everything: Geometry) -> Points:
        """Points whose distances, to each other and then to the origin, are known already."""
        points = cls(rows)
        points.everything = everything
        return points

    @property
    def n(self) -> int:
        """How many points there are, without the references."""
        return self.rows.n if self.mix is None else len(self.mix)

    @cached_property
    def base_rows(self) -> list[Row]:
        """The inputs, the origin and, where there is one, the vector to aggregate around."""
        return [*self.rows.rows, origin(self.rows), *([] if self.around is None else [self.around])]

    @cached_property
    def geometry(self) -> Geometry:
        """Distances between the n points."""
        if self.mix is None:
            if "everything" in self.__dict__:
                return self.everything.first(self.n)
            return measure(self.rows.rows, self.rows)
        if np.any(self.mix[:, self.rows.n :]):
            return self.base.everything.mixed(self.mix, self.n)
        return self.base.geometry.mixed(np.ascontiguousarray(self.mix[:, : self.rows.n]), self.n)

    @cached_property
    def everything(self) -> Geometry:
        """Distances between the n points, the origin and, where there is one, the vector to aggregate
        around, in this order: the last is the one a rule clips around."""
        if self.mix is None:
            return measure(self.base_rows, self.rows)
        return self.base.everything.mixed(self.coordinates(), self.n)

    @cached_property
    def lengths(self) -> Matrix:
        """Squared lengths (n,) of the points: their squared distances from the origin."""
        if self.mix is not None or "everything" in self.__dict__:
            return np.ascontiguousarray(self.everything.squared[: self.n, self.n])
        return lengths_from(self.base_rows[self.n], self.rows)

    def coordinates(self) -> Matrix:
        """Weights (n + references, p) over the base rows of the points and then of the references."""
        identity = np.eye(len(self.base_rows))
        return identity if self.mix is None else np.vstack([self.mix, identity[self.rows.n :]])

    def mixed(self, weights: Matrix) -> Points:
        """New points ``weights @ points``: (k, n), or (k, n + references) to use those too."""
        mix = product(weights, self.coordinates()[: weights.shape[1]])
        return Points(self.rows, self.around, mix, self.base)

    def shares(self, weights: Matrix) -> Matrix:
        """Weights (n,) or (n + references,) over the points as weights over the base rows (or the first)."""
        if self.mix is None:
            return weights
        used = self.coordinates()[: len(weights)]
        return product(np.ascontiguousarray(used.T), weights)

    def columns(self, program: ColumnProgram) -> Float32s:
        """What ``program`` makes of the n points: float32 (d,)."""
        if self.mix is None:
            return evaluate(program, self.rows)
        used = self._without_origin(np.flatnonzero(self.mix.any(axis=0)))
        mix = self.mix[:, used].astype(np.float32)
        return evaluate(program.after(mix), self.rows, [self.base_rows[i] for i in used])

    def _without_origin(self, used: Indices) -> Indices:
        """The base rows that change a sum: all but the origin, where there is another."""
        return used[used != self.rows.n] if len(used) > 1 else used

    def combine(self, shares: Matrix) -> Float32s:
        """The vector ``shares @ base rows``, in float32, summed in their canonical order.

        Equal shares are summed first and multiplied once.
        """
        used = shares.nonzero()[0]
        if not len(used):
            return np.zeros(self.rows.d, np.float32)
        beside = len(shares) > self.rows.n
        if beside:
            used = self._without_origin(used)
        program = weighted_sum(tuple(shares[used].astype(np.float32).tolist()))
        if not beside and len(used) == self.rows.n:
            return evaluate(program, self.rows)
        base = self.base_rows if beside else self.rows.rows
        return evaluate(program, self.rows, [base[i] for i in used.tolist()])


@lru_cache(maxsize=64)
def weighted_sum(factors: tuple[float, ...]) -> ColumnProgram:
    """``Σ factorᵢ rowᵢ``."""
    draft = Draft(len(factors))
    if len(set(factors)) == 1:
        return draft.finish(draft.combine(draft.inputs, scale=factors[0]))
    return draft.finish(draft.combine(draft.inputs, factors))
