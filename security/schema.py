"""Frozen dataclasses to and from plain maps, strictly: the shape of every document and message.

A field's annotation is its whole contract::

    @dataclass(frozen=True, slots=True)
    class FileEntry:
        name: Annotated[str, Length(1, 200)]
        size: Annotated[int, Between(0, 2**40)]
        digest: Digest

``to_plain(entry)`` gives ``{"digest": …, "name": …, "size": …}``, and ``to_bytes(entry)`` that in canonical encoding;
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
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import repeat
from typing import (
    Annotated,
    Any,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from banyan.security import canonical
from banyan.security.errors import Refused

T = TypeVar("T")


class SchemaError(Refused):
    """A document has a field too many, too few, of the wrong type or out of bounds; reason ``malformed``.

    ``field`` is the path to it, such as ``round.deadline`` or ``files[3].size``, and empty for the document as a
    whole. A ``__post_init__`` raises it with the name of its own field.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__("malformed", f"{field or 'The document'} {problem}")
        self.args = (field, problem)
        self.field = field
        self.problem = problem

    def within(self, outer: str) -> SchemaError:
        """The same error as seen from the document whose field ``outer`` holds this one."""
        inner = self.field if self.field.startswith("[") or not self.field else f".{self.field}"
        return SchemaError(outer + inner, self.problem)


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

Printable = Matches(str.isprintable, "printable text")
"""For text that people will see: no line breaks, terminal escapes or reversed writing from a stranger."""


def to_plain(document: object) -> dict[str, object]:
    """The plain map of a frozen dataclass, sorted as its canonical encoding is; raises :class:`SchemaError` if a field
    breaks its annotation."""
    return cast(dict[str, object], _dataclass(type(document)).write(document))


def to_bytes(document: object) -> bytes:
    """The canonical encoding of a frozen dataclass; raises as :func:`to_plain`, and ``CanonicalError``."""
    return canonical.encode_ordered(_dataclass(type(document)).write(document))


def fields_to_plain(document: object, *, but: str) -> dict[str, object]:
    """As :func:`to_plain`, without the field ``but``, which the caller writes itself."""
    return cast(dict[str, object], _dataclass(type(document)).write(document, but))


def from_plain(cls: type[T], plain: object) -> T:
    """The ``cls`` that ``plain`` describes; raises :class:`SchemaError` naming the first field at fault."""
    return cast(T, _dataclass(cls).read(plain))


_Step: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Converter:
    """How one annotated type is read from plain values and written to them."""

    read: _Step
    write: Callable[..., Any]


_CONVERTERS: dict[type, _Converter] = {}  # one per dataclass, made at first use


def _dataclass(cls: type) -> _Converter:
    converter = _CONVERTERS.get(cls)
    if converter is None:
        converter = _CONVERTERS[cls] = _compile(cls)
    return converter


def _compile(cls: type) -> _Converter:
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise TypeError(f"{cls!r} is not a dataclass")
    hints = get_type_hints(cls, include_extras=True)
    converters = {field.name: _converter(hints[field.name]) for field in fields(cls)}
    readers = {name: converter.read for name, converter in converters.items()}
    writers = [(name, converters[name].write) for name in sorted(converters)]

    def read(plain: object) -> object:
        if type(plain) is not dict:
            raise SchemaError("", f"must be a map, not {_kind(plain)}")
        if plain.keys() != readers.keys():
            raise _wrong_fields(plain, readers)
        values = {}
        name = ""
        try:
            for name, read_field in readers.items():
                values[name] = read_field(plain[name])
        except SchemaError as error:
            raise error.within(name) from None
        return cls(**values)

    def write(value: object, but: str = "") -> object:
        if type(value) is not cls:
            raise SchemaError("", f"must be a {cls.__name__}, not {_kind(value)}")
        plain = {}
        name = ""
        try:
            for name, write_field in writers:
                if name != but:
                    plain[name] = write_field(getattr(value, name))
        except SchemaError as error:
            raise error.within(name) from None
        return plain

    return _Converter(read, write)


def _wrong_fields(plain: dict[Any, Any], known: Collection[str]) -> SchemaError:
    for name in plain:
        if name not in known:
            shown = str(name)[:64]
            return SchemaError(shown if shown.isidentifier() else repr(shown), "is not a known field")
    return SchemaError(next(name for name in known if name not in plain), "is missing")


def _converter(hint: Any) -> _Converter:
    """The converter of one annotation. Raises TypeError (a programmer's error) for an unsupported one."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [mark for mark in arguments[1:] if hasattr(mark, "problem")]
        if arguments[0] in _SCALARS:
            return _scalar(arguments[0], bounds)
        return _bounded(_converter(arguments[0]), bounds)
    if origin is tuple:
        return _tuple(arguments)
    if origin in (Union, types.UnionType):
        (inner,) = [argument for argument in arguments if argument is not types.NoneType]
        return _optional(_converter(inner))
    if origin is Literal:
        choices = ", ".join(map(repr, arguments))
        return _scalar(str, [Matches(lambda value: value in arguments, f"one of {choices}")])
    if hint is float:
        return _float()
    if hint in _SCALARS:
        return _scalar(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass(hint)
    raise TypeError(f"a field cannot be annotated with {hint!r}")


def _scalar(kind: type, bounds: Sequence[Bound] = ()) -> _Converter:
    problems = [bound.problem for bound in bounds]

    def typed(value: object) -> object:
        if type(value) is not kind:
            raise SchemaError("", f"must be {_NAMES[kind]}, not {_kind(value)}")
        return value

    def bounded(value: object) -> object:
        if type(value) is not kind:
            raise SchemaError("", f"must be {_NAMES[kind]}, not {_kind(value)}")
        for problem in problems:
            found = problem(value)
            if found is not None:
                raise SchemaError("", found)
        return value

    same = bounded if problems else typed
    return _Converter(same, same)


def _float() -> _Converter:
    def read(value: object) -> float:
        if type(value) is not float:
            raise SchemaError("", f"must be {_NAMES[float]}, not {_kind(value)}")
        if not math.isfinite(value):
            raise SchemaError("", f"must be a finite number, not {value}")
        return value

    # A caller may write 2 for 2.0; the wire may not, or one value would have two encodings.
    return _Converter(read, lambda value: read(float(value) if type(value) is int else value))


def _bounded(inner: _Converter, bounds: list[Bound]) -> _Converter:
    def check(value: object) -> None:
        for bound in bounds:
            problem = bound.problem(value)
            if problem is not None:
                raise SchemaError("", problem)

    def read(plain: object) -> object:
        value = inner.read(plain)
        if value is not None:
            check(value)
        return value

    def write(value: object) -> object:
        plain = inner.write(value)
        if value is not None:
            check(value)
        return plain

    return _Converter(read, write)


def _optional(inner: _Converter) -> _Converter:
    return _Converter(
        lambda plain: None if plain is None else inner.read(plain),
        lambda value: None if value is None else inner.write(value),
    )


def _tuple(arguments: tuple[Any, ...]) -> _Converter:
    repeated = len(arguments) == 2 and arguments[1] is Ellipsis
    converters = [_converter(argument) for argument in (arguments[:1] if repeated else arguments)]

    readers = [converter.read for converter in converters]
    writers = [converter.write for converter in converters]

    def each(steps: list[_Step], values: Any) -> Iterable[tuple[_Step, Any]]:
        if repeated:
            return zip(repeat(steps[0], len(values)), values, strict=True)
        if len(values) != len(steps):
            raise SchemaError("", f"must have {len(steps)} items, not {len(values)}")
        return zip(steps, values, strict=True)

    def read(plain: object) -> object:
        if type(plain) is not list:
            raise SchemaError("", f"must be a list, not {_kind(plain)}")
        return tuple(_numbered(each(readers, plain)))

    def write(value: object) -> object:
        if type(value) is not tuple:
            raise SchemaError("", f"must be a tuple, not {_kind(value)}")
        return _numbered(each(writers, value))

    return _Converter(read, write)


def _numbered(steps: Iterable[tuple[_Step, Any]]) -> list[Any]:
    """Every step done, in order; an error names the number of its item."""
    done: list[Any] = []
    try:
        for step, value in steps:
            done.append(step(value))
    except SchemaError as error:
        raise error.within(f"[{len(done)}]") from None
    return done


_NAMES = {
    str: "text",
    int: "an integer",
    float: "a floating-point number",
    bool: "true or false",
    bytes: "bytes",
}
_SCALARS = _NAMES.keys() - {float}


def _kind(value: object) -> str:
    return _NAMES.get(type(value), "nothing" if value is None else type(value).__name__)
