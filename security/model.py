"""What everybody in a network trains: the base model's fingerprint and the adapter's exact shape."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Final, Self, TypeAlias

from banyan.security import canonical
from banyan.security.schema import (
    Between,
    Digest,
    Length,
    Matches,
    Printable,
    SchemaError,
    to_bytes,
    to_plain,
)

_PART: Final = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
_FILE_NAME: Final = re.compile(rf"{_PART}(/{_PART}){{0,3}}")


def _is_file_name(text: str) -> bool:
    return _FILE_NAME.fullmatch(text) is not None


FileName: TypeAlias = Annotated[
    str, Length(1, 200), Matches(_is_file_name, "a relative file name without '..' or hidden parts")
]
Size: TypeAlias = Annotated[int, Between(0, 2**46)]

MOST_SEASONS: Final = 32
"""How many seasons a network can have, the first one included: what bounds the rank of its models."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a base model: its name inside the model's folder, size in bytes and SHA-256."""

    name: FileName
    size: Size
    digest: Digest


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The fingerprint of a base model. ``digest`` is the SHA-256 of the canonical list of its files, sorted
    by name, so two people have the same model if and only if they have the same digest."""

    name: Annotated[str, Length(1, 128), Printable]
    digest: Digest
    size: Size
    parameters: Annotated[int, Between(1, 2**50)]
    architecture: Annotated[str, Length(1, 64), Printable]
    license: Annotated[str, Length(0, 64), Printable]
    files: Annotated[tuple[FileEntry, ...], Length(1, 1_024)]

    def __post_init__(self) -> None:
        _check_sorted("files", [entry.name for entry in self.files])
        if self.size != sum(entry.size for entry in self.files):
            raise SchemaError("size", "must be the sum of the files' sizes")
        if self.digest != files_digest(self.files):
            raise SchemaError("digest", "must be the digest of the list of files")

    @classmethod
    def of(
        cls, name: str, files: Iterable[FileEntry], *, parameters: int, architecture: str, license: str
    ) -> Self:
        """The fingerprint of a model that consists of ``files``, in any order."""
        files = tuple(sorted(files, key=lambda entry: entry.name))
        size = sum(entry.size for entry in files)
        return cls(name, files_digest(files), size, parameters, architecture, license, files)


def files_digest(files: Iterable[FileEntry]) -> bytes:
    """The SHA-256 of the canonical encoding of ``files`` in the given order."""
    return hashlib.sha256(canonical.encode([to_plain(entry) for entry in files])).digest()


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One adapted matrix W of shape (rows_out, cols_in): its B is (rows_out, rank), its A (rank, cols_in)."""

    name: Annotated[str, Length(1, 200), Printable]
    rows_out: Annotated[int, Between(1, 2**24)]
    cols_in: Annotated[int, Between(1, 2**24)]


@dataclass(frozen=True)
class AdapterSpec:
    """The network's one adapter shape: ΔW = scale · B · A with A frozen and shared, B trained.

    A's rows are orthonormal, drawn from ``seed`` and shipped as the blob ``a_digest`` of ``a_size`` bytes.
    The flat vector of an adapter or delta is the float32 B of every tensor, row-major, in the order of
    ``tensors``, which is sorted by name.
    """

    rank: Annotated[int, Between(1, 1_024)]
    scale: Annotated[float, Between(1e-6, 1e6)]
    seed: Annotated[int, Between(0, 2**63 - 1)]
    a_digest: Digest
    a_size: Size
    tensors: Annotated[tuple[TensorSpec, ...], Length(1, 8_192)]

    def __post_init__(self) -> None:
        _check_sorted("tensors", [tensor.name for tensor in self.tensors])
        for tensor in self.tensors:
            if self.rank > tensor.cols_in:
                problem = f"must not exceed the {tensor.cols_in} inputs of {tensor.name}"
                raise SchemaError("rank", f"{problem}: A could not have orthonormal rows")

    @cached_property
    def dimension(self) -> int:
        """The length of the flat vector: rank · Σ rows_out."""
        return self.rank * sum(tensor.rows_out for tensor in self.tensors)

    @cached_property
    def digest(self) -> bytes:
        """The SHA-256 of the canonical spec: what a delta blob says it was made for."""
        return hashlib.sha256(to_bytes(self)).digest()

    def digest_in(self, season: int) -> bytes:
        """What a blob of ``season`` says it was made for: B of another season is B of another A."""
        known = self._digests.get(season)
        if known is None:
            text = b"banyan/season/1\0" + self.digest + season.to_bytes(4, "big")
            known = self._digests[season] = hashlib.sha256(text).digest() if season else self.digest
        return known

    @cached_property
    def _digests(self) -> dict[int, bytes]:
        return {}


def _check_sorted(field: str, names: list[str]) -> None:
    if any(first >= second for first, second in pairwise(names)):
        raise SchemaError(field, "must be sorted by name, each name once")
