"""A problem whose best answer is known, for scale and for exact checks."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Self

import numpy as np

from banyan.protocol.paths import parent_of, path_to
from banyan.simulations.tasks.task import NoSuchPoison, Poison, Score, Vector, seed_of, spec_of

__all__ = ["Quadratic"]


class Quadratic:
    """Device i of branch b wants the model to be ``c_b + spread * g_i``, with g_i Gaussian: its loss is half the
    squared distance and a round of training goes ``rate`` of the way.

    Branches share what lies above them: ``c_b`` is the root's centre plus ``branch_spread * g_p`` for every branch p
    on the way from the root down to b, so siblings agree on all but the last step. The best model of a branch, of all
    below it and of the whole tree is known in closed form, a mean of wishes (:meth:`optimum`), and so any round of any
    rule can be checked exactly.

    Args:
        dimension: numbers in the model.
        spread: how far the devices of one branch differ, a coordinate.
        rate: how far one round of training goes, 0 to 1.
        seed: of the root's centre.
        branch_spread: how far siblings differ, a coordinate.
        rank: columns of the model, of which small devices train the first.
    """

    def __init__(
        self,
        dimension: int = 32,
        spread: float = 0.1,
        rate: float = 0.5,
        seed: int = 0,
        branch_spread: float = 0.0,
        rank: int = 1,
    ) -> None:
        self.dimension = dimension
        self.spec = spec_of(dimension, rank)
        self._spread = np.float32(spread)
        self._branch_spread = np.float32(branch_spread)
        self._rate = np.float32(rate)
        self._root = np.random.default_rng(seed).standard_normal(dimension, dtype=np.float32)
        self._branches: dict[str, str] = {}
        self._wishes: dict[str, Vector] = {}  # drawn once: they are asked for three times a device and round
        self._side = np.float32(1)

    def place(self, device: str, branch: str) -> None:
        self._branches[device] = branch
        self._wishes.pop(device, None)

    def poisoned(self, poison: Poison) -> Self:
        """Flipped labels become the opposite wish; a quadratic has no rows for a trigger."""
        if poison != "label-flip":
            raise NoSuchPoison(
                "The quadratic task has no rows to hide a trigger in", "Use digits, or a language model"
            )
        task = copy.copy(self)
        task._side = -self._side
        return task

    def centre(self, branch: str) -> Vector:
        """What the devices of ``branch`` have in common."""
        steps = [path for path in path_to(branch) if parent_of(path) is not None]
        return sum((self._branch_spread * self._gaussian(path) for path in steps), self._root)

    def wish(self, device: str) -> Vector:
        """The model that would serve ``device`` best."""
        known = self._wishes.get(device)
        if known is None:
            centre = self.centre(self._branches.get(device, "/"))
            known = self._wishes[device] = centre + self._spread * self._gaussian(device)
        return known if self._side == 1 else np.asarray(self._side * known)

    def optimum(self, branch: str, *, below: bool = False, devices: Iterable[str] | None = None) -> Vector:
        """The model with the least mean loss over the devices of ``branch`` (or of all below it, too; or of those
        given): the mean of their wishes. ``optimum("/", below=True)`` is the whole tree's.

        Raises ValueError where no device works there.
        """
        chosen = list(self._on(branch, below) if devices is None else devices)
        if not chosen:
            raise ValueError(f"No device works on {branch}")
        return np.asarray(np.mean([self.wish(device) for device in chosen], axis=0))

    def train(self, device: str, start: Vector, height: int) -> Vector:
        return start + self._rate * (self.wish(device) - start)

    def loss(self, device: str, model: Vector) -> float:
        apart = (self.wish(device) - model).astype(np.float64)
        return float(0.5 * np.add.reduce(np.square(apart, out=apart)))

    def score(self, where: str, model: Vector) -> Score:
        devices = self._on(where, below=False) if where.startswith("/") else [where]
        if not devices:
            raise ValueError(f"No device works on {where}")
        return Score(float(np.mean([self.loss(device, model) for device in devices])))

    def _on(self, branch: str, below: bool) -> list[str]:
        return [
            device
            for device, path in self._branches.items()
            if path == branch or (below and branch in path_to(path))
        ]

    def _gaussian(self, name: str) -> Vector:
        return np.random.default_rng(seed_of(name)).standard_normal(self.dimension, dtype=np.float32)
