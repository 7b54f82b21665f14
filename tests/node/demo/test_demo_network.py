"""The whole demo with real processes, a tiny random model and tiny data."""

import json
import os
from pathlib import Path

import pytest

from banyan.node.cli.main import run
from banyan.node.learning.tiny_model import write_tiny_model

pytestmark = pytest.mark.network

ANSWERS = {"ann": "red red", "bob": "blue blue", "cat": "green green", "dan": "grey grey"}


@pytest.fixture
def data(tmp_path):
    lines = []
    for owner, answer in ANSWERS.items():
        for number in range(10):
            split = "test" if number < 2 else "train"
            row = {"prompt": f"{number}?", "response": answer, "client": owner, "split": split}
            lines.append(json.dumps(row) + "\n")
    path = tmp_path / "colours" / "plain.jsonl"
    path.parent.mkdir()
    path.write_text("".join(lines))
    return path


def processes_of(folder: Path):
    """Ids of the processes that have ``folder`` on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in command:
                found.append(int(entry.name))
    return found


def test_a_network_of_processes_learns_and_refuses_what_is_no_number(data, tmp_path, capsys):
    base, out = write_tiny_model(tmp_path / "tiny"), tmp_path / "out"
    code = run(
        [
            *(
                "demo",
                "--nodes",
                "3",
                "--attackers",
                "1",
                "--rounds",
                "2",
                "--rule",
                "median",
                "--attack",
                "nan",
            ),
            *(
                "--steps",
                "4",
                "--lr",
                "0.05",
                "--base",
                str(base),
                "--data",
                str(data),
                "--out",
                str(out),
                "--json",
            ),
        ]
    )
    captured = capsys.readouterr()
    summary = json.loads((out / "summary.json").read_text())
    assert json.loads(captured.out) == summary
    attacker = summary["nodes"][-1]["id"]
    assert summary["branches"] == ["/colours/plain"]
    assert [round_["height"] for round_ in summary["rounds"]] == [1, 2]
    for round_ in summary["rounds"]:
        assert {"author": attacker, "reason": "non-finite"} in round_["left_out"]
        assert attacker not in round_["used"]
        assert len(round_["used"]) == round_["signatures_checked"] == 3
    assert summary["attacker_influence"] == 0.0
    assert summary["undefended_loss_after"] is None
    honest = summary["nodes"][:3]
    assert all(node["loss_after"] < node["loss_before"] for node in honest)
    assert all(node["bytes_sent"] > 0 and node["bytes_received"] > 0 for node in summary["nodes"])
    assert code == (0 if all(check["holds"] for check in summary["verdict"]) else 1)
    assert {path.name for path in (out / "nodes").iterdir()} == {"node-1", "node-2", "node-3", "attacker-1"}
    assert (out / "index.html").exists() and (out / "loss.png").exists()
    assert processes_of(out) == []


def test_a_node_that_dies_ends_the_demo_with_its_name_and_no_process_is_left(data, tmp_path):
    from banyan.node.demo.company import NodeEnded
    from banyan.node.demo.plan import Plan
    from banyan.node.demo.stage import Stage

    out = tmp_path / "out"
    plan = Plan.of(
        nodes=3, attackers=0, rounds=1, rule="mean", attack="nan", base=write_tiny_model(tmp_path / "tiny"),
        data=data, out=out,
    )  # fmt: skip
    with Stage(plan) as stage:
        stage.set()
        victim = stage.actors[1]
        assert victim.process is not None
        victim.process.kill()
        with pytest.raises(NodeEnded, match="node-2 ended in the middle"):
            stage.check()
    assert processes_of(out) == []
