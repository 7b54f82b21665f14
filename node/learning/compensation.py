"""Taking off again, in a device's own adapter, what came down the tree and made its model worse."""

from __future__ import annotations

from collections.abc import Callable

from banyan.node.learning.layout import Vector


def compensated(
    start: Vector, before: Vector | None, epsilon: float, loss: Callable[[Vector], float | None]
) -> tuple[Vector, float]:
    """Where to train from: ``start``, unless its loss is more than ``epsilon`` above that of ``before``, the same model
    without what came down since the last round. Then ``before``, and by how much the loss rose; else 0.0.

    Training from ``before`` puts the difference into the update, which is measured from the heads: so it becomes part
    of the branch's own adapter, if the others suffer as well and their rule agrees. A loss of None is not comparable.
    """
    if before is None or not (before != start).any():
        return start, 0.0
    now, then = loss(start), loss(before)
    if now is None or then is None or now - then <= epsilon:
        return start, 0.0
    return before, now - then
