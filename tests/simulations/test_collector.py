"""The collector of cyclic garbage is slowed for a run and not beyond it."""

from __future__ import annotations

import gc

import pytest

from banyan.simulations.collector import PACE, unhurried


def test_a_run_that_fails_leaves_the_collector_as_it_was() -> None:
    before = gc.get_threshold()

    def fail() -> None:
        with unhurried():
            assert gc.get_threshold() == PACE
            assert gc.get_freeze_count()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.get_threshold() == before != PACE
    assert gc.get_freeze_count() == 0


def test_runs_in_several_threads_that_end_as_they_began_leave_it_as_it_was() -> None:
    """Found by a test that came after two such runs on the same worker: the second took the pace of the first for what
    had been before, and left it behind."""
    before = gc.get_threshold()
    first, second = unhurried(), unhurried()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == PACE
    assert gc.get_freeze_count()
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before != PACE
    assert gc.get_freeze_count() == 0
