from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.security.canonical import CanonicalError, decode, encode
from banyan.security.schema import Between, Length, Matches, SchemaError, from_plain, to_bytes, to_plain

Even = Annotated[int, Matches(lambda number: number % 2 == 0, "even")]


@dataclass(frozen=True, slots=True)
class Leaf:
    name: Annotated[str, Length(1, 4)]
    weight: Annotated[float, Between(0.0, 1.0)]


@dataclass(frozen=True, slots=True)
class Tree:
    kind: Literal["oak", "fig"]
    age: Annotated[int, Between(0, 3)]
    alive: bool
    ring: bytes | None
    best: Leaf | None
    leaves: Annotated[tuple[Leaf, ...], Length(0, 2)]
    position: tuple[int, str]
    twigs: Even = 0

    def __post_init__(self) -> None:
        if self.age == 3 and self.alive:
            raise SchemaError("age", "must be less than 3 for a living tree")


FIG = Tree("fig", 2, True, b"\x01", None, (Leaf("a", 0.5), Leaf("é", 1.0)), (4, "x"), 8)

leaves = st.builds(Leaf, st.text("aé", min_size=1, max_size=2), st.floats(0, 1))
trees = st.builds(
    Tree,
    st.sampled_from(["oak", "fig"]),
    st.integers(0, 2),
    st.booleans(),
    st.none() | st.binary(),
    st.none() | leaves,
    st.lists(leaves, max_size=2).map(tuple),
    st.tuples(st.integers(-9, 9), st.text(max_size=3)),
    st.integers(0, 9).map(lambda n: 2 * n),
)


@given(trees)
def test_a_document_survives_the_wire(tree: Tree) -> None:
    data = encode(to_plain(tree))
    assert from_plain(Tree, decode(data, max_bytes=10_000, floats=True)) == tree


@given(trees)
def test_a_document_has_one_encoding_in_whatever_order_its_fields_are_declared(tree: Tree) -> None:
    assert to_bytes(tree) == encode(dict(reversed(to_plain(tree).items())))


def test_text_and_numbers_that_have_no_encoding_are_refused() -> None:
    for change in ({"position": (2**64, "x")}, {"position": (0, "\ud800")}):
        with pytest.raises(CanonicalError) as caught:
            to_bytes(replace(FIG, **change))
        assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "elm"}, "kind"),
        ({"kind": 1}, "kind"),
        ({"age": 4}, "age"),
        ({"age": -1}, "age"),
        ({"age": True}, "age"),
        ({"age": 1.0}, "age"),
        ({"age": "1"}, "age"),
        ({"age": None}, "age"),
        ({"age": 3}, "age"),
        ({"alive": 1}, "alive"),
        ({"ring": "text"}, "ring"),
        ({"best": []}, "best"),
        ({"best": {"name": "a"}}, "best.weight"),
        ({"best": {"name": "a", "weight": 0.5, "wight": 1}}, "best.wight"),
        ({"leaves": {}}, "leaves"),
        ({"leaves": [{"name": "a", "weight": 0.5}] * 3}, "leaves"),
        ({"leaves": [{"name": "a", "weight": 0.5}, {"name": "éée", "weight": 0.5}]}, "leaves[1].name"),
        ({"leaves": [{"name": "a", "weight": 1}]}, "leaves[0].weight"),
        ({"leaves": [{"name": "a", "weight": float("nan")}]}, "leaves[0].weight"),
        ({"position": [4]}, "position"),
        ({"position": [4, 4]}, "position[1]"),
        ({"twigs": 3}, "twigs"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_field_at_fault_is_refused_by_its_name(change: dict[str, object], field: str) -> None:
    with pytest.raises(SchemaError) as caught:
        from_plain(Tree, {**to_plain(FIG), **change})
    assert caught.value.field == field
    assert caught.value.reason == "malformed"
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize("name", ["kind", "twigs"])
def test_every_field_must_be_there_even_one_with_a_default(name: str) -> None:
    plain = to_plain(FIG)
    del plain[name]
    with pytest.raises(SchemaError, match=f"{name} is missing"):
        from_plain(Tree, plain)


@pytest.mark.parametrize("plain", [None, [], "tree", 1, b""])
def test_a_document_that_is_no_map_is_refused(plain: object) -> None:
    with pytest.raises(SchemaError):
        from_plain(Tree, plain)


def test_a_node_never_writes_what_others_would_refuse() -> None:
    with pytest.raises(SchemaError, match=r"leaves\[0\]\.name must have 1 to 4 bytes, not 5"):
        to_plain(Tree("oak", 0, True, None, None, (Leaf("elder", 0.1),), (0, "")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"leaves": [FIG.leaves[0]]}, "leaves must be a tuple"),
        ({"best": "a leaf"}, "best must be a Leaf, not text"),
    ],
)
def test_an_object_of_the_wrong_type_is_not_written(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        to_plain(replace(FIG, **change))


def test_an_integer_given_for_a_float_is_written_as_a_float() -> None:
    assert repr(to_plain(Leaf("a", 1))["weight"]) == "1.0"


def test_an_unsupported_annotation_is_a_programming_error() -> None:
    @dataclass(frozen=True)
    class Wrong:
        anything: object

    with pytest.raises(TypeError, match="cannot be annotated"):
        to_plain(Wrong(1))
    with pytest.raises(TypeError, match="is not a dataclass"):
        to_plain({"a": "map"})
