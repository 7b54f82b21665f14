"""What is to happen happens in the order of time, then of who arranged it, then of that one's turns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from banyan.simulations.clock import PAGE, Clock

DELAYS = st.one_of(st.integers(0, 3), st.integers(0, 3 * PAGE), st.integers(0, 100 * PAGE))
PLANS = st.lists(
    st.tuples(DELAYS, st.integers(0, 3), st.lists(st.tuples(DELAYS, st.integers(0, 3)), max_size=3))
)


@given(PLANS, st.lists(st.integers(1, 5 * PAGE), min_size=1, max_size=20))
def test_things_happen_in_order_whenever_they_were_arranged(
    plans: list[tuple[int, int, list[tuple[int, int]]]], pauses: list[int]
) -> None:
    clock = Clock()
    arranged: list[tuple[int, int, int]] = []
    happened: list[tuple[int, int, int]] = []

    def arrange(delay: int, by: int, then: list[tuple[int, int]]) -> None:
        place = (clock.now + delay, by, clock.turn(by))
        arranged.append(place)

        def happen() -> None:
            happened.append(place)
            assert clock.now == place[0]
            for each, other in then:
                arrange(each, other, [])

        clock.put(*place, happen)

    for number, (delay, by, then) in enumerate(plans):
        arrange(delay, by, then)
        until = clock.now + pauses[number % len(pauses)]
        while clock.step(until):
            pass
        assert clock.now == until
        assert {place for place in arranged if place[0] <= until} == set(happened)
    while clock.step(clock.now + 200 * PAGE):
        pass
    assert len(happened) == len(arranged)
    # What is arranged at a moment for that very moment comes after what has happened in it, whoever arranges it.
    assert [place[0] for place in happened] == sorted(place[0] for place in happened)
    if not any(not delay for _, _, then in plans for delay, _ in then):
        assert happened == sorted(arranged)


def test_what_is_arranged_for_the_past_happens_now() -> None:
    clock = Clock()
    seen: list[int] = []
    clock.at(clock.now - 10 * PAGE, lambda: seen.append(clock.now))
    assert clock.step(clock.now)
    assert seen == [clock.now]
