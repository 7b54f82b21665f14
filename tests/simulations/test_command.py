"""``banyan simulate``: one seed, one answer; a wish that cannot be is one sentence."""

from __future__ import annotations

import json

import pytest

from banyan.security.errors import BanyanError
from banyan.simulations.command import run


def simulated(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run([*arguments, "--rounds", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_a_seed_is_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    first = simulated(capsys, "--seed", "5", "--loss", "0.05")
    assert first == simulated(capsys, "--seed", "5", "--loss", "0.05")
    assert first["trace"] != simulated(capsys, "--seed", "6", "--loss", "0.05")["trace"]


def test_an_equivocator_is_quarantined_and_the_honest_still_learn(capsys: pytest.CaptureFixture[str]) -> None:
    found = simulated(capsys, "--attack", "equivocate")
    assert len(found["quarantined"]) == 1  # type: ignore[arg-type]
    assert found["distance_to_optimum"] < 0.5  # type: ignore[operator]


@pytest.mark.parametrize("arguments", [["--nodes", "3"], ["--attack", "rumour"]])
def test_an_impossible_wish_is_refused_with_a_cure(arguments: list[str]) -> None:
    with pytest.raises(BanyanError) as caught:
        run(arguments)
    assert caught.value.cure
