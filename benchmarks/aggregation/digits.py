"""Twenty workers learn to read digits, four of them lie: a small model, many rounds, in NumPy alone.

A multilayer perceptron (64-32-10) on scikit-learn's digits. Each worker holds its own share of the training
rows, drawn by a Dirichlet distribution over the classes (the smaller α, the less the shares have in
common), takes a few local steps from the common model and sends the difference. All workers step at once,
as one batched product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]

SHAPES: Final = ((64, 32), (32,), (32, 10), (10,))
SIZES: Final = tuple(int(np.prod(shape)) for shape in SHAPES)
D: Final = sum(SIZES)


@dataclass(frozen=True)
class Task:
    """Shares of the training rows by worker, and the rows that nobody trains on."""

    shares: tuple[tuple[Floats, npt.NDArray[np.int64]], ...]
    train: tuple[Floats, npt.NDArray[np.int64]]
    test: tuple[Floats, npt.NDArray[np.int64]]


def load(workers: int, alpha: float, seed: int) -> Task:
    """The digits, a fifth kept for the test, the rest shared out by class with Dirichlet(α) parts."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    order = rng.permutation(len(x))
    test, train = order[: len(x) // 5], order[len(x) // 5 :]
    owned: list[list[int]] = [[] for _ in range(workers)]
    for digit in range(10):
        rows = train[y[train] == digit]
        cuts = (np.cumsum(rng.dirichlet(np.full(workers, alpha)))[:-1] * len(rows)).astype(int)
        for owner, part in zip(owned, np.split(rows, cuts), strict=True):
            owner.extend(part.tolist())
    for owner in owned:
        if not owner:  # a worker with nothing has one row at least
            owner.append(int(rng.choice(train)))
    return Task(tuple((x[o], y[o]) for o in owned), (x[train], y[train]), (x[test], y[test]))


def start(seed: int) -> Floats:
    """The common model before the first round."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(0, np.sqrt(2 / s[0]), s) if len(s) == 2 else np.zeros(s) for s in SHAPES]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def local_updates(model: Floats, task: Task, rng: np.random.Generator, *, steps: int, rate: float, batch: int,
                  liars: int, flipped: bool) -> Floats:  # fmt: skip
    """What each worker would send (workers, D) after its local steps from ``model``: (D,), or one each.

    With ``flipped`` the last ``liars`` workers train on labels 9 - y.
    """
    n = len(task.shares)
    weights = np.array(np.broadcast_to(model, (n, D)))
    for _ in range(steps):
        picks = [rng.integers(0, len(y), batch) for _, y in task.shares]
        x = np.stack([share[0][p] for share, p in zip(task.shares, picks, strict=True)])
        y = np.stack([share[1][p] for share, p in zip(task.shares, picks, strict=True)])
        if flipped:
            y[n - liars :] = 9 - y[n - liars :]
        weights -= rate * _gradient(weights, x, y)
    return weights - model


def _gradient(weights: Floats, x: Floats, y: npt.NDArray[np.int64]) -> Floats:
    """Gradients (n, D) of n models on n batches (n, b, 64) with labels (n, b)."""
    w1, b1, w2, b2 = _split(weights)
    hidden = np.maximum(x @ w1 + b1[:, None], 0)
    scores = hidden @ w2 + b2[:, None]
    scores -= scores.max(axis=2, keepdims=True)
    error = np.exp(scores)
    error /= error.sum(axis=2, keepdims=True)
    np.put_along_axis(error, y[..., None], np.take_along_axis(error, y[..., None], 2) - 1, 2)
    error /= x.shape[1]
    back = (error @ w2.swapaxes(1, 2)) * (hidden > 0)
    parts = (x.swapaxes(1, 2) @ back, back.sum(axis=1), hidden.swapaxes(1, 2) @ error, error.sum(axis=1))
    return np.concatenate([part.reshape(len(x), -1) for part in parts], axis=1)


def _split(weights: Floats) -> list[Floats]:
    parts = np.split(weights, np.cumsum(SIZES)[:-1], axis=1)
    return [part.reshape(len(weights), *shape) for part, shape in zip(parts, SHAPES, strict=True)]


def _scores(model: Floats, x: Floats) -> Floats:
    w1, b1, w2, b2 = (part[0] for part in _split(model[None]))
    scores: Floats = np.maximum(x @ w1 + b1, 0) @ w2 + b2
    return scores


def accuracy(model: Floats, rows: tuple[Floats, npt.NDArray[np.int64]]) -> float:
    """The share of rows read rightly."""
    return float((_scores(model, rows[0]).argmax(axis=1) == rows[1]).mean())


def loss(model: Floats, rows: tuple[Floats, npt.NDArray[np.int64]]) -> float:
    """The mean cross-entropy; infinite where the model has lost itself."""
    with np.errstate(over="ignore", invalid="ignore"):
        scores = _scores(model, rows[0]).astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        value = np.log(np.exp(scores).sum(axis=1)) - np.take_along_axis(scores, rows[1][:, None], 1)[:, 0]
    mean = float(value.mean())
    return mean if np.isfinite(mean) else np.inf
