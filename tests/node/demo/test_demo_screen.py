"""What the live table and the lines say."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from banyan.node.demo.screen import Screen, doing, table
from banyan.node.demo.watch import Scene, View

GAUGE = SimpleNamespace(start=5.0, releases={"ff": 4.2}, done=3, total=9)


def scene():
    made = Scene("/garden/vegetables", 4)
    made.views = {
        "node-1": View("node-1", True, "running", 1, loss=4.5, fate="used, 20%", leads=True, sent=10**6),
        "attacker-1": View("attacker-1", False, "running", 1, fate="outvoted"),
    }
    made.adapters = {1: "ff"}
    made.audited = {1: None}
    return made


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (View("a", True), "starting"),
        (View("a", True, "running"), "joined"),
        (View("a", True, "running", 0), "waiting"),
        (View("a", True, "running", 0, task="load model"), "loading model"),
        (View("a", True, "running", 0, task="train", step=3, steps=12), "training 3/12"),
        (View("a", True, "running", 0, update="admitted"), "update admitted"),
        (View("a", True, "running", 0, update="non-finite"), "refused: non-finite"),
        (View("a", True, "running", 4), "done"),
    ],
)
def test_a_node_says_what_it_does(view, said):
    assert doing(view, 4) == said


def test_the_table_names_release_loss_leader_fate_and_bytes():
    console = Console(width=140, file=io.StringIO())
    made = scene()
    made.quarantined = {"attacker-1": "equivocation"}
    console.print(table(made, GAUGE))
    text = console.file.getvalue()
    for word in ("release 1 of 4, held-out loss 4.200", "node-1 ★", "used, 20%", "outvoted", "1.0 MB"):
        assert word in text
    assert "shut out: equivocation" in text


def test_without_a_terminal_there_are_plain_lines_and_no_table(capsys):
    made = scene()
    made.news = ["release 1: led by node-1"]
    with Screen(Console(file=io.StringIO())) as screen:
        screen.show(made, GAUGE)
    assert capsys.readouterr().out == "release 1: led by node-1\n"


def test_quiet_says_nothing(capsys):
    with Screen(Console(file=io.StringIO()), quiet=True) as screen:
        screen.say("hello")
        screen.show(scene(), GAUGE)
    assert capsys.readouterr().out == ""
