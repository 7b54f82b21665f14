"""A small classifier as one flat vector, in NumPy: multinomial regression, or a perceptron with one hidden layer.

Many models step at once on batches of their own, as one batched product.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Classifier", "Floats", "Labels", "Rows"]

Floats: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int64]
Rows: TypeAlias = tuple[Floats, Labels]
"""Inputs (m, features) and labels (m,)."""


class Classifier:
    """Softmax over ``classes`` of a linear map, or of a perceptron with ``hidden`` rectified units.

    A model is a float32 vector of :attr:`dimension` numbers: weights and biases, layer after layer.
    """

    def __init__(self, features: int, classes: int, hidden: int | None = None) -> None:
        widths = (features, classes) if hidden is None else (features, hidden, classes)
        self._shapes: Final = tuple(
            shape for wide, deep in pairwise(widths) for shape in ((wide, deep), (deep,))
        )
        self._sizes: Final = tuple(int(np.prod(shape)) for shape in self._shapes)
        self.dimension: Final = sum(self._sizes)

    def start(self, seed: int) -> Floats:
        """A fresh model: He's initialisation for a perceptron, zero for a regression."""
        if len(self._shapes) == 2:
            return np.zeros(self.dimension, np.float32)
        rng = np.random.default_rng(seed)
        parts = [
            rng.normal(0, np.sqrt(2 / shape[0]), shape) if len(shape) == 2 else np.zeros(shape)
            for shape in self._shapes
        ]
        return np.concatenate([part.ravel() for part in parts]).astype(np.float32)

    def gradients(self, models: Floats, x: Floats, y: Labels) -> Floats:
        """Gradients (n, d) of the mean cross-entropy of n models (n, d) on n batches (n, b, features), (n, b)."""
        layers = self._split(models)
        hidden = x if len(layers) == 2 else np.maximum(x @ layers[0] + layers[1][:, None], 0)
        scores = hidden @ layers[-2] + layers[-1][:, None]
        scores -= scores.max(axis=2, keepdims=True)
        error = np.exp(scores)
        error /= error.sum(axis=2, keepdims=True)
        np.put_along_axis(error, y[..., None], np.take_along_axis(error, y[..., None], 2) - 1, 2)
        error /= x.shape[1]
        parts = [hidden.swapaxes(1, 2) @ error, error.sum(axis=1)]
        if len(layers) == 4:
            back = (error @ layers[2].swapaxes(1, 2)) * (hidden > 0)
            parts = [x.swapaxes(1, 2) @ back, back.sum(axis=1), *parts]
        return np.concatenate([part.reshape(len(x), -1) for part in parts], axis=1)

    def accuracy(self, model: Floats, rows: Rows) -> float:
        """The share of rows classified rightly."""
        with np.errstate(over="ignore", invalid="ignore"):
            return float((self._scores(model, rows[0]).argmax(axis=1) == rows[1]).mean())

    def loss(self, model: Floats, rows: Rows) -> float:
        """The mean cross-entropy, nats; infinite where the model has lost itself."""
        with np.errstate(over="ignore", invalid="ignore"):
            scores = self._scores(model, rows[0]).astype(np.float64)
            scores -= scores.max(axis=1, keepdims=True)
            value = np.log(np.exp(scores).sum(axis=1)) - np.take_along_axis(scores, rows[1][:, None], 1)[:, 0]
        mean = float(value.mean())
        return mean if np.isfinite(mean) else np.inf

    def _scores(self, model: Floats, x: Floats) -> Floats:
        layers = [part[0] for part in self._split(model[None])]
        hidden = x if len(layers) == 2 else np.maximum(x @ layers[0] + layers[1], 0)
        scores: Floats = hidden @ layers[-2] + layers[-1]
        return scores

    def _split(self, models: Floats) -> list[Floats]:
        parts = np.split(models, np.cumsum(self._sizes)[:-1], axis=1)
        return [part.reshape(len(models), *shape) for part, shape in zip(parts, self._shapes, strict=True)]
