"""What colluding attackers share: who they are, what the honest sent, and what to send against it."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from banyan.aggregation import AggregationError, build, build_mixing
from banyan.security.admission import clip_factors
from banyan.security.charter import Charter
from banyan.simulations.attacks.formulas import Floats, Formula, Judge, View

__all__ = ["Coalition", "Key"]

Key = tuple[str, int, bytes]
"""One running round: its branch, its height, and the release that everybody trains from (none where nobody releases and
nodes mix their whole models, step by step)."""

ROUNDS_KEPT: Final = 16
"""Rounds whose updates are remembered, over all branches."""


class Coalition:
    """The attackers of one network, of one mind.

    What it knows of a round is the honest updates that any of its members received as a member of the committee. On a
    virtual network the world shows it all of them, committee or not: the strongest adversary of the literature, who
    knows everything and speaks last.
    """

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.victim = ""
        """The node that an eclipse is about."""
        self._honest: dict[Key, dict[str, Floats]] = {}
        self._own: dict[Key, dict[str, Floats]] = {}
        self._lies: dict[tuple[Key, Formula], Floats] = {}

    def show(self, key: Key, author: str, change: npt.NDArray[np.float32]) -> None:
        """``author`` sent ``change`` in the round ``key``, or would have sent it, if it is one of us."""
        kept = self._own if author in self.members else self._honest
        kept.setdefault(key, {})[author] = change
        while len(kept) > ROUNDS_KEPT:
            del kept[next(iter(kept))]

    def seen(self, key: Key) -> set[str]:
        """The honest authors whose updates of the round are known."""
        return set(self._honest.get(key, ()))

    def lie(self, key: Key, me: str, formula: Formula, charter: Charter, rng: np.random.Generator) -> Floats:
        """What ``me``, one of us, sends in the round ``key``: its row of ``formula``'s lies, decided once for all."""
        own = self._own[key]
        if (key, formula) not in self._lies:
            honest = self._honest.get(key) or own
            rows = np.stack([honest[author] for author in sorted(honest)])
            ours = np.stack([own[author] for author in sorted(own)])
            judge = damage(charter, rows) if key[2] else nudge(charter, rows)
            view = View(rows, ours, judge, rng)
            self._lies[key, formula] = formula(view)
            while len(self._lies) > ROUNDS_KEPT:
                del self._lies[next(iter(self._lies))]
        lies = self._lies[key, formula]
        return np.asarray(lies[sorted(own).index(me) % len(lies)])


def damage(charter: Charter, honest: Floats) -> Judge:
    """How far lies drag the network's rule from the mean of the honest: norms are cut as admission cuts them, then the
    charter's own rule is asked. Lies that admission or the rule refuses do no harm."""
    rule, clip = build(charter.round.rule, f=charter.round.f), charter.round.clip
    target = honest.mean(axis=0, dtype=np.float64)

    def judge(lies: Floats) -> float:
        rows = np.concatenate([honest, lies])
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        if not np.isfinite(norms).all():
            return 0.0
        factors = np.array(clip_factors(norms.tolist(), clip), np.float32)
        try:
            return float(np.linalg.norm(rule(rows * factors[:, None]).vector - target))
        except AggregationError:
            return 0.0

    return judge


def nudge(charter: Charter, honest: Floats) -> Judge:
    """How far lies drag a node that stands at the mean of the honest and mixes them by the network's mixing rule."""
    rule = build_mixing(charter.mixing.rule, charter.mixing.f)
    target = honest.mean(axis=0)

    def judge(lies: Floats) -> float:
        try:
            mixed = rule(target, np.concatenate([honest, lies])).vector
        except AggregationError:
            return 0.0
        return float(np.linalg.norm(mixed.astype(np.float64) - target))

    return judge
