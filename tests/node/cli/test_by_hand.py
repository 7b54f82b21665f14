"""Two terminals, by hand: found, up, invite, join, up, train, log, checkout, branch, down. Real processes."""

import json
import subprocess
import sys

import pytest

from banyan.node.assets import corpora_path
from banyan.node.cli.client import Client
from banyan.node.home import Home

pytestmark = pytest.mark.network


@pytest.fixture
def banyan(tmp_path):
    """Run one command line in a process of its own, as a person would; gives its output."""
    homes = {}

    def call(who, *arguments, timeout=120):
        homes[who] = tmp_path / who
        command = [sys.executable, "-c", "from banyan.node.cli import main; main()", *map(str, arguments)]
        result = subprocess.run(
            [*command, "--home", str(homes[who])],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert result.returncode == 0, result.stderr + result.stdout
        return result.stdout

    yield call
    for who in list(homes):
        call(who, "down")


def export(banyan, folder):
    """The names of the files that ben's export consists of."""
    assert "/@1" in banyan("ben", "export", "--to", folder)
    return {file.name for file in folder.iterdir()}


def test_two_people_found_join_and_learn_together(banyan, tmp_path):
    banyan("ada", "found", "garden", "--preset", "local", "--rank", 2, "--rule", "mean", "--f", 0)
    assert "is up" in banyan("ada", "up")
    assert "already runs" in banyan("ada", "up")
    invite = banyan("ada", "invite").strip()
    assert "Next: banyan up" in banyan("ben", "join", invite)
    banyan("ben", "up")

    rows = corpora_path() / "health" / "first_aid.jsonl"
    small = ["--data", rows, "--rounds", 1, "--steps", 2, "--batch", 2, "--yes"]
    banyan("ada", "train", *small, "--no-wait")
    done = banyan("ben", "train", *small)
    assert "Done: / has reached release 1" in done

    status = json.loads(banyan("ben", "status", "--json"))
    assert status["phase"] == "running"
    assert len(status["peers"]) == 1
    assert status["core"]["branches"]["/"]["height"] == 1
    log = json.loads(banyan("ben", "log", "--json"))["releases"]
    assert len(log[1]["used"]) == 2
    assert log[1]["left_out"] == []
    assert "garden" in banyan("ada", "status")
    assert "loss" in banyan("ben", "log")
    assert "came 2" in banyan("ben", "diff", "@0", "@1")
    assert "adapter_model.safetensors" in export(banyan, tmp_path / "first")
    assert "Pinned to /@1" in banyan("ben", "checkout", "@")
    assert "✓ peers: 1 connected" in banyan("ada", "doctor")
    assert "Stopped." in banyan("ben", "down")
    assert "No node is running" in banyan("ben", "down")
    assert "is up" in banyan("ben", "up")
    again = json.loads(banyan("ben", "log", "--json"))["releases"]
    assert [each["release"] for each in again] == [each["release"] for each in log]
    assert "pinned to /@1" in banyan("ben", "status")
    assert "No longer pinned to /@1" in banyan("ben", "checkout", "--latest")


def heard(node, kind):
    """The first event of a kind at a running node, waited for."""
    return next(event for event in node.follow(after=0) if event["event"] == kind)


def test_a_guest_comes_to_an_open_network_and_hears_of_a_new_branch(banyan, tmp_path):
    meadow = ["--preset", "local", "--rank", 2, "--admission", "open", "--growth", "members"]
    assert "--guests prints" in banyan("ada", "found", "meadow", *meadow)
    banyan("ada", "up")
    door = banyan("ada", "invite", "--guests").strip()
    assert door.startswith("banyanopen1")
    assert "comes as a guest" in banyan("ben", "join", door)
    banyan("ben", "up")
    ada, ben = (Client(Home(tmp_path / who)) for who in ("ada", "ben"))
    node = ben.get("/status")["node"]
    assert heard(ada, "member-joined")["member"] == node
    assert {each["node"]: each["guest"] for each in ada.get("/status")["core"]["members"]}[node] is True
    assert "Founded /herbs" in banyan("ada", "branch", "create", "/herbs", "--description", "For the kitchen")
    assert heard(ben, "branch-founded")["branch"] == "/herbs"
    assert "For the kitchen" in banyan("ben", "branches")
    pages = ben.get("/branches")["branches"]
    assert [(page["branch"], page["state"]) for page in pages] == [("/", "waiting"), ("/herbs", "elsewhere")]
