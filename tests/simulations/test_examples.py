"""The examples run as they stand and show what they say."""

from __future__ import annotations

import re

import pytest

from banyan.simulations.examples import compare_rules, own_attack, own_task


def numbers(capsys: pytest.CaptureFixture[str]) -> list[list[float]]:
    """The numbers of each line that was printed."""
    lines = capsys.readouterr().out.splitlines()
    return [[float(each) for each in re.findall(r"[-+]?\d+\.\d+", line)] for line in lines]


def test_rules_are_compared_and_the_mean_is_the_worst(capsys: pytest.CaptureFixture[str]) -> None:
    compare_rules.main()
    _, mean, *robust = numbers(capsys)
    assert all(row[0] > mean[0] + 30 for row in robust)


def test_an_own_attack_is_survived(capsys: pytest.CaptureFixture[str]) -> None:
    own_attack.main()
    assert all(distance < 0.1 for (distance,) in numbers(capsys))


def test_an_own_task_is_learned(capsys: pytest.CaptureFixture[str]) -> None:
    own_task.main()
    ((slope,),) = [row[:1] for row in numbers(capsys)]
    assert slope == pytest.approx(own_task.Line.truth[0], abs=0.15)
