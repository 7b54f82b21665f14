"""What ``banyan season`` says of when the next one begins, and how near each branch is."""

from banyan.node.cli.season import _line, _when

PLATEAU = {"policy": "plateau", "patience": 10, "tolerance": 0.02, "share": 0.75, "cool_down": 0}


def branch(**changes):
    told = {
        "branch": "/en",
        "season": 1,
        "topmost": False,
        "standing": "",
        "fell": None,
        "members": 0,
        "gain": None,
    }
    return told | changes


def test_the_policy_is_told_in_words():
    assert _when(PLATEAU) == (
        "The next one begins by itself once 75% of the branches gain no more than 0.02 over 10 releases."
    )
    assert _when(PLATEAU | {"policy": "manual"}) == "A founder's node opens the next one."


def test_a_branch_says_what_its_members_gain_and_whether_it_is_ready():
    assert _line(branch(), PLATEAU) == "/en: season 1, too few releases to tell what it gains"
    assert _line(branch(gain=0.25), PLATEAU) == "/en: season 1, loss falls by 0.25 a release"
    measured = branch(gain=0.25, fell=0.5, members=5, standing="gains")
    assert _line(measured, PLATEAU) == (
        "/en: season 1, loss fell by 0.5 over 10 releases (median of 5 members); still gains"
    )
    assert _line(branch(fell=0.01, members=5, standing="asks"), PLATEAU).endswith("ready for the next season")
    assert "another A would not help" in _line(branch(standing="rests"), PLATEAU)
