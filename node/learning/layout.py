"""Where each target matrix's B lies in an adapter's flat vector.

An adapter of a charter's :class:`AdapterSpec` is one float32 vector: the B matrices, each of shape
``(rows_out, rank)`` in row-major order, one after the other in the order of their tensors' names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from banyan.node.learning.errors import AdapterError

Vector = NDArray[np.float32]


class Tensor(Protocol):
    """One target matrix W of shape ``(rows_out, cols_in)``, by the name of its module in the base model."""

    @property
    def name(self) -> str: ...
    @property
    def rows_out(self) -> int: ...
    @property
    def cols_in(self) -> int: ...


class Layout:
    """The map between one flat vector and the named B matrices of a spec."""

    def __init__(self, rank: int, tensors: Sequence[Tensor]) -> None:
        self.rank = rank
        self.tensors = tuple(sorted(tensors, key=lambda tensor: tensor.name))
        ends = np.cumsum([tensor.rows_out * rank for tensor in self.tensors]).tolist()
        self._slices = {
            tensor.name: slice(start, end)
            for tensor, start, end in zip(self.tensors, [0, *ends], ends, strict=False)
        }
        self.dimension: int = ends[-1] if ends else 0

    def split(self, vector: Vector) -> dict[str, Vector]:
        """Views of ``vector`` (float32, ``(dimension,)``) as matrices ``(rows_out, rank)`` by name.

        Raises :class:`AdapterError` if the vector has another length.
        """
        if vector.shape != (self.dimension,):
            raise AdapterError(
                f"An adapter of this network has {self.dimension:,} numbers, not {vector.size:,}"
            )
        return {
            tensor.name: vector[self._slices[tensor.name]].reshape(tensor.rows_out, self.rank)
            for tensor in self.tensors
        }

    def join(self, matrices: Mapping[str, NDArray[np.generic]]) -> Vector:
        """The float32 vector of exactly these matrices. Raises :class:`AdapterError` if one is missing, extra,
        or of another shape."""
        if matrices.keys() != self._slices.keys():
            odd = sorted(matrices.keys() ^ self._slices.keys())[0]
            raise AdapterError(
                f"The adapter's tensors are not those of the charter; the first odd one is {odd!r}"
            )
        vector = np.empty(self.dimension, np.float32)
        for name, view in self.split(vector).items():
            if matrices[name].shape != view.shape:
                raise AdapterError(
                    f"B of {name} must have the shape {view.shape}, not {matrices[name].shape}"
                )
            view[...] = matrices[name]
        return vector
