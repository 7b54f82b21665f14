"""A failing service is reported and started again; it takes nothing else down."""

import itertools

import pytest
import trio

from banyan.node.daemon.supervisor import Backoff, Supervisor, describe, first_cause
from banyan.security.errors import BanyanError


@pytest.fixture
def reports():
    return []


@pytest.fixture
def supervisor(reports):
    return Supervisor(reports.append, Backoff(first=1.0, longest=4.0, forgiven_after=60.0))


async def test_a_failing_service_starts_again_with_growing_pauses(autojump_clock, supervisor, reports):
    starts = []

    async def failing():
        starts.append(trio.current_time())
        raise ValueError("broken")

    with trio.move_on_after(20):
        await supervisor.keep("thing", failing)
    assert [round(b - a) for a, b in itertools.pairwise(starts)] == [1, 2, 4, 4, 4, 4]
    assert reports[0].service == "thing"
    assert reports[0].reason == "ValueError: broken"
    assert [report.attempt for report in reports[:3]] == [1, 2, 3]
    assert supervisor.services["thing"].restarts == len(reports)


async def test_a_service_that_ran_long_begins_with_short_pauses_again(autojump_clock, supervisor, reports):
    lives = iter([0, 0, 100, 0])

    async def service():
        await trio.sleep(next(lives, 10_000))
        raise ValueError

    with trio.move_on_after(200):
        await supervisor.keep("thing", service)
    assert [report.attempt for report in reports] == [1, 2, 1, 2]


async def test_a_service_that_returns_is_done(supervisor, reports):
    async def done():
        await trio.lowlevel.checkpoint()

    await supervisor.keep("thing", done)
    assert reports == []
    assert not supervisor.services["thing"].running


async def test_a_fatal_error_is_raised_even_from_within_groups(supervisor):
    async def service():
        async with trio.open_nursery():
            raise BanyanError("The port is in use")

    with pytest.raises(BanyanError, match="port is in use"):
        await supervisor.keep("thing", service, fatal=(BanyanError,))


async def test_cancelling_passes_through(autojump_clock, supervisor, reports):
    async def forever():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)

    with trio.move_on_after(1) as scope:
        await supervisor.keep("thing", forever)
    assert scope.cancelled_caught
    assert reports == []


def test_errors_are_described_in_one_line():
    assert describe(BanyanError("It broke", "Mend it")) == "It broke. Mend it."
    assert describe(ValueError("one\ntwo")) == "ValueError: one"
    assert describe(KeyError()) == "KeyError"
    assert str(first_cause(ExceptionGroup("g", [ExceptionGroup("h", [ValueError("x")])]))) == "x"
