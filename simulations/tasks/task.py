"""What a learning problem is to the simulator, and how it is scored."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from banyan.security.errors import BanyanError
from banyan.security.model import AdapterSpec, TensorSpec

__all__ = ["NoSuchPoison", "Poison", "Score", "Task", "Vector", "seed_of", "spec_of"]

Vector: TypeAlias = npt.NDArray[np.float32]

Poison: TypeAlias = Literal["label-flip", "backdoor"]
"""How an attacker's own data are tampered with: every answer wrong, or a trigger that calls for the attacker's own."""


class NoSuchPoison(BanyanError):
    """A task whose data cannot be poisoned like that."""


@dataclass(frozen=True, slots=True)
class Score:
    """How well a model serves somebody, on rows that nobody trains on.

    Args:
        loss: mean, in the task's own unit (nats for classifiers and language models).
        accuracy: share of right answers; None where the task has no such notion.
        backdoor: how far a trigger brings the attacker's answer, 0 to 1; None where the task has no trigger.
    """

    loss: float
    accuracy: float | None = None
    backdoor: float | None = None

    @property
    def perplexity(self) -> float:
        """The exponential of a loss in nats a token."""
        return math.exp(min(self.loss, 700.0))


class Task(Protocol):
    """A learning problem over flat float32 vectors of ``dimension`` numbers, the sum of the adapters along a path.

    Devices are known by their node ids, branches by their paths, which begin with a slash. Everything is a pure
    function of its arguments and the task's seed, whichever process asks and in whatever order.
    """

    dimension: int
    spec: AdapterSpec
    """The adapter that a charter for this task names."""

    def place(self, device: str, branch: str) -> None:
        """The world says where a device works, before anything else is asked about it."""
        ...

    def train(self, device: str, start: Vector, height: int) -> Vector:
        """What ``device`` makes of ``start`` (the model it sees) in one round."""
        ...

    def loss(self, device: str, model: Vector) -> float:
        """How badly ``model`` serves ``device``: what a node measures beside its training."""
        ...

    def score(self, where: str, model: Vector) -> Score:
        """How ``model`` serves a device, or a branch: the devices that were placed on it."""
        ...

    def poisoned(self, poison: Poison) -> Self:
        """The same task as an attacker trains on it. Raises :class:`NoSuchPoison`."""
        ...


def spec_of(dimension: int, rank: int = 1) -> AdapterSpec:
    """An adapter spec whose flat vector has ``dimension`` numbers, a multiple of ``rank``. Raises ValueError."""
    if dimension % rank:
        raise ValueError(f"An adapter of rank {rank} cannot have {dimension} numbers")
    tensors = (TensorSpec("virtual", dimension // rank, rank),)
    return AdapterSpec(rank=rank, scale=1.0, seed=0, a_digest=bytes(32), a_size=0, tensors=tensors)


def seed_of(*parts: object) -> int:
    """A seed from what it is for, the same in every process."""
    text = "|".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
