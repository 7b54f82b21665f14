"""A class that is made quickly is the class that it was, and as closed."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from banyan.security.quick import quick


@dataclass(frozen=True, slots=True)
class Slow:
    name: str
    size: int = 3
    shape: tuple[int, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    name: str
    size: int = 3
    shape: tuple[int, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class More(Quick):
    base: bytes = b""


@pytest.mark.parametrize(
    ("given", "named"), [(("a",), {}), (("a", 1), {"shape": (1, 2)}), ((), {"name": "b"})]
)
def test_it_is_made_as_any_other(given: tuple[str, ...], named: dict[str, object]) -> None:
    slow, made = Slow(*given, **named), Quick(*given, **named)  # type: ignore[arg-type]
    for part in fields(Slow):
        assert getattr(made, part.name) == getattr(slow, part.name)
    assert made == Quick(*given, **named) and hash(made) == hash(slow)  # type: ignore[arg-type]
    assert repr(made) == repr(slow).replace("Slow", "Quick")
    assert replace(made, size=9) == Quick(made.name, 9, made.shape)


def test_its_parameters_are_those_of_the_fields() -> None:
    assert inspect.signature(Quick) == inspect.signature(Slow)
    with pytest.raises(TypeError, match="name"):
        Quick()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Quick("a", colour=1)  # type: ignore[call-arg]


def test_it_stays_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Quick("a").name = "b"  # type: ignore[misc]


def test_what_is_inherited_is_set_too() -> None:
    assert More("a", base=b"x") == More("a", 3, (), b"x")
    assert More("a", base=b"x").name == "a"


def test_a_class_that_does_more_when_it_is_made_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Made:
        parts: list[int] = field(default_factory=list)

    @dataclass(frozen=True, slots=True)
    class Checked:
        size: int

        def __post_init__(self) -> None:
            assert self.size

    for kind in (Made, Checked):
        with pytest.raises(TypeError, match="more than set"):
            quick(kind)
