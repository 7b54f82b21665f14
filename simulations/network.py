"""The virtual network: latency, bandwidth, loss, and cuts that come and heal. Seeded, so that it misbehaves
reproducibly."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

__all__ = ["Conditions", "Network"]

HELD_BACK: Final = 1_000
"""ms that a reordered message may be held back."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How links behave. Times are ms, the others probabilities.

    A message takes a time from ``latency``, the ``distance`` of both ends (each device lies up to so far from the
    middle of the network, drawn once), ``apart`` where they lie in different regions, and an exponential ``jitter`` of
    that mean. ``rate`` is the bytes per ms (1000 is 1 MB/s) of a device's uplink, which everything that it sends
    shares.
    """

    latency: tuple[int, int] = (5, 40)
    loss: float = 0.0
    duplication: float = 0.0
    rate: float = 10_000
    distance: int = 0
    apart: int = 0
    jitter: float = 0.0
    reordering: float = 0.0


class Network:
    """Decides whether and when a message arrives. Nodes in different groups of a partition do not hear each other.

    Every node has luck of its own, drawn from ``seed`` and its name: what becomes of its messages hangs on nothing that
    others send. ``now`` tells the virtual time, against which uplinks are busy.
    """

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self.conditions = conditions
        self.down: set[str] = set()
        self.burst = 0.0
        """Share of messages that is lost for the time being, beside the conditions' own."""
        self._seed = seed
        self._luck: dict[str, random.Random] = {}
        self._group: dict[str, int] = {}
        self._neighbours: dict[str, set[str]] = {}
        self._distance: dict[str, int] = {}
        self._region: dict[str, str] = {}
        self._free: dict[str, float] = {}

    # ------------------------------------------------------------------------------------ who hears whom

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

    # ------------------------------------------------------------------------------------ when it arrives

    def delays(self, a: str, b: str, size: int = 0, now: int = 0) -> list[int]:
        """When (ms from ``now``) a message of ``size`` bytes from ``a`` reaches ``b``: usually once, sometimes never
        or twice."""
        conditions, rng = self.conditions, self.luck(a)
        if not self.reaches(a, b) or (conditions.loss and rng.random() < conditions.loss):
            return []
        if self.burst and rng.random() < self.burst:
            return []
        sent = self._uplink(a, size, now)
        if conditions.duplication and rng.random() < conditions.duplication:
            return [sent + self.travel(a, b), sent + self.travel(a, b)]
        return [sent + self.travel(a, b)]

    def settle(self, node: str, region: str) -> None:
        """``node`` lies in ``region``."""
        self._region[node] = region

    def least(self, *, apart: bool) -> int:
        """ms that anything takes from one node to another at the least; ``apart``: of different regions."""
        return self.conditions.latency[0] + (self.conditions.apart if apart else 0)

    def luck(self, node: str) -> random.Random:
        """The chance that ``node`` has."""
        luck = self._luck.get(node)
        if luck is None:
            luck = self._luck[node] = random.Random(f"network|{self._seed}|{node}")
        return luck

    def transfer(self, size: int, source: str = "", receiver: str = "", now: int = 0) -> int:
        """How long a blob of ``size`` bytes takes."""
        return self._uplink(source, size, now) + self.travel(source, receiver)

    def _uplink(self, node: str, size: int, now: int) -> int:
        """ms until the last byte has left ``node``, behind all that it is sending already."""
        free = self._free.get(node, 0.0)
        free = self._free[node] = (free if free > now else now) + size / self.conditions.rate
        return int(free) - now

    def travel(self, a: str, b: str) -> int:
        """How long something takes that needs no bandwidth to speak of."""
        conditions, rng = self.conditions, self.luck(a)
        least, most = conditions.latency
        delay = least + int(rng.random() * (most + 1 - least))
        if conditions.apart and self._region.get(a) != self._region.get(b):
            delay += conditions.apart
        if conditions.distance:
            delay += self._away(a) + self._away(b)
        if conditions.jitter:
            delay += int(rng.expovariate(1 / conditions.jitter))
        if conditions.reordering and rng.random() < conditions.reordering:
            delay += rng.randrange(HELD_BACK)
        return delay

    def _away(self, node: str) -> int:
        """How far ``node`` lies from the middle of the network; its place follows from its name alone."""
        if node not in self._distance:
            self._distance[node] = random.Random(node).randint(0, self.conditions.distance)
        return self._distance[node]
