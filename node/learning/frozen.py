"""What a model has learned in earlier seasons, stacked into one pair of factors for each target matrix.

A product B·A takes about half the room of a pair of free factors of its rank, since nobody keeps A: a seed draws it.
So nothing is factored anew when a season ends; the model's rank grows by that of an adapter, and not a number is lost.
Where factors of a lower rank are wanted, as for tools that take no more, :func:`reduced` makes the closest ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from banyan.aggregation.lora import Factors, nearest
from banyan.node.learning.layout import Layout, Vector
from banyan.security.model import AdapterSpec

__all__ = ["NONE", "Frozen", "reduced", "stacked"]

Frozen: TypeAlias = Mapping[str, tuple[Vector, Vector]]
"""By tensor name, b float32 ``(rows_out, R)`` and a float32 ``(R, cols_in)``: ``b @ a`` is added to the matrix."""

NONE: Final[Frozen] = {}
"""What a network in its first season has."""


def stacked(layers: Sequence[tuple[Mapping[str, Vector], Vector]], spec: AdapterSpec) -> Frozen:
    """The factors of the sum of ``layers``, each an A by tensor name and a B (float32, :class:`Layout` order), the
    scale multiplied into b. Nothing for no layers."""
    layout = Layout(spec.rank, spec.tensors)
    split = [(a, layout.split(vector)) for a, vector in layers]
    if not split:
        return {}
    scale = np.float32(spec.scale)
    return {
        tensor.name: (
            np.ascontiguousarray(np.concatenate([scale * b[tensor.name] for _, b in split], axis=1)),
            np.ascontiguousarray(np.concatenate([a[tensor.name] for a, _ in split], axis=0)),
        )
        for tensor in layout.tensors
    }


def reduced(frozen: Frozen, rank: int) -> tuple[Frozen, float]:
    """The factors of at most ``rank`` whose products are closest to those of ``frozen``, and the share of the
    Frobenius norm of all products together that this leaves behind (Eckart and Young, 1936)."""
    made, whole, kept = {}, 0.0, 0.0
    for name, (b, a) in frozen.items():
        factors, lengths = nearest(Factors(b, a), rank)
        made[name] = (factors.b, factors.a)
        whole += float(np.square(lengths).sum())
        kept += float(np.square(lengths[:rank]).sum())
    return made, math.sqrt(max(0.0, 1 - kept / whole)) if whole else 0.0
