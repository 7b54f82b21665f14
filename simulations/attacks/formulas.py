"""What colluding liars send instead of their updates, as pure functions on vectors.

Each takes what the liars know (:class:`View`) and returns what they send, float32 ``(f, d)``. The simulator's
attackers and the benchmarks use the same formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "STRENGTHS",
    "Formula",
    "Judge",
    "View",
    "alie",
    "explosion",
    "honest",
    "ipm",
    "mimic",
    "min_max",
    "min_sum",
    "noise",
    "searched_alie",
    "searched_ipm",
    "sign_flip",
]

Floats: TypeAlias = npt.NDArray[np.float32]
Judge: TypeAlias = Callable[[Floats], float]

STRENGTHS: Final = tuple(0.05 * 2.0**k for k in range(10))
"""What a searched attack tries: 0.05 to 25.6, each twice the one before."""


@dataclass(frozen=True)
class View:
    """One round as the liars see it.

    Args:
        honest: the honest updates (h, d), h >= 1.
        own: what the f liars would send if they were honest (f, d).
        judge: how much harm given lies (f, d) do under the very rule of the network; the searched attacks ask it.
        rng: the only source of chance.
    """

    honest: Floats
    own: Floats
    judge: Judge
    rng: np.random.Generator

    @property
    def f(self) -> int:
        return len(self.own)

    @property
    def mean(self) -> Floats:
        return np.asarray(self.honest.mean(axis=0))

    @property
    def deviation(self) -> Floats:
        """The standard deviation of each coordinate among the honest."""
        return np.asarray(self.honest.std(axis=0))

    def all_send(self, vector: Floats) -> Floats:
        return np.repeat(vector[None].astype(np.float32), self.f, axis=0)

    def worst(self, candidates: list[Floats]) -> Floats:
        """The candidate that does most harm."""
        return max((self.all_send(each) for each in candidates), key=self.judge)


Formula: TypeAlias = Callable[[View], Floats]


def honest(view: View) -> Floats:
    """They send what they learned."""
    return view.own


def sign_flip(view: View) -> Floats:
    """The opposite of the honest mean (Li et al., RSA, AAAI 2019)."""
    return view.all_send(-view.mean)


def ipm(view: View) -> Floats:
    """Inner product manipulation, or Fall of Empires: ten times the opposite of the honest mean (Xie et al., UAI
    2019)."""
    return view.all_send(-10 * view.mean)


def alie(view: View) -> Floats:
    """A Little Is Enough: as many deviations off the mean as still hide among the others (Baruch et al., NeurIPS
    2019)."""
    n = len(view.honest) + view.f
    supporters = n // 2 + 1 - view.f
    share = (n - view.f - supporters) / (n - view.f)
    z = NormalDist().inv_cdf(min(max(0.5, share), 0.999))
    return view.all_send(view.mean - z * view.deviation)


def searched_alie(view: View) -> Floats:
    """:func:`alie` with the strength and the side that harm this rule most, searched anew each round (the line search
    of ByzFL's optimised attacks; Allouah et al., AISTATS 2023)."""
    some = [view.mean + side * z * view.deviation for z in STRENGTHS for side in (-1, 1)]
    return view.worst(some)


def searched_ipm(view: View) -> Floats:
    """:func:`ipm` with the strength that harms this rule most, searched anew each round."""
    return view.worst([-z * view.mean for z in STRENGTHS])


def mimic(view: View) -> Floats:
    """All copy one honest update, so that it counts f + 1 times (Karimireddy et al., ICLR 2022)."""
    return view.all_send(view.honest[0])


def noise(view: View) -> Floats:
    """Gaussian noise as long as twenty honest means (Blanchard et al., Krum, NeurIPS 2017)."""
    scale = 20 * np.linalg.norm(view.mean) / np.sqrt(view.honest.shape[1])
    return np.asarray(scale * view.rng.standard_normal(view.own.shape), np.float32)


def explosion(view: View) -> Floats:
    """A million times the opposite of the honest mean: no mean survives it, and no bound on norms lets it through."""
    return view.all_send(-1e6 * view.mean)


def min_max(view: View) -> Floats:
    """As far against the deviation as stays within the largest honest distance of every honest update (Shejwalkar and
    Houmansadr, NDSS 2021, with the perturbation -std)."""
    return _furthest(view, lambda squares: float(squares.max()))


def min_sum(view: View) -> Floats:
    """As far against the deviation as keeps the sum of squared distances to the honest within the largest honest sum
    (Shejwalkar and Houmansadr, NDSS 2021, with the perturbation -std)."""
    return _furthest(view, lambda squares: float(squares.sum()))


def _furthest(view: View, spread: Callable[[npt.NDArray[np.float64]], float]) -> Floats:
    """Bisect for the longest lie whose ``spread`` of squared distances is no larger than any honest update's."""
    rows = view.honest.astype(np.float64)
    gram = rows @ rows.T
    lengths = np.diagonal(gram)
    squares = np.maximum(lengths[:, None] + lengths[None] - 2 * gram, 0)
    bound = max(spread(row) for row in squares)
    low, high = 0.0, 100.0
    for _ in range(20):
        middle = (low + high) / 2
        lie = view.mean - middle * view.deviation
        inside = spread(((view.honest - lie) ** 2).sum(axis=1, dtype=np.float64)) <= bound
        low, high = (middle, high) if inside else (low, middle)
    return view.all_send(view.mean - low * view.deviation)
