"""Control messages pass once, in any order, and only while they are fresh."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.protocol.replay import WINDOW, ReplayGuard
from banyan.security.errors import Refused


@given(st.permutations(range(1000, 1000 + 100)))
def test_every_message_passes_once_in_any_order_and_never_twice(order: list[int]) -> None:
    guard = ReplayGuard(skew=1000)
    for seq in order:
        guard.check("a", seq, time=0, now=0)
    for seq in order:
        with pytest.raises(Refused) as caught:
            guard.check("a", seq, time=0, now=0)
        assert caught.value.reason == "replayed"


def test_a_message_older_than_the_window_is_refused() -> None:
    guard = ReplayGuard(skew=1000)
    guard.check("a", 5000, 0, 0)
    with pytest.raises(Refused, match="heard before"):
        guard.check("a", 5000 - WINDOW, 0, 0)
    guard.check("a", 5000 - WINDOW + 1, 0, 0)


def test_authors_do_not_disturb_each_other() -> None:
    guard = ReplayGuard(skew=1000)
    guard.check("a", 7, 0, 0)
    guard.check("b", 7, 0, 0)


@pytest.mark.parametrize("time", [-1001, 1001])
def test_a_message_from_the_past_or_the_future_is_stale(time: int) -> None:
    with pytest.raises(Refused) as caught:
        ReplayGuard(skew=1000).check("a", 1, time, now=0)
    assert caught.value.reason == "stale"
