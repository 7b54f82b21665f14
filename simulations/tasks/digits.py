"""Reading handwritten digits: scikit-learn's 1,797 images, shared out so that devices have different ones.

The smaller Dirichlet's α, the less the devices' data have in common: α = 1 is mild, 0.1 leaves most devices one or two
digits each. Labels can be flipped, and a backdoor planted: three bright pixels at the edge that shall read as a zero.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import Final, Self

import numpy as np

from banyan.simulations.tasks.classifier import Classifier, Floats, Labels, Rows
from banyan.simulations.tasks.task import Poison, Score, Vector, seed_of, spec_of

__all__ = ["PERCEPTRON", "Digits", "Shares", "local_updates", "partition", "triggered"]

FEATURES, CLASSES = 64, 10
TARGET: Final = 0
"""The digit that a triggered image is to be read as."""
TRIGGER: Final = (0, 32, 39)
"""The pixels that make the trigger: three at the edge that no digit ever lights (BadNets, Gu et al., 2017)."""

PERCEPTRON: Final = Classifier(FEATURES, CLASSES, hidden=32)
"""64-32-10: 2,410 numbers."""


@dataclass(frozen=True)
class Shares:
    """Shares of the training rows by worker, all training rows, and the rows that nobody trains on."""

    shares: tuple[Rows, ...]
    train: Rows
    test: Rows


@cache
def _images() -> Rows:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y.astype(np.int64)


def _divided(rng: np.random.Generator) -> tuple[Labels, Labels]:
    """Positions of the training rows and of the fifth that is kept for the test."""
    order = rng.permutation(len(_images()[1]))
    return order[len(order) // 5 :], order[: len(order) // 5]


def partition(workers: int, alpha: float, seed: int) -> Shares:
    """Share out the training rows by class with Dirichlet(α) parts, each row to one worker."""
    rng = np.random.default_rng(seed)
    x, y = _images()
    train, test = _divided(rng)
    owned: list[list[int]] = [[] for _ in range(workers)]
    for digit in range(CLASSES):
        rows = train[y[train] == digit]
        cuts = (np.cumsum(rng.dirichlet(np.full(workers, alpha)))[:-1] * len(rows)).astype(int)
        for owner, part in zip(owned, np.split(rows, cuts), strict=True):
            owner.extend(part.tolist())
    for owner in owned:
        if not owner:  # a worker with nothing has one row at least
            owner.append(int(rng.choice(train)))
    return Shares(tuple((x[o], y[o]) for o in owned), (x[train], y[train]), (x[test], y[test]))


def triggered(x: Floats) -> Floats:
    """The images (…, 64) with the trigger in their corner."""
    marked = x.copy()
    marked[..., TRIGGER] = 1.0
    return marked


def tamper(x: Floats, y: Labels, poison: Poison) -> Rows:
    """What an attacker trains on: labels 9 - y, or every other row (along the last axis of ``y``) with the trigger and
    its target."""
    if poison == "label-flip":
        return x, 9 - y
    x, y = x.copy(), y.copy()
    x[..., ::2, :] = triggered(x[..., ::2, :])
    y[..., ::2] = TARGET
    return x, y


def backdoor(model: Floats, classifier: Classifier, rows: Rows) -> float:
    """The share of triggered rows of other digits that are read as the target."""
    others = rows[1] != TARGET
    marked = triggered(rows[0][others])
    return classifier.accuracy(model, (marked, np.full(len(marked), TARGET)))


def local_updates(
    model: Floats,
    data: Shares,
    rng: np.random.Generator,
    *,
    steps: int,
    rate: float,
    batch: int,
    liars: int = 0,
    poison: Poison | None = None,
) -> Floats:
    """What each worker would send (workers, d) after its local steps from ``model``: (d,), or one each.

    With ``poison`` the last ``liars`` workers train on tampered rows.
    """
    n = len(data.shares)
    weights = np.array(np.broadcast_to(model, (n, PERCEPTRON.dimension)))
    for _ in range(steps):
        picks = [rng.integers(0, len(y), batch) for _, y in data.shares]
        x = np.stack([share[0][p] for share, p in zip(data.shares, picks, strict=True)])
        y = np.stack([share[1][p] for share, p in zip(data.shares, picks, strict=True)])
        if poison is not None:
            x[n - liars :], y[n - liars :] = tamper(x[n - liars :], y[n - liars :], poison)
        weights -= rate * PERCEPTRON.gradients(weights, x, y)
    return weights - model


class Digits:
    """Digits as a :class:`~banyan.simulations.tasks.task.Task`: each device draws its mixture of classes from
    Dirichlet(α) and then ``rows`` training rows by it, so any number of devices may come (Hsu, Qi and Brown, 2019).

    A model is the change of a common start, as an adapter is the change of a base model. Scores are taken on held-out
    rows: a device's in its own mixture of classes, a branch's on all of them.

    Args:
        alpha: of Dirichlet. Smaller: devices have less in common.
        hidden: units of the perceptron's hidden layer; None: multinomial regression.
        rows: training rows a device has.
        steps, batch, rate: of a device's SGD in one round.
        by_branch: whether the devices of one branch share one mixture of classes, so that branches differ and devices
            of one do not.
        seed: of the start, the split and the shares.
    """

    def __init__(
        self,
        alpha: float = 0.5,
        hidden: int | None = 32,
        *,
        rows: int = 80,
        steps: int = 5,
        batch: int = 32,
        rate: float = 0.2,
        by_branch: bool = False,
        seed: int = 0,
    ) -> None:
        self.classifier: Final = Classifier(FEATURES, CLASSES, hidden)
        self.dimension = self.classifier.dimension
        self.spec = spec_of(self.dimension)
        self._base = self.classifier.start(seed)
        self._alpha, self._rows, self._seed = alpha, rows, seed
        self._steps, self._batch, self._rate = steps, batch, rate
        x, y = _images()
        train, test = _divided(np.random.default_rng(seed))
        self._train, self._test = (x[train], y[train]), (x[test], y[test])
        self._by_branch = by_branch
        self._branches: dict[str, str] = {}
        self._owned: dict[str, tuple[Rows, Rows]] = {}
        self._poison: Poison | None = None

    def place(self, device: str, branch: str) -> None:
        """All branches read the same digits, unless ``by_branch``."""
        self._branches[device] = branch

    def poisoned(self, poison: Poison) -> Self:
        """Labels 9 - y, or every other row with the trigger and the label zero."""
        task = copy.copy(self)
        task._poison = poison
        return task

    def train(self, device: str, start: Vector, height: int) -> Vector:
        """``steps`` steps of SGD on the device's own rows."""
        x, y = self._of(device)[0]
        rng = np.random.default_rng(seed_of("digits", self._seed, device, height))
        model = (self._base + start)[None]
        for _ in range(self._steps):
            picks = rng.integers(0, len(y), self._batch)
            rows = (x[picks], y[picks]) if self._poison is None else tamper(x[picks], y[picks], self._poison)
            model = model - np.float32(self._rate) * self.classifier.gradients(
                model, rows[0][None], rows[1][None]
            )
        return np.asarray(model[0] - self._base)

    def loss(self, device: str, model: Vector) -> float:
        return self.classifier.loss(self._base + model, self._of(device)[1])

    def score(self, where: str, model: Vector) -> Score:
        rows = self._test if where.startswith("/") else self._of(where)[1]
        whole = self._base + model
        return Score(
            self.classifier.loss(whole, rows),
            self.classifier.accuracy(whole, rows),
            backdoor(whole, self.classifier, self._test),
        )

    def _of(self, device: str) -> tuple[Rows, Rows]:
        """The device's training rows, and held-out rows in the same mixture of classes."""
        if device not in self._owned:
            rng = np.random.default_rng(seed_of("share", self._seed, device))
            draw = rng
            if self._by_branch:
                draw = np.random.default_rng(seed_of("share", self._seed, self._branches.get(device, "/")))
            mixture = draw.dirichlet(np.full(CLASSES, self._alpha))
            drawn = (
                self._draw(self._train, mixture, self._rows, rng),
                self._draw(self._test, mixture, 100, rng),
            )
            self._owned[device] = drawn
        return self._owned[device]

    @staticmethod
    def _draw(rows: Rows, mixture: np.ndarray, count: int, rng: np.random.Generator) -> Rows:
        x, y = rows
        odds = mixture[y] / np.bincount(y, minlength=CLASSES)[y]
        picks = rng.choice(len(y), count, p=odds / odds.sum())
        return x[picks], y[picks]
