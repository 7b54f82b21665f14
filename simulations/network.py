"""The virtual network: latency, loss, and cuts that come and heal. Seeded, so that it misbehaves reproducibly."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Conditions", "Network"]


@dataclass(frozen=True, slots=True)
class Conditions:
    """How links behave.

    ``latency`` is a range of ms per message; ``loss`` and ``duplication`` are probabilities; ``rate`` is bytes per ms
    of one transfer (1000 is 1 MB/s).
    """

    latency: tuple[int, int] = (5, 40)
    loss: float = 0.0
    duplication: float = 0.0
    rate: int = 10_000


class Network:
    """Decides whether and when a message arrives. Nodes in different groups of a partition do not hear each other."""

    def __init__(self, conditions: Conditions, rng: random.Random) -> None:
        self.conditions = conditions
        self._rng = rng
        self._group: dict[str, int] = {}
        self.down: set[str] = set()
        self._neighbours: dict[str, set[str]] = {}

    def partition(self, *groups: set[str]) -> None:
        """Cut the network into ``groups``; nodes in none of them form one more."""
        self._group = {node: number for number, group in enumerate(groups, 1) for node in group}

    def surround(self, victim: str, neighbours: set[str]) -> None:
        """Leave ``victim`` no link but to ``neighbours``, until the network heals."""
        self._neighbours[victim] = neighbours

    def heal(self) -> None:
        self._group, self._neighbours = {}, {}

    def reaches(self, a: str, b: str) -> bool:
        if a in self.down or b in self.down or self._group.get(a, 0) != self._group.get(b, 0):
            return False
        return b in self._neighbours.get(a, (b,)) and a in self._neighbours.get(b, (a,))

    def delays(self, a: str, b: str) -> list[int]:
        """When (ms from now) a message from ``a`` reaches ``b``: usually once, sometimes never or twice."""
        conditions, rng = self.conditions, self._rng
        if not self.reaches(a, b) or rng.random() < conditions.loss:
            return []
        copies = 2 if rng.random() < conditions.duplication else 1
        return [rng.randint(*conditions.latency) for _ in range(copies)]

    def transfer(self, size: int) -> int:
        """How long a blob of ``size`` bytes takes."""
        return self._rng.randint(*self.conditions.latency) + size // self.conditions.rate
