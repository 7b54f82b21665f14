"""The collector of cyclic garbage is slowed for a run and not beyond it."""

from __future__ import annotations

import gc

import pytest

from banyan.simulations.collector import unhurried


def test_a_run_that_fails_leaves_the_collector_as_it_was() -> None:
    before = gc.get_threshold()

    def fail() -> None:
        with unhurried():
            assert gc.get_threshold()[0] > before[0]
            assert gc.get_freeze_count()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
