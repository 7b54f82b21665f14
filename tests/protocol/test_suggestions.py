"""What the geometry of updates suggests, on geometry that is known."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.aggregation import encode
from banyan.node.learning.directions import MOST, directions
from banyan.protocol import suggestions
from banyan.protocol.effects import Aggregated
from banyan.protocol.events import BranchMergeSuggested, BranchSplitSuggested, Event
from banyan.protocol.release import Contribution, Release, Seat
from banyan.protocol.suggestions import GAP, NEAR, ROUNDS, Suggestions, distance_of, split_of

DIMENSION = 200


def name(number: int) -> str:
    return f"member {number:02}"


def key(source: str, height: int) -> bytes:
    return f"{height:04}{source}".encode().ljust(32, b"\0")[:32]


def two_ends(rng: np.random.Generator, sizes: tuple[int, int], noise: float = 0.5) -> np.ndarray:
    """Updates of members that pull to two ends, as they do once their branch stands between them."""
    end = rng.standard_normal(DIMENSION)
    sides = [end] * sizes[0] + [-end] * sizes[1]
    return np.array([side + noise * rng.standard_normal(DIMENSION) for side in sides])


def cosines_of(updates: np.ndarray) -> np.ndarray:
    unit = updates / np.linalg.norm(updates, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def names_of(updates: np.ndarray) -> list[str]:
    return [name(number) for number in range(len(updates))]


@pytest.mark.parametrize("sizes", [(5, 5), (3, 9), (2, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_members_that_pull_to_two_ends_are_two_groups(sizes: tuple[int, int], seed: int) -> None:
    updates = two_ends(np.random.default_rng(seed), sizes)
    found = split_of(names_of(updates), cosines_of(updates), 2)
    assert found is not None
    assert sorted(map(len, found.groups)) == sorted(sizes)
    assert {frozenset(group) for group in found.groups} == {
        frozenset(map(name, range(sizes[0]))),
        frozenset(map(name, range(sizes[0], sum(sizes)))),
    }
    assert found.within > 0.5 > 0 > found.across


def agreeing(rng: np.random.Generator) -> np.ndarray:
    """One end, and everybody's own noise."""
    return rng.standard_normal(DIMENSION) + rng.standard_normal((12, DIMENSION))


def aimless(rng: np.random.Generator) -> np.ndarray:
    """No end at all: at its optimum a branch's members pull anywhere."""
    return np.asarray(rng.standard_normal((12, DIMENSION)))


def everyone_their_own(rng: np.random.Generator) -> np.ndarray:
    """Six ends, two members each."""
    ends = rng.standard_normal((6, DIMENSION))
    return np.repeat(ends, 2, axis=0) + 0.5 * rng.standard_normal((12, DIMENSION))


@pytest.mark.parametrize("updates", [agreeing, aimless, everyone_their_own])
@pytest.mark.parametrize("seed", range(20))
def test_members_that_agree_or_have_each_an_end_of_their_own_are_no_two_groups(updates, seed: int) -> None:
    drawn = updates(np.random.default_rng(seed))
    assert split_of(names_of(drawn), cosines_of(drawn), 2) is None


@given(st.integers(0, 10_000), st.integers(2, 12), st.sampled_from([0.0, 0.15, 0.3, 0.5, 1.0, 2.0]))
def test_what_is_seen_at_once_to_be_no_two_groups_is_none_when_looked_at_closely(
    seed: int, count: int, pull: float
) -> None:
    rng = np.random.default_rng(seed)
    sides = rng.choice([-1.0, 0.5, 1.0], size=(2 * count, 1)) * pull
    cosines = cosines_of(sides * rng.standard_normal(DIMENSION) + rng.standard_normal((2 * count, DIMENSION)))
    with pytest.MonkeyPatch.context() as closely:
        closely.setattr(suggestions, "_could_split", lambda cosines: True)
        found = split_of(list(map(name, range(2 * count))), cosines, 2)
    assert split_of(list(map(name, range(2 * count))), cosines, 2) == found


def test_a_group_no_larger_than_the_liars_may_be_is_none() -> None:
    updates = two_ends(np.random.default_rng(0), (2, 8))
    assert split_of(names_of(updates), cosines_of(updates), 2) is not None
    assert split_of(names_of(updates), cosines_of(updates), 3) is None


@given(st.integers(0, 10_000), st.integers(2, 20))
def test_groups_do_not_hang_on_the_order_of_the_updates(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    updates = two_ends(rng, (count, count + 1), noise=1.0)
    names, order = names_of(updates), rng.permutation(len(updates))
    one = split_of(names, cosines_of(updates), 2)
    other = split_of([names[place] for place in order], cosines_of(updates[order]), 2)
    assert (one and one.groups) == (other and other.groups)


def test_where_vectors_point_is_told_to_three_decimals_and_a_zero_vector_points_nowhere() -> None:
    rng = np.random.default_rng(1)
    assert_told(rng, 100_003, 1e-5, 6e-4)
    assert_told(rng, 1_000_003, 0.02, 0.012)  # of which 131,072 columns are looked at


def assert_told(rng: np.random.Generator, columns: int, norm: float, cosine: float) -> None:
    vectors = [encode(v.astype(np.float32), "int8") for v in rng.standard_normal((4, columns))]
    vectors.append(encode(np.zeros(columns, np.float32), "int8"))
    found = directions([bytes([number]) for number in range(5)], vectors)
    decoded = np.array([vector.decode() for vector in vectors], dtype=np.float64)
    np.testing.assert_allclose([norm for _, norm, _ in found], np.linalg.norm(decoded, axis=1), rtol=norm)
    np.testing.assert_allclose([row[:4] for *_, row in found[:4]], cosines_of(decoded[:4]), atol=cosine)
    assert set(found[4][2]) == {0.0}
    assert directions([b""], vectors[:1]) == directions([b""] * (MOST + 1), vectors[:1] * (MOST + 1)) == ()


# ------------------------------------------------------------------------------------ over rounds


class Watching:
    """Suggestions of one node, and the rounds of ``/en`` that it sees."""

    def __init__(self, liars: int = 1) -> None:
        self.told: list[Event] = []
        self.suggestions = Suggestions(liars, self.told.append)
        self.height = 0

    def see(self, updates: np.ndarray, names: Iterable[str] | None = None) -> None:
        """A round with these updates is closed and released."""
        self.height += 1
        sources = list(names or names_of(updates))
        keys = [key(source, self.height) for source in sources]
        self._round(sources, keys, updates, heads=False)

    def see_heads(self, heads: dict[str, np.ndarray]) -> None:
        self.height += 1
        keys = [key(path, self.height) for path in heads]
        self._round(list(heads), keys, np.array(list(heads.values())), heads=True)

    def _round(self, sources: list[str], keys: list[bytes], vectors: np.ndarray, *, heads: bool) -> None:
        encoded = [encode(vector.astype(np.float32), "float32") for vector in vectors]
        pointing = directions(keys, encoded)
        digest = bytes(32)
        result = Aggregated(
            "/en", self.height, digest, digest, 1, digest, 1, None,
            directions=() if heads else pointing, heads=pointing if heads else (),
        )  # fmt: skip
        self.suggestions.computed(result)
        used = tuple(Contribution(s, k, k, 1, b"", 0) for s, k in zip(sources, keys, strict=True))
        seat = (Seat("member", 0, "/en"),)
        self.suggestions.released(
            Release(
                "/en",
                self.height,
                digest,
                "mean",
                0,
                used,
                (),
                digest,
                1,
                digest,
                1,
                digest,
                1,
                digest,
                1,
                0,
                seat,
                (),
                self.height,
            )
        )


def test_a_split_is_suggested_once_it_has_shown_for_some_rounds_and_told_once() -> None:
    watching, rng = Watching(), np.random.default_rng(2)
    for number in range(1, ROUNDS + 3):
        watching.see(two_ends(rng, (4, 4)))
        assert bool(watching.suggestions.listing()) == (number >= ROUNDS)
    (event,) = watching.told
    assert isinstance(event, BranchSplitSuggested)
    assert {event.first, event.second} == {tuple(map(name, range(4))), tuple(map(name, range(4, 8)))}
    (page,) = watching.suggestions.listing()
    assert (page["kind"], page["branch"], page["rounds"]) == ("split", "/en", ROUNDS + 2)


def test_groups_that_mix_from_round_to_round_are_noise() -> None:
    watching, rng = Watching(), np.random.default_rng(3)
    for _ in range(12):
        names = [name(number) for number in rng.permutation(12)]
        watching.see(two_ends(rng, (6, 6)), names)
    assert not [event for event in watching.told if isinstance(event, BranchSplitSuggested)]


def test_a_suggestion_ends_when_the_members_agree_again_and_a_few_unseen_rounds_do_not_end_it() -> None:
    watching, rng = Watching(), np.random.default_rng(4)
    for _ in range(ROUNDS):
        watching.see(two_ends(rng, (4, 4)))
        watching.height += GAP - 1
    assert watching.suggestions.listing()
    watching.see(agreeing(rng))
    assert not watching.suggestions.listing()


def test_after_too_many_unseen_rounds_the_count_begins_anew() -> None:
    watching, rng = Watching(), np.random.default_rng(5)
    for _ in range(ROUNDS + 2):
        watching.see(two_ends(rng, (4, 4)))
        watching.height += GAP
    assert not watching.told


def test_siblings_that_have_become_one_model_are_named_after_some_rounds() -> None:
    watching, rng = Watching(), np.random.default_rng(6)
    head, stranger = rng.standard_normal(DIMENSION), rng.standard_normal(DIMENSION)
    for _ in range(ROUNDS):
        near = head + 0.1 * rng.standard_normal(DIMENSION)
        watching.see_heads({"/en/heart": head, "/en/cardio": near, "/en/law": stranger})
    (event,) = watching.told
    assert isinstance(event, BranchMergeSuggested)
    assert event.children == ("/en/cardio", "/en/heart")
    (page,) = watching.suggestions.listing()
    assert page["branches"] == ["/en/cardio", "/en/heart"]
    watching.see_heads({"/en/heart": head, "/en/cardio": -head, "/en/law": stranger})
    assert not watching.suggestions.listing()


def test_a_shorter_adapter_in_the_same_direction_is_another_model_and_an_empty_one_like_none() -> None:
    assert distance_of(1.0, 1.0, 1.0) == 0
    assert distance_of(1.0, 0.5, 1.0) == pytest.approx(0.5) and NEAR < 0.5
    assert distance_of(0.0, 0.0, 0.0) == distance_of(0.0, 1.0, 0.0) == 1


def test_a_proposal_that_was_not_certified_counts_for_nothing() -> None:
    watching, rng = Watching(), np.random.default_rng(7)
    for _ in range(ROUNDS + 1):
        keys = [key(f"other {number}", watching.height + 1) for number in range(8)]
        vectors = [encode(v.astype(np.float32), "float32") for v in two_ends(rng, (4, 4))]
        digest = bytes(32)
        watching.suggestions.computed(
            Aggregated(
                "/en",
                watching.height + 1,
                digest,
                digest,
                1,
                digest,
                1,
                None,
                directions=directions(keys, vectors),
            )
        )
        watching.see(agreeing(rng))
    assert not watching.told
