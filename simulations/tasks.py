"""What virtual devices learn. A task turns a start and a device into what that device's training makes of it."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
import numpy.typing as npt

from banyan.security.model import AdapterSpec, TensorSpec

__all__ = ["Quadratic", "Task", "spec_of"]

Vector = npt.NDArray[np.float32]


class Task(Protocol):
    """A learning problem over flat float32 vectors of ``dimension`` numbers."""

    dimension: int

    def train(self, device: str, start: Vector, height: int) -> Vector:
        """What ``device`` makes of ``start`` (the model it sees) in one round: same input, same output."""
        ...

    def loss(self, device: str, model: Vector) -> float:
        """How badly ``model`` serves ``device``."""
        ...

    def wish(self, device: str) -> Vector:
        """The model that would serve ``device`` best, where the task knows it."""
        ...


class Quadratic:
    """Device i wants the model to be ``centre + spread * g_i`` with g_i Gaussian: its loss is half the squared
    distance, a round of training goes ``rate`` of the way, and the honest optimum of all is known in closed form
    (their mean), so any round of any rule can be checked exactly.
    """

    def __init__(self, dimension: int = 32, spread: float = 0.1, rate: float = 0.5, seed: int = 0) -> None:
        self.dimension = dimension
        self._spread = np.float32(spread)
        self._rate = np.float32(rate)
        self._centre = np.random.default_rng(seed).standard_normal(dimension, dtype=np.float32)

    def wish(self, device: str) -> Vector:
        seed = int.from_bytes(hashlib.sha256(device.encode()).digest()[:8], "big")
        noise = np.random.default_rng(seed).standard_normal(self.dimension, dtype=np.float32)
        return self._centre + self._spread * noise

    def train(self, device: str, start: Vector, height: int) -> Vector:
        return start + self._rate * (self.wish(device) - start)

    def loss(self, device: str, model: Vector) -> float:
        return float(0.5 * np.sum((self.wish(device) - model).astype(np.float64) ** 2))


def spec_of(dimension: int) -> AdapterSpec:
    """An adapter spec whose flat vector has ``dimension`` numbers."""
    tensors = (TensorSpec("virtual", dimension, 1),)
    return AdapterSpec(rank=1, scale=1.0, seed=0, a_digest=bytes(32), a_size=0, tensors=tensors)
