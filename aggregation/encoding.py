"""A vector as it travels: float32, bf16, or 8- or 4-bit integer codes with one scale per block.

An update *is* its encoded form: what was signed is codes and scales, and every peer decodes the same
float32 numbers from them, bit for bit. The integer codecs are symmetric: the values of one block are
``code * scale`` with ``scale = max|value| / top``, ``top`` being 127 for int8 and 7 for int4, so that the
inner product of two blocks is an integer that any BLAS computes exactly (``banyan.aggregation.geometry``).

>>> import numpy as np
>>> coded = encode(np.linspace(-1, 1, 100, dtype=np.float32), "int8")
>>> bool(np.abs(coded.decode() - np.linspace(-1, 1, 100)).max() < 0.5 / 127 + 1e-6)
True
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from .errors import AggregationError
from .memory_maps import give_back, map_behind

Codec: TypeAlias = Literal["float32", "bf16", "int8", "int4"]
Float32s: TypeAlias = npt.NDArray[np.float32]

CODECS: Final[tuple[Codec, ...]] = get_args(Codec)

TOP: Final[dict[Codec, int]] = {"int8": 127, "int4": 7}
"""The largest code of each integer codec; the smallest is its negative, so that zero is a code."""

LARGEST_SCALE: Final[dict[Codec, np.float32]] = {
    codec: np.nextafter(np.float32(np.finfo(np.float32).max / top), np.float32(0))
    for codec, top in TOP.items()
}
"""The largest scale whose largest code still decodes to a finite float32."""

BLOCK: Final[dict[Codec, int]] = {"float32": 0, "bf16": 0, "int8": 1024, "int4": 128}
"""Columns that share a scale unless told otherwise. Smaller: less rounding, more bytes (4 per block).
1,024 is the most for which inner products of 8-bit codes stay under 2**24, where float32 is exact."""

SMALLEST_BLOCK: Final = 16
LARGEST_BLOCK: Final = 1 << 16

_CHECKED_AT_ONCE: Final = 1 << 20

_DTYPES: Final[dict[Codec, npt.DTypeLike]] = {
    "float32": np.float32,
    "bf16": np.uint16,
    "int8": np.int8,
    "int4": np.uint8,
}


@dataclass(frozen=True, eq=False)
class EncodedVector:
    """``size`` numbers in one of the codecs; checked when it is made, so that decoding cannot fail.

    - ``codes``: float32 ``(size,)``; bf16 as uint16 ``(size,)``, the upper half of each float32;
      int8 ``(size,)`` in [-127, 127]; int4 as uint8 ``((size + 1) // 2,)``, two codes a byte, the even
      column in the low half, each in [-7, 7] as two's complement, a last unused half zero.
    - ``scales``: float32 ``(ceil(size / block),)``, finite and not negative; None for float32 and bf16.
    - ``block``: columns per scale, a power of two in [16, 65536]; 0 for float32 and bf16.

    Codes may be a memory map: nothing here copies them. NaN and infinities in float32 and bf16 codes are
    left to the rules, which refuse them by index.

    Raises :class:`AggregationError` when the parts do not fit together.
    """

    codec: Codec
    size: int
    block: int
    codes: npt.NDArray[Any]
    scales: Float32s | None

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise AggregationError(f"unknown codec {self.codec!r}: choose one of {', '.join(CODECS)}")
        if self.size < 1:
            raise AggregationError(f"an encoded vector needs at least one number, not {self.size}")
        length = (self.size + 1) // 2 if self.codec == "int4" else self.size
        dtype = np.dtype(_DTYPES[self.codec])
        if self.codes.dtype != dtype or self.codes.shape != (length,):
            raise AggregationError(
                f"{self.codec} codes of {self.size} numbers are {dtype} ({length},), "
                f"not {self.codes.dtype} {self.codes.shape}"
            )
        if self.codec in TOP:
            self._check_blocks()
        elif self.scales is not None or self.block:
            raise AggregationError(f"{self.codec} has no blocks and no scales")

    def _check_blocks(self) -> None:
        if not SMALLEST_BLOCK <= self.block <= LARGEST_BLOCK or self.block & (self.block - 1):
            raise AggregationError(
                f"a block is a power of 2 from {SMALLEST_BLOCK} to {LARGEST_BLOCK} columns, not {self.block}"
            )
        blocks = -(-self.size // self.block)
        scales = self.scales
        if scales is None or scales.dtype != np.float32 or scales.shape != (blocks,):
            raise AggregationError(f"{self.codec} in blocks of {self.block} needs {blocks} float32 scales")
        least, most = np.minimum.reduce(scales), np.maximum.reduce(scales)
        if not (least >= 0 and most <= LARGEST_SCALE[self.codec]):  # NaN is neither
            raise AggregationError(
                "scales must be finite, not negative, and leave every value within float32"
            )
        for start in range(0, len(self.codes), _CHECKED_AT_ONCE):
            self._check_codes(self.codes[start : start + _CHECKED_AT_ONCE])
        if self.codec == "int4" and self.size % 2 and self.codes[-1] & 0xF0:
            raise AggregationError("the unused half of the last int4 byte must be zero")
        if (behind := map_behind(self.codes)) is not None:
            give_back([behind])

    def _check_codes(self, codes: npt.NDArray[Any]) -> None:
        if self.codec == "int8":
            if np.minimum.reduce(codes) == -128:
                raise AggregationError("int8 codes lie in [-127, 127]; found -128")
        elif np.any((codes & 0x0F) == 0x08) or np.any((codes & 0xF0) == 0x80):
            raise AggregationError("int4 codes lie in [-7, 7]; found -8")

    def __len__(self) -> int:
        return self.size

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales together."""
        return self.codes.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def decode(self, start: int = 0, stop: int | None = None, out: Float32s | None = None) -> Float32s:
        """The float32 values of columns [start, stop), written to ``out`` where given.

        Every peer gets the same bits: a code times its scale is one correctly rounded product.
        """
        stop = self.size if stop is None else stop
        if not 0 <= start <= stop <= self.size:
            raise AggregationError(f"columns [{start}, {stop}) are not within [0, {self.size})")
        if out is None:
            out = np.empty(stop - start, np.float32)
        if self.codec == "float32":
            out[:] = self.codes[start:stop]
        elif self.codec == "bf16":
            np.left_shift(self.codes[start:stop], 16, out=out.view(np.uint32), dtype=np.uint32)
        else:
            self.integers(start, stop, out)
            self._apply_scales(start, stop, out)
        return out

    def integers(self, start: int, stop: int, out: Float32s) -> None:
        """Write the integer codes of columns [start, stop) to ``out`` as float32, without their scales."""
        if self.codec == "int8":
            out[:] = self.codes[start:stop]
            return
        pairs = self.codes[start // 2 : (stop + 1) // 2].view(np.int8)
        both = np.empty(2 * len(pairs), np.int8)
        np.right_shift(np.left_shift(pairs, 4), 4, out=both[0::2])
        np.right_shift(pairs, 4, out=both[1::2])
        out[:] = both[start % 2 : start % 2 + stop - start]

    def _apply_scales(self, start: int, stop: int, out: Float32s) -> None:
        assert self.scales is not None  # checked when made
        block, at = self.block, start
        if at % block:
            head = min(stop, at - at % block + block)
            out[: head - at] *= self.scales[at // block]
            at = head
        whole = (stop - at) // block
        if whole:
            inner = out[at - start : at - start + whole * block].reshape(whole, block)
            inner *= self.scales[at // block : at // block + whole, None]
            at += whole * block
        if at < stop:
            out[at - start :] *= self.scales[at // block]

    def scaled(self, factor: float) -> EncodedVector:
        """This vector times ``factor`` >= 0 in the same codec: applies a norm bound without decoding."""
        if not (factor >= 0 and np.isfinite(factor)):
            raise AggregationError(f"the factor must be finite and not negative, not {factor}")
        by = np.float32(factor)
        if self.scales is not None:
            return EncodedVector(self.codec, self.size, self.block, self.codes, self.scales * by)
        return encode(self.decode() * by, self.codec)


def encode(vector: Float32s, codec: Codec, block: int | None = None) -> EncodedVector:
    """Encode a finite float32 vector ``(d,)``, d >= 1.

    ``block``: columns per scale (int8 and int4 only), by default :data:`BLOCK`. Rounding is to the nearest
    code, ties to even; bf16 likewise. Raises :class:`AggregationError` for another shape or dtype, for
    values that are not finite, and for an unknown codec.
    """
    vector = np.asarray(vector)
    if vector.ndim != 1 or vector.dtype != np.float32 or not len(vector):
        raise AggregationError(f"encode takes float32 (d,), d >= 1, not {vector.dtype} {vector.shape}")
    if codec not in CODECS:
        raise AggregationError(f"unknown codec {codec!r}: choose one of {', '.join(CODECS)}")
    if not np.logical_and.reduce(np.isfinite(vector)):
        raise AggregationError("a vector with NaN or infinities cannot be encoded")
    vector = np.ascontiguousarray(vector)
    if codec == "float32":
        return EncodedVector(codec, len(vector), 0, vector, None)
    if codec == "bf16":
        return EncodedVector(codec, len(vector), 0, _to_bf16(vector), None)
    block = BLOCK[codec] if block is None else block
    if block < 1:
        raise AggregationError(f"a block has at least {SMALLEST_BLOCK} columns, not {block}")
    codes, scales = _quantize(vector, codec, block)
    if codec == "int4":
        codes = np.append(codes, np.int8(0)) if len(codes) % 2 else codes
        low, high = codes[0::2].view(np.uint8), codes[1::2].view(np.uint8)
        packed = (low & 0x0F) | (high << 4)
        return EncodedVector(codec, len(vector), block, packed, scales)
    return EncodedVector(codec, len(vector), block, codes, scales)


def _to_bf16(vector: Float32s) -> npt.NDArray[np.uint16]:
    bits = vector.view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    # The largest float32 values would round up to infinity; they stay at the largest bf16 instead.
    overflow = (rounded & 0x7F800000) == 0x7F800000
    upper = (np.where(overflow, bits, rounded) >> 16).astype(np.uint16)
    return np.ascontiguousarray(upper)


def _quantize(vector: Float32s, codec: Codec, block: int) -> tuple[npt.NDArray[np.int8], Float32s]:
    """Codes (size,) int8 and scales (blocks,) float32, a block of rows at a time to bound the memory."""
    size, top = len(vector), np.float32(TOP[codec])
    blocks = -(-size // block)
    codes = np.empty(size, np.int8)
    scales = np.zeros(blocks, np.float32)
    per_step = max(1, (1 << 18) // block)
    for first in range(0, blocks, per_step):
        last = min(blocks, first + per_step)
        piece = vector[first * block : last * block]
        padded = np.zeros((last - first) * block, np.float32)
        padded[: len(piece)] = piece
        table = padded.reshape(-1, block)
        scale = np.minimum(np.maximum.reduce(np.abs(table), axis=1) / top, LARGEST_SCALE[codec])
        scales[first:last] = scale
        # Where a scale underflowed to zero, every number is so small that divided by one it rounds to zero, too.
        rounded = np.rint(table / np.where(scale > 0, scale, np.float32(1))[:, None])
        rounded = np.minimum(np.maximum(rounded, -top, out=rounded), top, out=rounded)
        codes[first * block : last * block] = rounded.astype(np.int8).reshape(-1)[: len(piece)]
    return codes, scales
