"""``banyan simulate``: one seed, one answer; a search that names the smallest failing seed; wishes that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from banyan.security.errors import BanyanError
from banyan.simulations.command import run
from banyan.simulations.replay import replay_command
from banyan.simulations.scenario import shipped

SMALL = """
name = "small"
about = "Five devices, one of which lies"
rounds = 2
limit = 120
settle = 20
tree = { "/" = 5 }
task = { name = "quadratic" }
policies = { round = { rule = "geometric-median", f = 1, min_updates = 3 } }
attackers = [{ attack = "sign-flip", count = 1 }]
"""


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return str(path)


def test_a_run_ends_with_a_report_and_its_trace(
    small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([small, "--seed", "5", "--out", str(tmp_path / "out"), "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["seed"], record["finished"], record["violations"]) == (5, True, [])
    assert (tmp_path / "out" / "index.html").is_file()
    assert run([small, "--seed", "5", "--out", str(tmp_path / "again")]) == 0
    assert record["trace"] in capsys.readouterr().out


def test_settings_can_be_changed_and_arms_chosen(
    small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        small,
        "--set",
        "rounds=1",
        "--set",
        "policies.round.rule=median",
        "--arm",
        "no-attack",
        "--json",
    ]
    assert run([*arguments, "--out", str(tmp_path)]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["arm"] == "no-attack"
    assert record["settings"]["policies"]["round"]["rule"] == "median"
    assert {release["height"] for release in record["releases"]} == {1}


def test_a_search_names_the_smallest_failing_seed_and_how_to_see_it(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    impossible = ["--set", "rounds=100", "--set", "limit=8"]
    assert run([small, "--seeds", "2", "--seed", "3", "--workers", "1", *impossible]) == 1
    said = capsys.readouterr().out
    assert "2 of 2 seeds failed; the smallest is 3" in said
    command = f"{replay_command(small, impossible[1::2], 3)} --trace"
    assert "".join(command.split()) in "".join(said.split()), "a long path is broken where the terminal ends"


def test_the_steps_around_a_violation_can_be_seen(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([small, "--trace", "--set", "held_limit=1e-6"]) == 1
    said = capsys.readouterr().out
    assert "bounded-device" in said
    assert "hears presence" in said and "/#3" in said


def test_every_scenario_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--list", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == shipped()


@pytest.mark.parametrize(
    "arguments",
    [
        ["churm"],
        ["flat-20", "--set", "rouns=3"],
        ["flat-20", "--set", "rounds"],
        ["flat-20", "--arm", "everything"],
        ["flat-20", "--engine", "steam", "--seeds", "2"],
        ["no-such-file.toml"],
    ],
)
def test_an_impossible_wish_is_refused_with_a_cure(arguments: list[str]) -> None:
    with pytest.raises(BanyanError) as caught:
        run(arguments)
    assert caught.value.cure
