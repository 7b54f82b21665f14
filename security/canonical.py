"""Canonical msgpack: every value has exactly one encoding, and every accepted encoding is that one.

Signatures and hashes are made over bytes, so two encodings of one value would be two messages. The subset:
``None``, ``bool``, ``int`` (-2**63 … 2**64-1), finite ``float`` (always 8 bytes), ``str``, ``bytes``,
``list`` and ``dict`` with ``str`` keys sorted by their UTF-8 bytes; each in its shortest msgpack form.

The decoder is a recursive descent over the bytes. It compares every claimed length with the bytes that are
really there, and every container with the depth and item budgets, before it makes an object, so hostile input
can cost no more memory than a small multiple of its own size.

Before it comes msgpack's own decoder, three times as fast with its checks: what that finds is taken where encoding it
again gives the very bytes that came, and anything else is left to ours, which says what is wrong. It makes room for
what a list claims to hold, so it is let near short lists only: 1,024 of them, as deep as it goes, take 1.6 MB.
"""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Mapping
from itertools import chain
from operator import ne
from typing import Final, TypeAlias

import msgpack

from banyan.security.errors import Refused

Plain: TypeAlias = bool | int | float | str | bytes | list["Plain"] | dict[str, "Plain"] | None

MAX_DEPTH: Final = 8
MAX_ITEMS: Final = 65_536

_FLOAT64: Final = struct.Struct(">d")
_SHORT: Final = 192
"""Entries of the longest list or map that is left to msgpack's decoder."""

_KINDS: Final = frozenset({type(None), bool, int, str, bytes, list, dict})


class CanonicalError(Refused):
    """Bytes that are not the canonical encoding of any value, or a value that has no encoding.

    The reason is ``too-long`` if only a budget (bytes, depth, items) is exceeded, otherwise ``malformed``.
    """


def encode(value: object) -> bytes:
    """The one canonical encoding of ``value``; tuples are written as lists.

    Raises :class:`CanonicalError` for any other type, a non-finite float, an integer beyond 64 bits, a key
    that is not a ``str`` or text that is not valid Unicode.
    """
    return encode_ordered(_ordered(value, 0))


def encode_ordered(value: Plain) -> bytes:
    """As :func:`encode`, of a value of the subset whose maps are sorted already, as those of
    :func:`~banyan.security.schema.to_plain` are: it is not looked through again.

    Raises :class:`CanonicalError` for an integer beyond 64 bits and text that is not valid Unicode.
    """
    try:
        packed: bytes = _thread.pack(value)
    except (OverflowError, UnicodeEncodeError, ValueError) as error:
        raise CanonicalError("malformed", f"The value cannot be encoded: {error}") from error
    return packed


def encode_map(entries: Mapping[str, bytes]) -> bytes:
    """The encoding of a map of at most 15 entries whose values are encoded already."""
    if len(entries) > 15:
        raise ValueError(f"{len(entries)} entries where at most 15 can be put together")
    parts = (part for key in sorted(entries) for part in (encode(key), entries[key]))
    return bytes([0x80 | len(entries)]) + b"".join(parts)


def decode(
    data: bytes,
    *,
    max_bytes: int,
    max_depth: int = MAX_DEPTH,
    max_items: int = MAX_ITEMS,
    floats: bool = False,
) -> Plain:
    """The value whose canonical encoding is ``data``; ``encode(decode(data)) == data`` always holds.

    ``max_items`` bounds the list elements and map entries of the whole document together, ``max_depth`` the
    nesting of containers. Floats are refused unless ``floats`` is true. Raises :class:`CanonicalError`.
    """
    if len(data) > max_bytes:
        raise _too_long(f"{len(data)} bytes where at most {max_bytes} are allowed")
    try:
        value: Plain = msgpack.unpackb(data, max_array_len=_SHORT, max_map_len=_SHORT)
    except (ValueError, msgpack.UnpackException):
        pass  # refused below, with the reason, or only longer than msgpack is trusted with
    else:
        if _is_within(value, max_depth, max_items, floats) and _thread.pack(value) == data:
            return value
    reader = _Reader(data, max_items, floats)
    value = reader.read(max_depth)
    if reader.at != len(data):
        raise _malformed(f"{len(data) - reader.at} bytes follow the end of the value")
    return value


class _Thread(threading.local):
    """A thread's own packer: to make one takes as long as to pack a message."""

    def __init__(self) -> None:
        self.pack = msgpack.Packer().pack


_thread: Final = _Thread()

_AS_IS: Final = frozenset({str, int, bytes, bool, type(None)})
"""Types that need no look inside."""


def _ordered(value: object, depth: int) -> Plain:
    """``value`` with every map sorted and every type checked, ready for msgpack's own (minimal) packing."""
    kind = type(value)
    # Exact types only: an Enum or a numpy scalar would encode today and decode as something else.
    if kind in _AS_IS:
        return value  # type: ignore[return-value]
    if isinstance(value, float) and kind is float:
        if not math.isfinite(value):
            raise _malformed(f"{value} is not a finite number")
        return value
    if depth >= 64:
        raise _malformed("the value is nested too deeply, or contains itself")
    if isinstance(value, list | tuple):
        return [item if type(item) in _AS_IS else _ordered(item, depth + 1) for item in value]
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                raise _malformed(f"a map key must be text, not {type(key).__name__}")
        # Code-point order is UTF-8 byte order: UTF-8 was designed so.
        return {
            key: item if type(item := value[key]) in _AS_IS else _ordered(item, depth + 1)
            for key in sorted(value)
        }
    raise _malformed(f"{kind.__name__} has no canonical encoding")


def _is_within(value: Plain, depth: int, items: int, floats: bool) -> bool:
    """Whether ``value`` is within its budgets, and has maps in order and values of the subset only."""
    kinds = _KINDS | {float} if floats else _KINDS
    level: list[Plain] = [value]
    while True:
        found = set(map(type, level))
        if not found <= kinds:
            return False
        if float in found and not all(math.isfinite(each) for each in level if isinstance(each, float)):
            return False
        if dict not in found and list not in found:
            return True
        maps = [each for each in level if isinstance(each, dict)]
        keys = [[*each] for each in maps]
        if not {str}.issuperset(map(type, chain(*keys))) or any(map(ne, keys, map(sorted, keys))):
            return False
        lists = [each for each in level if isinstance(each, list)]
        level = [*chain(*lists, *(each.values() for each in maps))]
        depth, items = depth - 1, items - len(level)
        if depth < 0 or items < 0:
            return False


class _Reader:
    """A cursor over the bytes of one document."""

    __slots__ = ("at", "data", "end", "floats", "items_left")

    def __init__(self, data: bytes, max_items: int, floats: bool) -> None:
        self.data = data
        self.end = len(data)
        self.at = 0
        self.items_left = max_items
        self.floats = floats

    def read(self, depth: int) -> Plain:
        """The next value, which may nest ``depth`` containers deep."""
        at = self.at
        if at >= self.end:
            raise _malformed("the value ends too early")
        tag = self.data[at]
        self.at = at + 1
        if tag <= 0x7F:
            return tag
        if tag >= 0xE0:
            return tag - 0x100
        if 0xA0 <= tag <= 0xBF:
            return self._text(tag & 0x1F)
        if tag <= 0x8F:
            return self._map(tag & 0x0F, depth)
        if tag <= 0x9F:
            return self._list(tag & 0x0F, depth)
        return self._tagged(tag, depth)

    def _tagged(self, tag: int, depth: int) -> Plain:
        match tag:
            case 0xC0:
                return None
            case 0xC2 | 0xC3:
                return tag == 0xC3
            case 0xC4 | 0xC5 | 0xC6:
                return self._take(self._length(tag - 0xC4, least=0))
            case 0xD9 | 0xDA | 0xDB:
                return self._text(self._length(tag - 0xD9, least=0x20))
            case 0xDC | 0xDD:
                return self._list(self._length(tag - 0xDC + 1, least=0x10), depth)
            case 0xDE | 0xDF:
                return self._map(self._length(tag - 0xDE + 1, least=0x10), depth)
            case 0xCC | 0xCD | 0xCE | 0xCF:
                return self._unsigned(tag - 0xCC)
            case 0xD0 | 0xD1 | 0xD2 | 0xD3:
                return self._negative(tag - 0xD0)
            case 0xCB:
                return self._float()
        raise _malformed(f"byte 0x{tag:02x} begins no value of the canonical subset")

    def _take(self, length: int) -> bytes:
        at, stop = self.at, self.at + length
        if stop > self.end:
            raise _malformed(f"{length} bytes announced where {self.end - at} are left")
        self.at = stop
        return self.data[at:stop]

    def _length(self, width: int, *, least: int) -> int:
        """A length in 1, 2 or 4 bytes (``width`` 0, 1, 2) that no shorter form could have said."""
        length = int.from_bytes(self._take(1 << width), "big")
        # Below a 32-bit length comes a 16-bit one; below that an 8-bit one, which only text and bytes have.
        shorter = {0: least, 1: least if least == 0x10 else 0x100, 2: 0x10000}[width]
        if length < shorter:
            raise _malformed("a length is not in its shortest form")
        return length

    def _unsigned(self, width: int) -> int:
        value = int.from_bytes(self._take(1 << width), "big")
        if value < (0x80, 0x100, 0x1_0000, 0x1_0000_0000)[width]:
            raise _malformed("an integer is not in its shortest form")
        return value

    def _negative(self, width: int) -> int:
        value = int.from_bytes(self._take(1 << width), "big", signed=True)
        if value >= (-0x20, -0x80, -0x8000, -0x8000_0000)[width]:
            raise _malformed("an integer is not in its shortest form")
        return value

    def _float(self) -> float:
        if not self.floats:
            raise _malformed("a floating-point number stands where none is allowed")
        value: float = _FLOAT64.unpack(self._take(8))[0]
        if not math.isfinite(value):
            raise _malformed(f"{value} is not a finite number")
        return value

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise _malformed("text is not valid UTF-8") from None

    def _enter(self, count: int, smallest: int, depth: int) -> None:
        """Pay for a container of ``count`` entries of at least ``smallest`` bytes each, before making it."""
        if depth <= 0:
            raise _too_long("values are nested too deeply")
        if count * smallest > self.end - self.at:
            raise _malformed(f"{count} items announced where {self.end - self.at} bytes are left")
        if count > self.items_left:
            raise _too_long("there are too many items")
        self.items_left -= count

    def _list(self, count: int, depth: int) -> Plain:
        self._enter(count, 1, depth)
        return [self.read(depth - 1) for _ in range(count)]

    def _map(self, count: int, depth: int) -> Plain:
        self._enter(count, 2, depth)
        entries: dict[str, Plain] = {}
        previous: str | None = None
        for _ in range(count):
            key = self.read(depth - 1)
            if not isinstance(key, str):
                raise _malformed("a map key is not text")
            if previous is not None and key <= previous:
                raise _malformed(f"map key {key[:64]!r} is repeated or out of order")
            entries[key] = self.read(depth - 1)
            previous = key
        return entries


def _malformed(what: str) -> CanonicalError:
    return CanonicalError("malformed", f"The data is not canonical msgpack: {what}")


def _too_long(what: str) -> CanonicalError:
    return CanonicalError("too-long", f"The data is over its limit: {what}")
