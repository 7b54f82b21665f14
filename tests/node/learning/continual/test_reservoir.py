"""A uniform, bounded sample."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from banyan.node.learning.continual.reservoir import Reservoir
from banyan.node.learning.tokens import Example


def row(number: int) -> Example:
    return Example((number, 1, 2), (number, -100, 2))


def test_every_row_is_kept_as_often_as_every_other() -> None:
    """2,000 samples of 10 of 40: each row is kept 500 times, give or take five standard deviations of 19."""
    rows = [row(number) for number in range(40)]
    kept = Counter(each.ids[0] for seed in range(2_000) for each in Reservoir(seed).offer(rows, 10).kept)
    assert sum(kept.values()) == 20_000
    assert all(abs(kept[number] - 500) < 97 for number in range(40))


@given(st.lists(st.integers(0, 60), max_size=80), st.integers(1, 20), st.integers(0, 80))
def test_the_sample_depends_on_the_rows_alone_not_on_how_they_came(
    numbers: list[int], capacity: int, cut: int
) -> None:
    rows = [row(number) for number in numbers]
    at_once = Reservoir(7).offer(rows, capacity)
    in_parts = Reservoir(7).offer(rows[cut:], capacity).offer(rows[:cut], capacity).offer(rows, capacity)
    assert in_parts == at_once
    assert len(at_once.kept) == min(capacity, len(set(numbers)))


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    large = Reservoir(3).offer(map(row, range(50)), 20)
    assert large.offer((), 5).kept == large.kept[:5]
