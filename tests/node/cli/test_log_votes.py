"""What ``banyan log`` says of votes."""

from banyan.node.cli.log import _details

PAGE = {
    "leader": "ada", "cosigners": ["ada"], "used": ["ada"], "left_out": [], "reported": None, "counted": [],
    "counted_in": None, "rule": "arc+nnm+trimmed-mean", "refused": [], "trial": None, "narrowed_to": 0,
    "lifted": None,
}  # fmt: skip


def votes(change, count=3):
    return {"change": change, "votes": [{"voter": "ada", "change": change}] * count}


def lines(**changes):
    return [line for _, line in _details(PAGE | changes, None, None)][2:]


def test_a_release_that_was_voted_on_says_how_the_vote_went():
    refused = [{"rule": "mean", **votes(0.5)}]
    assert lines(refused=refused, trial=votes(-0.25)) == [
        "refused by vote: mean: loss +0.5 (median of 3 votes)",
        "passed by vote: loss -0.25 (median of 3 votes)",
    ]


def test_too_few_votes_and_a_round_that_changed_nothing_are_told():
    refused = [{"rule": "mean", **votes(None, 1)}]
    assert lines(refused=refused, rule="unchanged", trial=votes(None, 0)) == [
        "refused by vote: mean (not tried: 1 votes came in time)",
        "closed unchanged: every rule was refused by vote",
    ]
    assert lines() == []
