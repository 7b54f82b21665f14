"""Graphs for experiments: who may mix with whom, instead of what the tree says. See :meth:`World.link`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias

__all__ = ["Edge", "clique", "dumbbell"]

Edge: TypeAlias = tuple[str, str]


def clique(nodes: Sequence[str]) -> list[Edge]:
    """Everybody with everybody."""
    return list(combinations(nodes, 2))


def dumbbell(left: Sequence[str], right: Sequence[str]) -> list[Edge]:
    """Two cliques and one bridge, from the last of the left to the first of the right: the setting of He, Karimireddy
    and Jaggi, Byzantine-Robust Decentralized Learning via ClippedGossip, 2022."""
    return [*clique(left), *clique(right), (left[-1], right[0])]
