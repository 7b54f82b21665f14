"""Orthogonal steps: a new task writes to outputs that earlier tasks have not written to.

O-LoRA (Wang et al. 2023, "Orthogonal subspace learning for language model continual learning") gives each task its
own A and penalises overlap between the row spaces of the A's. Here all tasks share one frozen A, so nothing is free
there, and what tells tasks apart is B. A task's change of a layer is s·ΔB·A: for any input, what it adds to the
layer's output lies in the column space of ΔB. So the columns of the new task's ΔB are kept orthogonal to those of the
earlier tasks' ΔB, by projection instead of a penalty (as gradient projection does: Saha et al. 2021): with U an
orthonormal basis of the earlier columns, Uᵀ·ΔB = 0 holds exactly after every step, whatever the optimiser. Then the
coordinates of each output that earlier tasks have set are untouched *for every input*. It is no full guarantee: what
the base model reads from the other coordinates may matter to an earlier task too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from banyan.node.learning.adapter import AdaptedModel
from banyan.node.learning.continual.protection import Protection
from banyan.node.learning.layout import Layout, Vector

#: The share of the earlier changes' squared length that the protected columns hold. More protects more and leaves
#: less room.
ENERGY = 0.95

#: The share of a layer's outputs that may be protected at most, so that something can always be learnt.
MOST = 0.5


class OrthogonalSteps(Protection):
    """Takes out of B - B*, after every step, what lies in the column space of earlier changes.

    ``span`` (see :func:`join_spans`) and ``anchor`` B*, the B at which this task began, are float32 in the layout's
    order.
    """

    def __init__(self, model: AdaptedModel, span: Vector, anchor: Vector) -> None:
        layout = model.layout
        self._bases = [torch.from_numpy(basis(part)).to(model.device) for part in layout.split(span).values()]
        self._anchor = [
            torch.from_numpy(part.copy()).to(model.device) for part in layout.split(anchor).values()
        ]

    @torch.no_grad()
    def correct(self, b: Sequence[Tensor]) -> None:
        """See :class:`Protection`."""
        for now, u, then in zip(b, self._bases, self._anchor, strict=True):
            now -= u @ (u.T @ (now - then))


def basis(span: Vector) -> Vector:
    """Orthonormal columns, float32 ``(rows_out, k)``, that hold :data:`ENERGY` of the matrix ``span``; k = 0 for
    zero."""
    u, sizes, _ = np.linalg.svd(span.astype(np.float64), full_matrices=False)
    energy = np.cumsum(sizes**2)
    if energy[-1] == 0:
        return np.zeros((len(span), 0), np.float32)
    enough = 1 + int(np.searchsorted(energy, ENERGY * energy[-1]))
    return np.ascontiguousarray(u[:, : min(enough, int(MOST * len(span)))], np.float32)


def join_spans(layout: Layout, span: Vector | None, change: Vector) -> Vector:
    """The span of all earlier changes and one more, as one vector of an adapter's size.

    Each matrix holds the ``rank`` largest principal directions of the columns of both, scaled by their singular
    values, so the size does not grow with the number of tasks; what is lost is the smallest.
    """
    if span is None:
        return change
    old, new = layout.split(span), layout.split(change)
    joined = {}
    for name in new:
        u, sizes, _ = np.linalg.svd(np.hstack([old[name], new[name]]).astype(np.float64), full_matrices=False)
        columns = np.zeros_like(new[name])
        count = min(layout.rank, len(sizes))
        columns[:, :count] = u[:, :count] * sizes[:count]
        joined[name] = columns
    return layout.join(joined)
