"""Frozen dataclasses to and from plain maps, strictly: the shape of every document and message.

A field's annotation is its whole contract::

    @dataclass(frozen=True, slots=True)
    class FileEntry:
        name: Annotated[str, Length(1, 200)]
        size: Annotated[int, Between(0, 2**40)]
        digest: Digest

``to_plain(entry)`` gives ``{"name": …, "size": …, "digest": …}``, ready for ``canonical.encode``;
``from_plain(FileEntry, plain)`` rebuilds the same object, or raises :class:`SchemaError` naming the field.
Both directions check, so a node never says what others would refuse. Every field must be present (a default
is for the constructor, not for the wire: one value, one encoding) and an unknown field is refused.

Supported types: ``str``, ``int``, ``float`` (finite), ``bool``, ``bytes``, ``Literal`` of text, frozen
dataclasses, ``tuple[X, ...]``, ``tuple[X, Y]`` and ``X | None`` of these. A dataclass's own ``__post_init__``
may check what concerns several fields at once.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import (
    Annotated,
    Any,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from banyan.security.errors import Refused

T = TypeVar("T")


class SchemaError(Refused):
    """A document has a field too many, too few, of the wrong type or out of bounds; reason ``malformed``.

    ``field`` is the path to it, such as ``round.deadline`` or ``files[3].size``.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__("malformed", f"{field or 'The document'} {problem}")
        self.args = (field, problem)
        self.field = field


class Bound(Protocol):
    """What an annotation may carry to narrow its type."""

    def problem(self, value: Any) -> str | None:
        """What is wrong with ``value`` as the end of a sentence ("must be …"), or None."""


@dataclass(frozen=True, slots=True)
class Length:
    """The number of UTF-8 bytes of a text, of bytes, or of items of a tuple; both ends included."""

    least: int
    most: int

    def problem(self, value: Any) -> str | None:
        size = len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else len(value)
        if self.least <= size <= self.most:
            return None
        allowed = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        unit = "items" if isinstance(value, tuple) else "bytes"
        return f"must have {allowed} {unit}, not {size}"


@dataclass(frozen=True, slots=True)
class Between:
    """A number from ``least`` to ``most``, both included."""

    least: float
    most: float

    def problem(self, value: Any) -> str | None:
        if self.least <= value <= self.most:
            return None
        return f"must be from {self.least} to {self.most}, not {value}"


@dataclass(frozen=True, slots=True)
class Matches:
    """A value that ``accepts`` says yes to; ``meaning`` completes "must be …".

    Give such an annotation a name at module level: a lambda written inside a field's annotation would not see
    its module's globals.
    """

    accepts: Callable[[Any], bool]
    meaning: str

    def problem(self, value: Any) -> str | None:
        return None if self.accepts(value) else f"must be {self.meaning}"


Digest: TypeAlias = Annotated[bytes, Length(32, 32)]  # a raw SHA-256


def to_plain(document: object) -> dict[str, object]:
    """The plain map of a frozen dataclass; raises :class:`SchemaError` if a field breaks its annotation."""
    plain = _dataclass(type(document)).write(document, "")
    assert isinstance(plain, dict)  # for mypy: the converter of a dataclass writes maps
    return plain


def from_plain(cls: type[T], plain: object) -> T:
    """The ``cls`` that ``plain`` describes; raises :class:`SchemaError` naming the first field at fault."""
    document = _dataclass(cls).read(plain, "")
    assert isinstance(document, cls)
    return document


@dataclass(frozen=True, slots=True)
class _Converter:
    """How one annotated type is read from and written to plain values; ``where`` is the path for errors."""

    read: Callable[[object, str], object]
    write: Callable[[object, str], object]


_CONVERTERS: dict[type, _Converter] = {}  # one per dataclass, made at first use


def _dataclass(cls: type) -> _Converter:
    if cls not in _CONVERTERS:
        _CONVERTERS[cls] = _compile(cls)
    return _CONVERTERS[cls]


def _compile(cls: type) -> _Converter:
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise TypeError(f"{cls!r} is not a dataclass")
    hints = get_type_hints(cls, include_extras=True)
    names = [field.name for field in fields(cls)]
    converters = {name: _converter(hints[name]) for name in names}
    expected = frozenset(names)

    def read(plain: object, where: str) -> object:
        if not isinstance(plain, dict):
            raise SchemaError(where, f"must be a map, not {_kind(plain)}")
        if plain.keys() != expected:
            for name in plain:
                if name not in expected:
                    raise SchemaError(_join(where, str(name)[:64]), "is not a known field")
            missing = next(name for name in names if name not in plain)
            raise SchemaError(_join(where, missing), "is missing")
        return cls(**{name: converters[name].read(plain[name], _join(where, name)) for name in names})

    def write(value: object, where: str) -> object:
        if type(value) is not cls:
            raise SchemaError(where, f"must be a {cls.__name__}, not {_kind(value)}")
        return {name: converters[name].write(getattr(value, name), _join(where, name)) for name in names}

    return _Converter(read, write)


def _converter(hint: Any) -> _Converter:
    """The converter of one annotation. Raises TypeError (a programmer's error) for an unsupported one."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [mark for mark in arguments[1:] if hasattr(mark, "problem")]
        return _bounded(_converter(arguments[0]), bounds)
    if origin is tuple:
        return _tuple(arguments)
    if origin in (Union, types.UnionType):
        (inner,) = [argument for argument in arguments if argument is not types.NoneType]
        return _optional(_converter(inner))
    if origin is Literal:
        choices = ", ".join(map(repr, arguments))
        return _bounded(_scalar(str), [Matches(lambda value: value in arguments, f"one of {choices}")])
    if hint in (str, int, float, bool, bytes):
        return _scalar(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _Converter(
            lambda plain, where: _dataclass(hint).read(plain, where),
            lambda value, where: _dataclass(hint).write(value, where),
        )
    raise TypeError(f"a field cannot be annotated with {hint!r}")


def _scalar(kind: type) -> _Converter:
    def read(value: object, where: str) -> object:
        if type(value) is not kind:
            raise SchemaError(where, f"must be {_NAMES[kind]}, not {_kind(value)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise SchemaError(where, f"must be a finite number, not {value}")
        return value

    def write(value: object, where: str) -> object:
        # A caller may write 2 for 2.0; the wire may not, or one value would have two encodings.
        return read(float(value) if kind is float and type(value) is int else value, where)

    return _Converter(read, write)


def _bounded(inner: _Converter, bounds: list[Bound]) -> _Converter:
    def check(value: object, where: str) -> None:
        for bound in bounds:
            problem = bound.problem(value)
            if problem is not None:
                raise SchemaError(where, problem)

    def read(plain: object, where: str) -> object:
        value = inner.read(plain, where)
        if value is not None:
            check(value, where)
        return value

    def write(value: object, where: str) -> object:
        plain = inner.write(value, where)
        if value is not None:
            check(value, where)
        return plain

    return _Converter(read, write)


def _optional(inner: _Converter) -> _Converter:
    return _Converter(
        lambda plain, where: None if plain is None else inner.read(plain, where),
        lambda value, where: None if value is None else inner.write(value, where),
    )


def _tuple(arguments: tuple[Any, ...]) -> _Converter:
    repeated = len(arguments) == 2 and arguments[1] is Ellipsis
    converters = [_converter(argument) for argument in (arguments[:1] if repeated else arguments)]

    def each(values: Any, where: str) -> list[_Converter]:
        if not repeated and len(values) != len(converters):
            raise SchemaError(where, f"must have {len(converters)} items, not {len(values)}")
        return converters * len(values) if repeated else converters

    def read(plain: object, where: str) -> object:
        if not isinstance(plain, list):
            raise SchemaError(where, f"must be a list, not {_kind(plain)}")
        pairs = zip(each(plain, where), plain, strict=True)
        return tuple(item.read(value, f"{where}[{i}]") for i, (item, value) in enumerate(pairs))

    def write(value: object, where: str) -> object:
        if not isinstance(value, tuple):
            raise SchemaError(where, f"must be a tuple, not {_kind(value)}")
        pairs = zip(each(value, where), value, strict=True)
        return [item.write(part, f"{where}[{i}]") for i, (item, part) in enumerate(pairs)]

    return _Converter(read, write)


_NAMES = {
    str: "text",
    int: "an integer",
    float: "a floating-point number",
    bool: "true or false",
    bytes: "bytes",
}


def _kind(value: object) -> str:
    return _NAMES.get(type(value), "nothing" if value is None else type(value).__name__)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
