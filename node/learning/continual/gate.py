"""The gate: a version passes only where no earlier task's held-out loss is above its limit.

A version that fails is not thrown away: the loss is nearly convex along the line from B₀, where training began, to
B₁, where it ended, so some part of the step often passes. Bisection finds the largest share that does, on measured
losses, at the cost of one evaluation a try. Where not even the smallest share tried passes, the version is rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from banyan.node.learning.layout import Vector

#: The loss of each earlier task, nats a token, of the model with this B.
Measure = Callable[[Vector], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``share`` of the step that passed, 0 where the version is rejected; ``b`` is what passed, else the whole step.

    ``losses`` are the earlier tasks' at ``b``, ``rise`` the greatest rise above a reference among them (nats a token,
    may be negative), ``evaluations`` how often all earlier tasks were measured, the start included.
    """

    share: float
    b: Vector
    losses: tuple[float, ...]
    rise: float
    evaluations: int


def examine(
    start: Vector,
    end: Vector,
    references: Sequence[float],
    measure: Measure,
    *,
    epsilon: float,
    tries: int,
) -> Verdict:
    """Let through the step from ``start`` to ``end``, or the largest share of it found in ``tries`` halvings.

    A task's limit is its reference plus ``epsilon``, or its loss at ``start`` where that is higher already (the heads
    that others had a part in may have raised it): this device then must not make it worse. The rises of many rounds
    do not add up, since the reference stays. A loss that is not finite passes nothing.
    """
    before = measure(start)
    limits = [max(reference + epsilon, loss) for reference, loss in zip(references, before, strict=True)]

    def passes(losses: Sequence[float]) -> bool:
        return all(loss <= limit for loss, limit in zip(losses, limits, strict=True))

    def verdict(share: float, b: Vector, losses: Sequence[float], evaluations: int) -> Verdict:
        rise = max(loss - reference for loss, reference in zip(losses, references, strict=True))
        return Verdict(share, b, tuple(losses), rise, evaluations)

    whole = measure(end)
    if passes(whole):
        return verdict(1.0, end, whole, 2)
    best = verdict(0.0, end, whole, 2 + tries)
    low, high = 0.0, 1.0
    for _ in range(tries):
        share = (low + high) / 2
        b = (start + np.float32(share) * (end - start)).astype(np.float32)
        losses = measure(b)
        if passes(losses):
            low, best = share, verdict(share, b, losses, 2 + tries)
        else:
            high = share
    return best
