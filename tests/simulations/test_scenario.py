"""Scenarios: what ships is valid, what is wrong is refused by name, what is changed is changed."""

from __future__ import annotations

import pytest

from banyan.simulations.scenario import ScenarioError, load, parse, shipped

REQUIRED = {
    "flat-20", "tree-3-levels", "churn", "partition-heals", "wan-slow", "committee-captured-minority", "sybil-open",
    "all-attacks", "scale-10k", "dumbbell-gossip",
}  # fmt: skip


def test_every_shipped_scenario_is_valid_and_bears_its_files_name() -> None:
    assert set(shipped()) >= REQUIRED
    for name in shipped():
        scenario = load(name)
        assert scenario.name == name
        assert scenario.devices > 4
        assert scenario.charter_policies().round.min_updates >= 1


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("rouns", 3, "did you mean rounds"),
        ("policies.round.ruel", "mean", "did you mean rule"),
        ("policies.rond.rule", "mean", "did you mean round"),
        ("network.los", 0.1, "did you mean loss"),
        ("network.loss", 2.0, "less than or equal to 0.95"),
        ("tree./x/", 3, "a branch is a path"),
        ("attackers.0.branch", "/nowhere", "no branch '/nowhere'"),
        ("attackers.0.count", 20, "leave nobody honest"),
        ("policies.round.f", -1, "f must be from 0"),
        ("policies.round.min_updates", 3, "at least 2 f + 1"),
        ("name.deeper", 1, "no setting name.deeper"),
        ("faults", [{"kind": "earthquake"}], "earthquake"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(key: str, value: object, said: str) -> None:
    with pytest.raises(ScenarioError, match=said.replace("+", r"\+")):
        load("flat-20").changed({key: value})


def test_a_change_reaches_into_tables_and_lists() -> None:
    changed = load("flat-20").changed(
        {"attackers.0.attack": "noise", "policies.gossip.fanout": 2, "tree./en": 3}
    )
    assert changed.attackers[0].attack == "noise"
    assert changed.charter_policies().gossip.fanout == 2
    assert changed.devices == 23


def test_whole_numbers_serve_where_a_dial_has_fractions() -> None:
    assert load("flat-20").changed({"policies.round.clip": 4}).charter_policies().round.clip == 4.0


def test_arms_differ_in_what_they_are_named_after() -> None:
    scenario = load("flat-20")
    assert scenario.for_arm("no-attack").attackers == ()
    undefended = scenario.for_arm("plain-mean")
    assert undefended.attackers == scenario.attackers
    assert undefended.charter_policies().round.rule == "mean"


def test_a_scenario_survives_a_trip_through_json() -> None:
    scenario = load("churn")
    assert parse(scenario.model_dump(mode="json"), "again") == scenario
