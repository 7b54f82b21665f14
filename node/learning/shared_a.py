"""The network's shared A: for each target matrix, ``rank`` random orthonormal rows, frozen for everyone.

Every machine draws the same bits. The random numbers are integers from SHAKE-256 of the charter's seed and the
tensor's name; the Gram-Schmidt process that makes the rows orthonormal uses only operations that IEEE 754 rounds
in one way (elementwise products and differences, division, square root) and exactly rounded sums (``math.fsum``).
A QR decomposition would not do: LAPACK and BLAS libraries sum in different orders, and their results differ in
the last bits. So A travels as a blob whose hash is in the charter, *and* anyone can check with :func:`draw`
that its founder drew it honestly. The A of a later season (:mod:`banyan.protocol.season`) is in nobody's blob: each
device draws it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from banyan.node.learning.errors import AdapterError
from banyan.node.learning.layout import Tensor, Vector

_BYTES_SUMMED = 8  # the sum of 8 uniform bytes is close to Gaussian, and an exact integer


def draw(seed: int, rank: int, tensors: Sequence[Tensor], season: int = 0) -> dict[str, Vector]:
    """A for every tensor in ``season``: float32 ``(rank, cols_in)`` with orthonormal rows, by name.

    Raises :class:`AdapterError` if a tensor has fewer than ``rank`` inputs: more rows than that cannot be
    orthogonal.
    """
    for tensor in tensors:
        if tensor.cols_in < rank:
            raise AdapterError(
                f"{tensor.name} has {tensor.cols_in} inputs, fewer than the rank {rank}",
                f"Choose a rank of at most {min(t.cols_in for t in tensors)}",
            )
    return {
        tensor.name: _orthonormal(_directions(seed, season, tensor.name, rank, tensor.cols_in))
        for tensor in tensors
    }


def to_bytes(matrices: Mapping[str, Vector]) -> bytes:
    """The safetensors file of A, always the same for the same A."""
    data: bytes = save({name: np.ascontiguousarray(matrices[name], np.float32) for name in sorted(matrices)})
    return data


def from_bytes(data: bytes, rank: int, tensors: Sequence[Tensor]) -> dict[str, Vector]:
    """A from its file. Raises :class:`AdapterError` unless it holds exactly a finite float32
    ``(rank, cols_in)`` matrix for each tensor."""
    try:
        matrices = load(data)
    except SafetensorError as error:
        raise AdapterError(f"The blob of the shared A is not a safetensors file ({error})") from error
    expected = {tensor.name: (rank, tensor.cols_in) for tensor in tensors}
    if matrices.keys() != expected.keys():
        odd = sorted(matrices.keys() ^ expected.keys())[0]
        raise AdapterError(f"The shared A does not match the charter's tensors; the first odd one is {odd!r}")
    for name, matrix in matrices.items():
        if matrix.shape != expected[name] or matrix.dtype != np.float32:
            raise AdapterError(
                f"A of {name} must be float32 {expected[name]}, not {matrix.dtype} {tuple(matrix.shape)}"
            )
        if not np.isfinite(matrix).all():
            raise AdapterError(f"A of {name} contains numbers that are not finite")
    return matrices


def _directions(seed: int, season: int, name: str, rank: int, columns: int) -> NDArray[np.float64]:
    """Near-Gaussian integers, as float64 ``(rank, columns)``: sums of 8 centred uniform bytes."""
    drawn_by = f"banyan/shared-a/2/{seed}/{season}/{name}" if season else f"banyan/shared-a/1/{seed}/{name}"
    stream = hashlib.shake_256(drawn_by.encode())
    octets = np.frombuffer(stream.digest(rank * columns * _BYTES_SUMMED), np.uint8)
    sums = octets.reshape(rank, columns, _BYTES_SUMMED).sum(axis=2, dtype=np.int64)
    centred: NDArray[np.float64] = (2 * sums - 255 * _BYTES_SUMMED).astype(np.float64)
    return centred


def _orthonormal(rows: NDArray[np.float64]) -> Vector:
    """Gram-Schmidt over the rows, each cleaned twice ("twice is enough", Kahan), rounded to float32."""
    for i, row in enumerate(rows):
        for _ in range(2):
            for above in rows[:i]:
                row -= _dot(row, above) * above
        row /= math.sqrt(_dot(row, row))
    return rows.astype(np.float32)


def _dot(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """The dot product with an exactly rounded sum: the same bits whatever the machine's vector width."""
    return math.fsum((left * right).tolist())
