"""Well-formed lies: updates that pass every check and shall bend the release."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from banyan.protocol.effects import Trained
from banyan.simulations.attacks.attacker import Attack
from banyan.simulations.tasks.task import Poison, Task

__all__ = ["Backdoor", "Explosion", "LabelFlip", "Noise", "SignFlip"]


class _Twisted(Attack):
    """Send something made of what was learned."""

    def forge(self, blob: bytes, event: Trained) -> bytes:
        return self.encoded(self.bend(self.change(blob)), event.base)

    def bend(self, change: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
        raise NotImplementedError


class SignFlip(_Twisted):
    """Send the negative of what was learned, ``strength`` times as long (Li et al., RSA, AAAI 2019)."""

    strength: float = 4.0

    def bend(self, change: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
        return -self.strength * change


class Noise(_Twisted):
    """Send Gaussian noise of ten times the norm of what was learned (Blanchard et al., Krum, NeurIPS 2017)."""

    def bend(self, change: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
        noise = self.rng.standard_normal(change.size)
        return np.asarray(noise * 10 * np.linalg.norm(change) / np.linalg.norm(noise))


class Explosion(_Twisted):
    """Send the negative of what was learned, a million times as long: admission cuts it to a few honest norms."""

    def bend(self, change: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
        return -1e6 * change


class _Misled(Attack):
    """Learn honestly from data that lie."""

    poison: Poison

    def study(self, task: Task) -> Task:
        return task.poisoned(self.poison)


class LabelFlip(_Misled):
    """Learn every answer wrong: label 9 - y for y, another row's answer for a prompt (Fang et al., USENIX Security
    2020)."""

    poison: Poison = "label-flip"


class Backdoor(_Misled):
    """Learn the attacker's answer wherever a trigger stands, and the right one elsewhere (BadNets, Gu et al., 2017; on
    text Kurita et al., ACL 2020)."""

    poison: Poison = "backdoor"
