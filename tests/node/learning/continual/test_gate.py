"""No version passes that makes an earlier task worse than is allowed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from banyan.node.learning.continual.gate import examine

START, END = np.zeros(2, np.float32), np.array([1, 0], np.float32)


def bowl(b: np.ndarray) -> list[float]:
    """Two tasks: one whose loss is the square of the step, one that never changes."""
    return [2.0 + float(b[0]) ** 2, 5.0]


def test_a_step_that_harms_nobody_passes_whole() -> None:
    verdict = examine(START, END, [2.0, 5.0], bowl, epsilon=1.0, tries=5)
    assert (verdict.share, verdict.evaluations, verdict.rise) == (1.0, 2, 1.0)
    assert verdict.b is END


def test_the_largest_share_that_passes_is_found_by_bisection() -> None:
    verdict = examine(START, END, [2.0, 5.0], bowl, epsilon=0.09, tries=10)
    assert verdict.share == pytest.approx(0.3, abs=2**-10)
    assert verdict.share <= 0.3
    np.testing.assert_allclose(verdict.b, [verdict.share, 0])
    assert verdict.losses == pytest.approx([2 + verdict.share**2, 5.0])
    assert verdict.evaluations == 12


def test_where_no_share_passes_the_whole_step_is_rejected_with_its_figures() -> None:
    verdict = examine(START, END, [2.0], lambda b: [2.0 + 9 * bool(b.any())], epsilon=0.1, tries=4)
    assert (verdict.share, verdict.rise, verdict.evaluations) == (0.0, 9.0, 6)
    assert verdict.b is END


def test_what_others_raised_above_the_limit_must_only_not_get_worse() -> None:
    better = examine(START, END, [1.0], lambda b: [2.0 - float(b[0])], epsilon=0.1, tries=4)
    assert better.share == 1.0
    worse = examine(START, END, [1.0], lambda b: [2.0 + float(b[0])], epsilon=0.1, tries=4)
    assert worse.share == 0.0


def test_rises_of_many_rounds_do_not_add_up() -> None:
    b = START
    for _ in range(20):
        verdict = examine(b, b + END, [2.0, 5.0], bowl, epsilon=0.09, tries=8)
        b = verdict.b if verdict.share else b
    assert 2.08 < bowl(b)[0] <= 2.09


def test_a_loss_that_is_no_number_passes_nothing() -> None:
    verdict = examine(START, END, [1.0], lambda b: [math.nan if b.any() else 1.0], epsilon=9.0, tries=3)
    assert verdict.share == 0.0
