"""The demo of a tree: its choices, its verdict, and the whole of it with real processes on tiny data."""

import copy
import json

import pytest

from banyan.node.cli.main import run
from banyan.node.demo.plan import CannotDemo
from banyan.node.demo.tree.page import page
from banyan.node.demo.tree.plan import TreePlan, choose_leaves
from banyan.node.demo.tree.summary import verdict
from banyan.node.learning.tiny_model import write_tiny_model

OWNERS = {
    "plain": {"ann": "red red", "bob": "red blue", "cat": "red grey"},
    "bright": {"dan": "red red", "eve": "red green", "fay": "red pink"},
}


@pytest.fixture
def colours(tmp_path):
    """Two sub-domains that share a word, of three owners each."""
    folder = tmp_path / "colours"
    folder.mkdir()
    for leaf, owners in OWNERS.items():
        lines = []
        for owner, answer in owners.items():
            for number in range(10):
                split = "test" if number < 2 else "train"
                row = {"prompt": f"{number}?", "response": answer, "client": owner, "split": split}
                lines.append(json.dumps(row) + "\n")
        (folder / f"{leaf}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def summary():
    """A run in which everything is as it should be."""
    pair = {"before": 4.0, "after": 4.0}
    lift = {
        "branch": "/colours",
        "height": 1,
        "children": [{"branch": "/colours/plain", "height": 2}],
        "before": 5.0,
        "after": 4.2,
        "of_children": {"/colours/plain": pair, "/colours/bright": dict(pair)},
    }
    above = {**lift, "branch": "/", "children": [{"branch": "/colours", "height": 1}]}
    ends = {"base": 5.0, "opening": 5.0, "end": 4.0}
    return {
        "network": "ab" * 32,
        "leaves": {"/colours/plain": dict(ends), "/colours/bright": dict(ends)},
        "parents": {"/": dict(ends), "/colours": dict(ends)},
        "newcomers": {"base": 5.0, "opening": 4.4, "end": 4.0, "branch": "/colours/<new>"},
        "lifts": [lift, {**above, "of_children": {"/colours": dict(pair)}}],
        "releases": [
            {
                "branch": "/colours",
                "height": height,
                "seconds": height,
                "lifts": height > 0,
                "loss": 5.0 - height,
            }
            for height in range(2)
        ],
        "nodes": [
            {
                "name": "plain-1",
                "branch": "/colours/plain",
                "owners": ["<b>&"],
                "training_rows": 8,
                "bytes_received": 1,
                "bytes_sent": 1,
            }
        ],
        "base": "embedded",
        "data": "colours/{plain,bright}",
        "settings": {
            "rounds": 2,
            "steps": 4,
            "batch": 8,
            "learning_rate": 0.05,
            "rank": 16,
            "codec": "int8",
            "lift_policy": "gain",
            "lift_rule": "median",
        },
        "verdict": [{"holds": True, "sentence": "It rose."}],
        "wall_seconds": 90.0,
        "machine": "2 cores, 24 GiB",
        "date": "2026-11-25",
    }


def test_the_default_tree_needs_nothing_but_the_package(tmp_path):
    plan = TreePlan.of(out=tmp_path)
    assert plan.branches == ("/", "/garden", *plan.tips)
    assert set(plan.tips) == {"/garden/soil", "/garden/vegetables", "/garden/newcomers"}


def test_a_domain_is_the_folder_that_two_files_lie_in(tree):
    root = tree(heart={"a": (4, 2, 0), "b": (4, 2, 0)}, cancer={"a": (4, 2, 0)})
    leaves = choose_leaves(root.parent)
    assert [leaf.branch for leaf in leaves] == ["/medical/heart", "/medical/cancer"]


def test_one_file_is_no_tree(tree):
    root = tree(heart={"a": (4, 2, 0)})
    for data in (root, root / "heart.jsonl"):
        with pytest.raises(CannotDemo, match="no two JSONL files beside each other"):
            choose_leaves(data)


def test_a_run_where_all_is_well_holds(summary):
    assert all(check.holds for check in verdict(summary))


@pytest.mark.parametrize(
    ("where", "value", "failing"),
    [
        (("leaves", "/colours/plain", "end"), 5.1, 0),
        (("leaves", "/colours/bright", "end"), None, 1),
        (("parents", "/colours", "end"), 5.0, 2),
        (("parents", "/", "end"), 5.5, 3),
        (("newcomers", "opening"), 5.0, 5),
        (("newcomers", "end"), 4.5, 5),
    ],
)
def test_each_promise_is_judged_by_itself(summary, where, value, failing):
    *path, last = where
    inner = summary
    for key in path:
        inner = inner[key]
    inner[last] = value
    assert [number for number, check in enumerate(verdict(summary)) if not check.holds] == [failing]


@pytest.mark.parametrize("after", [4.0000001, 3.9, None])
def test_a_lift_that_changes_a_child_at_all_is_told(summary, after):
    changed = copy.deepcopy(summary)
    changed["lifts"][0]["of_children"]["/colours/bright"]["after"] = after
    assert [number for number, check in enumerate(verdict(changed)) if not check.holds] == [4]


def test_a_parent_that_was_never_lifted_to_has_not_risen(summary):
    summary["lifts"] = summary["lifts"][:1]
    assert not verdict(summary)[3].holds


def test_the_page_escapes_what_comes_from_data(summary):
    text = page(summary)
    assert "<b>&" not in text and "&lt;b&gt;&amp;" in text and "/colours/&lt;new&gt;" in text
    assert "rose to their domain" in text


def test_choices_for_a_single_branch_are_refused_with_a_tree(capsys):
    assert run(["demo", "--tree", "--attackers", "1"]) != 0
    assert "leave it out with --tree" in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.network
def test_what_two_sub_domains_share_rises_and_comes_down_to_newcomers(colours, tmp_path, capsys):
    base, out = write_tiny_model(tmp_path / "tiny"), tmp_path / "out"
    asked = ["--base", str(base), "--data", str(colours), "--out", str(out), "--json"]
    code = run(["demo", "--tree", "--nodes", "1", "--rounds", "1", "--steps", "8", "--lr", "0.05", *asked])
    summary = json.loads((out / "summary.json").read_text())
    assert json.loads(capsys.readouterr().out) == summary
    assert code == 0, summary["verdict"]
    domain = summary["parents"]["/colours"]
    assert domain["end"] < domain["opening"] == domain["base"]
    assert summary["parents"]["/"]["end"] < summary["parents"]["/"]["base"]
    in_domain = [lift for lift in summary["lifts"] if lift["branch"] == "/colours"]
    assert in_domain and in_domain[-1]["after"] < in_domain[0]["before"]
    for lift in summary["lifts"]:
        assert lift["of_children"]
        assert all(pair["after"] == pair["before"] for pair in lift["of_children"].values())
    assert {"/colours/plain", "/colours/bright"} <= in_domain[-1]["of_children"].keys()
    new = summary["newcomers"]
    assert new["end"] < new["opening"] < new["base"]
    assert (out / "index.html").exists() and (out / "loss.png").exists()
