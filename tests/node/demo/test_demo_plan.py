"""What is asked for is checked before anything is started."""

from pathlib import Path

import pytest

from banyan.node.demo.adversary import flip_strength
from banyan.node.demo.plan import CannotDemo, Plan
from banyan.node.demo.stage import Stage

ASKED = {
    "nodes": 5, "attackers": 1, "rounds": 4, "rule": "multi-krum", "attack": "sign-flip", "base": None, "data": None,
}  # fmt: skip


def test_the_default_demo_needs_nothing_but_the_package(tmp_path):
    plan = Plan.of(**ASKED, out=tmp_path)
    assert plan.leaf.branch == "/garden/vegetables"
    assert plan.names == ("node-1", "node-2", "node-3", "node-4", "node-5", "attacker-1")
    assert plan.strength == pytest.approx(6.0)


def test_too_few_honest_nodes_for_the_rule_are_refused_with_the_number_that_would_do():
    with pytest.raises(CannotDemo, match=r"needs 7 updates to survive 2 attackers.*--nodes 7"):
        Plan.of(**ASKED | {"attackers": 2}, out=None)


def test_the_flipped_lessons_of_all_attackers_outweigh_the_honest():
    for honest, attackers in ((5, 1), (7, 2), (20, 6)):
        assert attackers * flip_strength(honest, attackers) > honest


def test_a_folder_that_is_not_a_demos_is_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(CannotDemo, match="not from a demo"), Stage(Plan.of(**ASKED, out=tmp_path)) as stage:
        stage.set()
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_only_what_an_earlier_demo_made_is_removed(tmp_path):
    stage = Stage(Plan.of(**ASKED, out=tmp_path))
    stage._make_room()
    (tmp_path / "nodes").mkdir()
    Path(tmp_path / "notes.txt").write_text("mine")
    stage._make_room()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".banyan-demo", "notes.txt"]
