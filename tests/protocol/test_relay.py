"""The trees along which a release travels: to everybody, in few steps and messages, and around those who are gone."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.protocol.relay import adopter_of, next_in_line

LINE = [f"member-{number:03}" for number in range(40)]


def spread(
    line: list[str], mark: bytes, fanout: int, *, both: bool = False, gone: frozenset[str] = frozenset()
) -> tuple[dict[str, int], int]:
    """The step at which each hears what the first of a line brings to all, and the messages that took."""
    heard, messages, wave = {line[0]: 0}, 0, [line[0]]
    while wave:
        reached = []
        for me in wave:
            to = next_in_line(
                line, me, mark, gone.__contains__, fanout=fanout, begins=me == line[0], both=both
            )
            for node in dict.fromkeys(to):
                messages += 1
                if node not in heard and node not in gone:
                    heard[node] = heard[me] + 1
                    reached.append(node)
        wave = reached
    return heard, messages


@given(st.integers(1, 200), st.binary(min_size=4, max_size=12), st.integers(1, 8), st.booleans())
def test_everybody_hears_it(size: int, mark: bytes, fanout: int, both: bool) -> None:
    line = [f"{number}" for number in range(size)]
    heard, messages = spread(line, mark, fanout, both=both)
    assert heard.keys() == set(line)
    assert messages <= (2 if both else 1) * size


def test_the_steps_grow_with_the_logarithm_of_the_line() -> None:
    line = [f"{number:04}" for number in range(4_000)]
    heard, _ = spread(line, b"mark", 4)
    assert max(heard.values()) <= 6  # 4 + 16 + … + 4096 places in six steps


@given(st.binary(min_size=4, max_size=12), st.sets(st.sampled_from(LINE[1:]), max_size=20))
def test_who_is_gone_is_passed_over_and_costs_nobody_the_news(mark: bytes, gone: set[str]) -> None:
    heard, _ = spread(LINE, mark, 4, gone=frozenset(gone))
    assert heard.keys() == set(LINE) - gone


@pytest.mark.parametrize("silent", LINE[1:])
def test_one_who_passes_nothing_on_keeps_it_from_nobody_where_there_are_two_trees(silent: str) -> None:
    for turn in range(len(LINE)):
        mark = turn.to_bytes(4, "big")
        heard, wave = {LINE[0]}, [LINE[0]]
        while wave:
            me = wave.pop()
            to = next_in_line(LINE, me, mark, lambda node: False, fanout=4, begins=me == LINE[0], both=True)
            fresh = set() if me == silent else set(to) - heard
            heard |= fresh
            wave += sorted(fresh)
        assert heard == set(LINE)


def test_whom_it_falls_to_to_pass_things_on_differs_from_release_to_release() -> None:
    inner: Counter[str] = Counter()
    for number in range(200):
        mark = hashlib.sha256(bytes([number])).digest()[:12]
        for me in LINE:
            if any(next_in_line(LINE, me, mark, lambda node: False, fanout=4, begins=False, both=True)):
                inner[me] += 1
    assert min(inner[me] for me in LINE) > 50
    assert max(inner[me] for me in LINE) < 150


def test_who_has_no_seat_is_in_the_care_of_one_who_has() -> None:
    carers = Counter(adopter_of(f"guest-{number}", LINE) for number in range(400))
    assert carers.keys() <= set(LINE)
    assert max(carers.values()) < 40
