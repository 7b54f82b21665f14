"""The blob that carries a delta or an adapter: a short strict header, then raw scales and codes.

::

    "BYDELTA1" | u32 header length | header (canonical msgpack) | scales (float32) | codes

All numbers are little-endian. The header names the codec, the number of columns, the block, the adapter spec it was
made for (a digest) and the release it starts from; from these the length of everything else follows, so a
blob of any other length is refused before a byte of it is interpreted.

The delta of a device that trained only the first columns of every B has their number in its header as well, ``rank``,
and holds no numbers for the others. Whoever has all columns says nothing of them, so that one value has one encoding.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

import numpy as np

from banyan.aggregation.encoding import BLOCK, TOP, Codec, EncodedVector, Float32s
from banyan.aggregation.errors import AggregationError
from banyan.aggregation.strips import widened
from banyan.security import canonical
from banyan.security.errors import Refused
from banyan.security.model import MOST_SEASONS, AdapterSpec
from banyan.security.quick import quick
from banyan.security.schema import Between, Digest, Length, from_plain, to_bytes

__all__ = ["Delta", "DeltaRefused", "blob_bytes", "read_delta", "write_delta"]

MAGIC: Final = b"BYDELTA1"
MAX_HEADER: Final = 512
_LENGTH: Final = struct.Struct("<I")
_CODES: Final = {
    codec: np.dtype(kind).newbyteorder("<")
    for codec, kind in {"float32": np.float32, "bf16": np.uint16, "int8": np.int8, "int4": np.uint8}.items()
}
_PREFIX: Final = len(MAGIC) + _LENGTH.size


class DeltaRefused(Refused):
    """Bytes that are not a delta of this network's adapter: ``malformed``, ``wrong-spec``, ``wrong-season`` or
    ``non-finite``."""


@quick
@dataclass(frozen=True, slots=True)
class _Header:
    base: Annotated[bytes, Length(0, 32)]
    block: Annotated[int, Between(0, 65_536)]
    codec: Codec
    size: Annotated[int, Between(1, 2**40)]
    spec: Digest


@dataclass(frozen=True, slots=True)
class _NarrowHeader(_Header):
    rank: Annotated[int, Between(1, 1_023)]


@quick
@dataclass(frozen=True, slots=True)
class Delta:
    """A decoded blob: ``vector`` holds the first ``rank`` columns of every B, row by row, ``spec.dimension`` numbers
    where these are all; ``base`` is the release it is measured from (empty: from zero, as every adapter is); it is in
    terms of the A of ``season``."""

    vector: EncodedVector
    base: bytes
    rank: int
    season: int = 0

    def whole(self, spec: AdapterSpec) -> Float32s:
        """float32 ``(dimension,)``, zero in the columns that were not trained: to be added, never to be voted with."""
        return widened(self.vector.decode(), self.rank, spec.rank)


def write_delta(
    vector: EncodedVector, *, spec: AdapterSpec, base: bytes, rank: int | None = None, season: int = 0
) -> bytes:
    """The blob for ``vector``, in terms of the A of ``season``, against the release ``base`` (b"" for an adapter),
    which has every column. ``rank``: how many columns of B a delta has (None: all)."""
    fields = (base, vector.block, vector.codec, vector.size, spec.digest_in(season))
    header = _packed(_Header(*fields) if rank in (None, spec.rank) else _NarrowHeader(*fields, rank))
    scales = b"" if vector.scales is None else vector.scales.astype("<f4").tobytes()
    codes = np.ascontiguousarray(vector.codes)
    little = codes.astype(codes.dtype.newbyteorder("<"), copy=False)
    return MAGIC + _LENGTH.pack(len(header)) + header + scales + little.tobytes()


def read_delta(data: bytes | memoryview, spec: AdapterSpec, season: int | None = 0) -> Delta:
    """Decode ``data`` strictly; None: of whichever season. The arrays of the result are views of ``data``, nothing is
    copied.

    Raises:
        DeltaRefused: ``malformed`` (not this format, or a wrong length), ``wrong-spec`` (another adapter's, or of a
            rank that cannot be), ``wrong-season`` (this one's, in another season), ``non-finite`` (a scale or value
            that is NaN or infinite).
    """
    view = memoryview(data)
    header, length = _head(view)
    rank = header.rank if isinstance(header, _NarrowHeader) else spec.rank
    if header.size != rank * (spec.dimension // spec.rank):
        raise DeltaRefused("wrong-spec", "The delta was made for another adapter")
    made = _season_of(header, spec, season or 0)
    if season is not None and made != season:
        raise DeltaRefused(
            "wrong-season", f"The delta was made in season {made}, and season {season} is asked for"
        )
    if isinstance(header, _NarrowHeader) and (rank >= spec.rank or not header.base):
        raise DeltaRefused(
            "wrong-spec", "Only a delta of fewer columns than the adapter's names their number"
        )
    body = view[length:]
    scale_bytes, code_bytes = _lengths(header.codec, header.size, header.block)
    if len(body) != scale_bytes + code_bytes:
        raise DeltaRefused(
            "malformed", f"The delta has {len(body)} bytes of numbers where {scale_bytes + code_bytes} belong"
        )
    scales = np.frombuffer(body[:scale_bytes], "<f4").astype(np.float32, copy=False) if scale_bytes else None
    codes = np.frombuffer(body[scale_bytes:], _CODES[header.codec])
    try:
        native = codes.astype(codes.dtype.newbyteorder("="), copy=False)
        vector = EncodedVector(header.codec, header.size, header.block, native, scales)
    except AggregationError as error:
        if scales is not None and not np.isfinite(scales).all():
            raise DeltaRefused("non-finite", "The delta has scales that are NaN or infinite") from error
        raise DeltaRefused("malformed", f"The delta's codes are wrong: {error}") from error
    if header.codec in ("float32", "bf16") and not _all_finite(vector):
        raise DeltaRefused("non-finite", "The delta has values that are NaN or infinite")
    return Delta(vector, header.base, rank, made)


def _season_of(header: _Header, spec: AdapterSpec, likely: int) -> int:
    """The season whose A the header's blob is in terms of. Raises :class:`DeltaRefused` (``wrong-spec``)."""
    if spec.digest_in(likely) == header.spec:
        return likely
    for season in range(MOST_SEASONS):
        if spec.digest_in(season) == header.spec:
            return season
    raise DeltaRefused("wrong-spec", "The delta was made for another adapter")


def _head(view: memoryview) -> tuple[_Header, int]:
    """The header, and how many bytes are before the numbers. Raises :class:`DeltaRefused` (``malformed``)."""
    if len(view) < _PREFIX or bytes(view[: len(MAGIC)]) != MAGIC:
        raise DeltaRefused("malformed", "The blob is not a delta")
    (length,) = _LENGTH.unpack(view[len(MAGIC) : _PREFIX])
    if length > MAX_HEADER or _PREFIX + length > len(view):
        raise DeltaRefused("malformed", "The delta's header is too long")
    packed = bytes(view[_PREFIX : _PREFIX + length])
    try:
        header = _unpacked(packed)
    except Refused as error:
        raise DeltaRefused("malformed", f"The delta's header is wrong: {error.what}") from error
    return header, _PREFIX + length


@lru_cache(maxsize=256)  # the deltas of a round differ in their numbers only
def _packed(header: _Header) -> bytes:
    return to_bytes(header)


@lru_cache(maxsize=256)
def _unpacked(packed: bytes) -> _Header:
    plain = canonical.decode(packed, max_bytes=MAX_HEADER, max_depth=1)
    return from_plain(_NarrowHeader if isinstance(plain, dict) and "rank" in plain else _Header, plain)


def blob_bytes(spec: AdapterSpec, codec: Codec) -> int:
    """The largest size of an honest blob of this spec and codec, in bytes: what an announcement may claim."""
    return _PREFIX + MAX_HEADER + sum(_lengths(codec, spec.dimension, BLOCK[codec]))


def _lengths(codec: Codec, size: int, block: int) -> tuple[int, int]:
    """Bytes of scales and of codes."""
    scales = 4 * -(-size // block) if codec in TOP and block else 0
    codes = (size + 1) // 2 if codec == "int4" else size * _CODES[codec].itemsize
    return scales, codes


def _all_finite(vector: EncodedVector, step: int = 1 << 18) -> bool:
    """Checked a stretch at a time, so that a large adapter is not copied."""
    for start in range(0, vector.size, step):
        stop = min(start + step, vector.size)
        values = vector.codes[start:stop] if vector.codec == "float32" else vector.decode(start, stop)
        if not np.logical_and.reduce(np.isfinite(values)):
            return False
    return True
