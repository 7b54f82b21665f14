"""Timers fire in order, at their time, and only the newest of a key."""

import trio

from banyan.node.daemon.timers import Timers


class Fixture:
    def __init__(self):
        self.timers = Timers(lambda: round(trio.current_time() * 1000))
        self.fired = []

    async def fire(self, key):
        self.fired.append((key, round(trio.current_time() * 1000)))


async def run_for(fixture, seconds):
    start = trio.current_time()
    with trio.move_on_at(start + seconds):
        await fixture.timers.run(fixture.fire)


async def test_timers_fire_at_their_time_in_order(autojump_clock):
    fixture = Fixture()
    fixture.timers.set("late", 5_000)
    fixture.timers.set("early", 1_000)
    await run_for(fixture, 10)
    assert fixture.fired == [("early", 1_000), ("late", 5_000)]


async def test_setting_a_key_again_replaces_its_time(autojump_clock):
    fixture = Fixture()
    fixture.timers.set("a", 1_000)
    fixture.timers.set("a", 3_000)
    await run_for(fixture, 10)
    assert fixture.fired == [("a", 3_000)]


async def test_a_timer_set_while_another_sleeps_wakes_it_early(autojump_clock):
    fixture = Fixture()
    fixture.timers.set("far", 20_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_for, fixture, 30)
        await trio.sleep(1)
        fixture.timers.set("near", 2_000)
    assert fixture.fired == [("near", 2_000), ("far", 20_000)]


async def test_a_time_that_has_passed_fires_at_once(autojump_clock):
    fixture = Fixture()
    await trio.sleep(5)
    fixture.timers.set("past", 1)
    await run_for(fixture, 1)
    assert fixture.fired == [("past", 5_000)]


async def test_clearing_forgets_everything(autojump_clock):
    fixture = Fixture()
    fixture.timers.set("a", 1_000)
    fixture.timers.clear()
    await run_for(fixture, 10)
    assert fixture.fired == []
