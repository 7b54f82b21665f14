"""The verdict and the numbers behind it."""

import pytest

from banyan.node.demo.audit import OUTVOTED, Audited
from banyan.node.demo.summary import influence_of, verdict

SCHEMA = {
    "network", "branches", "rounds", "nodes", "attack", "attacker_influence", "undefended_loss_after", "wall_seconds",
}  # fmt: skip


def audited(height, weights, displacement=0.0, blob=None, refused=()):
    return Audited(
        height=height,
        release="00",
        leader="a",
        cosigners=("a",),
        admitted=tuple(weights),
        refused=refused,
        weights=weights,
        blobs={author: blob or f"{author}{height}".encode() for author in weights},
        displacement=displacement,
        agreement=0.0,
        signed=len(weights),
    )


def failing(summary):
    return [check.sentence for check in verdict(summary) if not check.holds]


def test_the_example_has_what_every_summary_has(summary):
    assert summary.keys() >= SCHEMA


def test_a_good_run_passes_and_says_what_the_mean_would_have_done(summary):
    checks = verdict(summary)
    assert not failing(summary)
    assert checks[0].sentence == "Honest nodes learned: held-out loss 5.000 → 3.500."
    assert checks[1].sentence.startswith("All 5 do better together (3.500) than alone (4.000 to 4.400)")
    assert "weighed nothing" in checks[2].sentence
    assert "would have ended at 6.500, 3.000 worse" in checks[3].sentence


def test_a_node_that_is_not_below_its_start_fails(summary):
    summary["nodes"][2]["loss_after"] = 5.0
    assert any("did not learn" in sentence for sentence in failing(summary))


def test_a_node_that_does_better_alone_fails(summary):
    summary["nodes"][0]["loss_local_only"] = 3.4
    assert any(sentence.startswith("Only 4 of 5") for sentence in failing(summary))


def test_a_loss_that_was_never_measured_fails(summary):
    summary["nodes"][0]["loss_after"] = None
    assert len(failing(summary)) == 2


def test_an_attacker_with_weight_fails(summary):
    summary["attacker_influence"] = 0.2
    assert failing(summary) == ["The attacker had influence: its updates made up 20% of a release."]


@pytest.mark.parametrize(("moved", "holds"), [(0.1, True), (0.7, False)])
def test_a_rule_without_weights_is_judged_by_how_far_it_was_moved(summary, moved, holds):
    summary |= {"attacker_influence": None, "attacker_displacement": moved, "rule": "median"}
    assert (not failing(summary)) is holds


def test_a_mean_that_is_not_a_number_is_said_so(summary):
    summary["undefended_loss_after"] = None
    assert "not a number" in verdict(summary)[3].sentence


def test_without_an_attack_only_learning_counts(summary):
    summary["attack"] = None
    assert len(verdict(summary)) == 2


def test_used_are_those_with_a_share_and_the_rest_have_a_reason():
    release = audited(1, {"a": 0.5, "b": 0.5, "x": 0.0}, refused=(("y", "non-finite"),))
    assert release.used == ("a", "b")
    assert release.left_out == (("y", "non-finite"), ("x", OUTVOTED))


def test_influence_is_the_largest_weight_of_a_tampered_update():
    releases = [audited(1, {"a": 1.0, "x": 0.0}), audited(2, {"a": 0.7, "x": 0.3}, displacement=0.4)]
    assert influence_of(releases, {"x"}, "sign-flip") == (0.3, 0.4, 0.0)
    assert influence_of(releases, {"y"}, "sign-flip") == (0.0, 0.0, 0.0)


def test_true_updates_of_a_lying_leader_and_the_first_of_a_replayer_are_no_influence():
    releases = [audited(1, {"a": 0.8, "x": 0.2}), audited(2, {"a": 0.9, "x": 0.1})]
    assert influence_of(releases, {"x"}, "lying-leader") == (0.0, 0.0, 0.2)
    assert influence_of(releases, {"x"}, "replay") == (0.1, 0.0, 0.2)


def test_a_rule_without_weights_has_no_number_for_influence():
    release = audited(1, {"a": 1.0, "x": 1.0})
    blind = Audited(**{field: getattr(release, field) for field in release.__slots__} | {"weights": None})
    assert influence_of([blind], {"x"}, "noise")[0] is None
    assert blind.used == ("a", "x")
