"""What four liars can send who know everything: the others' updates, the rule, and how the model will do.

An attack takes the honest updates (h, D), what the liars would send if they were honest (f, D), and a judge
that says how bad the model becomes for given lies; it returns the lies (f, D).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, TypeAlias

import numpy as np

from benchmarks.aggregation.digits import Floats

Judge: TypeAlias = Callable[[Floats], float]


@dataclass(frozen=True)
class Scene:
    """One round as the liars see it; ``judge`` gives the loss of the model that their lies lead to."""

    honest: Floats
    own: Floats
    judge: Judge
    rng: np.random.Generator

    @property
    def f(self) -> int:
        return len(self.own)

    @property
    def mean(self) -> Floats:
        return self.honest.mean(axis=0)

    @property
    def deviation(self) -> Floats:
        return self.honest.std(axis=0)

    def all_send(self, vector: Floats) -> Floats:
        return np.repeat(vector[None].astype(np.float32), self.f, axis=0)

    def worst(self, candidates: list[Floats]) -> Floats:
        """The candidate that leaves the model with the highest loss."""
        return max((self.all_send(c) for c in candidates), key=self.judge)


def none(scene: Scene) -> Floats:
    """They are honest."""
    return scene.own


def sign_flip(scene: Scene) -> Floats:
    """The opposite of the honest mean."""
    return scene.all_send(-scene.mean)


def inner_product(scene: Scene) -> Floats:
    """Fall of Empires at a fixed strength: ten times the opposite (Xie et al., 2020)."""
    return scene.all_send(-10 * scene.mean)


def little(scene: Scene) -> Floats:
    """A Little Is Enough (Baruch et al., 2019): as many deviations away as hides among the others."""
    n = len(scene.honest) + scene.f
    supporters = n // 2 + 1 - scene.f
    z = NormalDist().inv_cdf(max(0.5, (n - scene.f - supporters) / (n - scene.f)))
    return scene.all_send(scene.mean - z * scene.deviation)


STRENGTHS: Final = tuple(0.05 * 2.0**k for k in range(10))


def searched_little(scene: Scene) -> Floats:
    """A Little Is Enough with the strength and side that harm this rule most, found anew each round."""
    some = [scene.mean + side * z * scene.deviation for z in STRENGTHS for side in (-1, 1)]
    return scene.worst(some)


def searched_inner_product(scene: Scene) -> Floats:
    """Fall of Empires with the strength that harms this rule most, found anew each round."""
    return scene.worst([-z * scene.mean for z in STRENGTHS])


def mimic(scene: Scene) -> Floats:
    """All copy one honest worker, so that it counts five times (Karimireddy et al., 2022)."""
    return scene.all_send(scene.honest[0])


def noise(scene: Scene) -> Floats:
    """Gaussian noise as long as twenty honest updates."""
    scale = 20 * np.linalg.norm(scene.mean) / np.sqrt(scene.honest.shape[1])
    return (scale * scene.rng.standard_normal(scene.own.shape)).astype(np.float32)


def min_max(scene: Scene) -> Floats:
    """As far along the deviation as stays within the honest diameter (Shejwalkar and Houmansadr, 2021)."""
    gram = scene.honest @ scene.honest.T
    lengths = np.diagonal(gram)
    diameter = float(np.max(lengths[:, None] + lengths[None] - 2 * gram))
    low, high = 0.0, 100.0
    for _ in range(20):
        middle = (low + high) / 2
        lie = scene.mean - middle * scene.deviation
        inside = float(((scene.honest - lie) ** 2).sum(axis=1).max()) <= diameter
        low, high = (middle, high) if inside else (low, middle)
    return scene.all_send(scene.mean - low * scene.deviation)


ATTACKS: Final[dict[str, Callable[[Scene], Floats]]] = {
    "none": none,
    "sign flip": sign_flip,
    "FOE ×10": inner_product,
    "ALIE": little,
    "ALIE*": searched_little,
    "FOE*": searched_inner_product,
    "label flip": none,  # they train on flipped labels instead
    "mimic": mimic,
    "noise": noise,
    "min-max": min_max,
}
