"""Inputs that know only the first columns of a matrix: a missing column is absent and never a vote for zero.

An adapter's B is one matrix ``(rows, width)``, row by row. A small device trains its first r of ``width`` columns and
sends ``(rows, r)``. So columns fall into groups: all columns of one group were trained by the same inputs, and a rule
runs on each group by itself, over those inputs alone. Column groups are orthogonal (A's rows are), so distances within
one are distances between models there.

A rule that chooses by distances therefore chooses anew in each group. That is what keeps a rule's theorem: in every
group n is the number of inputs that are there and at most f of them lie, whoever trained how much. One choice by whole
vectors would have to make up distances for columns that one of two inputs does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .arithmetic import Matrix
from .encoding import EncodedVector, Float32s
from .geometry import Geometry, around_medoid
from .points import Points
from .rows import Rows, Strip, origin, read
from .rule import Aggregate, Rule

Input: TypeAlias = "EncodedVector | Strip"


@dataclass(frozen=True, slots=True)
class Group:
    """Columns [start, stop), and the positions of the inputs that trained them all."""

    start: int
    stop: int
    members: tuple[int, ...]


def column_groups(ranks: Sequence[int]) -> list[Group]:
    """The groups of inputs that trained their first so many columns, from the first column on. Each has fewer members
    than the one before it.

    >>> column_groups([4, 2, 4])
    [Group(start=0, stop=2, members=(0, 1, 2)), Group(start=2, stop=4, members=(0, 2))]
    """
    ends = sorted(set(ranks))
    return [
        Group(start, stop, tuple(at for at, rank in enumerate(ranks) if rank >= stop))
        for start, stop in zip([0, *ends], ends, strict=False)
    ]


def strip(vector: EncodedVector, rank: int, group: Group) -> Input:
    """The columns of ``group`` of an input ``(rows, rank)``: the input itself where these are all it has."""
    if (group.start, group.stop) == (0, rank):
        return vector
    return Strip(vector, rank, group.start, group.stop)


def aggregate_strips(rule: Rule, strips: Sequence[Input]) -> Aggregate:
    """``rule`` on the strips of one group, with the same bits on every machine.

    Where all of them are whole vectors in one codec their distances are exact as ever. Where some are cut out of wider
    ones their codes have no blocks in common: then distances are float64 sums of squared differences, elementwise and
    in one order. Raises :class:`banyan.aggregation.AggregationError` as the rule does.
    """
    if all(isinstance(each, EncodedVector) for each in strips):
        return rule(strips)
    rows = Rows(strips)
    rule.check(rows.n)
    return rule.judge(Points.measured(rows, _geometry(rows)))


def _geometry(rows: Rows) -> Geometry:
    """The geometry of the rows and the origin."""
    points = [*rows.rows, origin(rows)]
    squared: Matrix = np.zeros((len(points), len(points)))
    rows.refuse_nonfinite()
    for start, stop in rows.spans(width := rows.width(), points):
        scratch = np.empty((len(points), min(width, stop - start)), np.float32)
        block = np.array(
            [read(row, start, stop, at) for row, at in zip(points, scratch, strict=True)], np.float64
        )
        for i in range(len(points) - 1):
            apart = block[i + 1 :] - block[i]
            squared[i, i + 1 :] += np.add.reduce(np.square(apart, out=apart), axis=1)
    return around_medoid(squared + squared.T, rows.n)


def leading(vector: Float32s, width: int, rank: int) -> Float32s:
    """The first ``rank`` columns of a matrix of ``width``, both as flat vectors; a copy."""
    return vector.reshape(-1, width)[:, :rank].ravel()


def widened(vector: Float32s, rank: int, width: int) -> Float32s:
    """A flat matrix of ``rank`` columns with columns of zeros after them, ``width`` in all; itself where there are."""
    if rank == width:
        return vector
    whole = np.zeros((len(vector) // rank, width), np.float32)
    whole[:, :rank] = vector.reshape(-1, rank)
    return whole.ravel()
