"""What a report decides before it draws: sentences, panels, the crown of the tree, who was left out."""

import math
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from banyan.simulations.record import ScoreFigures
from banyan.simulations.report.absence import absence_of
from banyan.simulations.report.crown import CROWN, RING, grow, state_of
from banyan.simulations.report.curves import losses, panels
from banyan.simulations.report.figures import kind_of
from banyan.simulations.report.story import Arms, facts, headline
from banyan.simulations.report.traffic import rounds_of, traffic_of
from banyan.simulations.report.tree import tree_svg
from banyan.simulations.report.words import duration, number, share


def ending(record, loss):
    """``record`` with a loss of 2 at the start and of ``loss`` at the end."""
    return replace(record, scores=(ScoreFigures("/", 0, 0, 2.0, 2.0), ScoreFigures("/", 9, 9, loss, loss)))


@pytest.mark.parametrize(
    ("with_attack", "without", "said"),
    [
        (1.0, 1.0, "16 honest devices learned together, and 4 attackers got nowhere"),
        (0.9, 1.0, "16 honest devices learned together, and 4 attackers got nowhere"),
        (
            1.5,
            1.0,
            "16 honest devices learned together; 4 attackers cost them 50 % of what they would have learned",
        ),
        (2.0, 1.0, "16 honest devices learned nothing: 4 attackers saw to that"),
        (1.0, None, "16 honest devices learned together, among 4 attackers"),
        (math.nan, 1.0, "16 honest devices learned nothing: 4 attackers saw to that"),
    ],
)
def test_the_headline_says_what_the_attack_cost(record_of, with_attack, without, said):
    records = [replace(ending(record_of(rounds=1), with_attack), alone={})]
    if without is not None:
        records.append(ending(record_of(rounds=1, arm="no-attack"), without))
    assert headline(Arms(records)) == said


def test_the_headline_admits_where_each_alone_learned_more(record_of):
    together, calm = ending(record_of(rounds=1), 1.2), ending(record_of(rounds=1, arm="no-attack"), 1.2)
    said = headline(Arms([together, calm]))
    assert said == "16 honest devices learned together, though less than each alone; 4 attackers got nowhere"


def test_the_headline_of_a_missed_goal_names_the_goal(record_of):
    assert headline(Arms([replace(record_of(rounds=1), finished=False)])).startswith(
        "It did not reach its goal: 1 "
    )


def test_attackers_updates_in_releases_are_confessed(record_of):
    record = record_of(rounds=1, arm="plain-mean")
    everybody = tuple(node.name for node in record.nodes)
    poisoned = replace(record.releases[0], used=everybody, left_out=())
    said = facts(Arms([replace(record, releases=(poisoned,))]))
    assert (
        "The rule was given 20 updates, 4 of them attackers’; what weight each got, a release does not say."
        in said
    )


def test_few_branches_have_a_panel_each_and_many_share_one_a_level(record_of, shapes):
    few = panels([record_of({"/": 3, "/a": 3, "/b": 3}, rounds=2)], losses)
    assert [panel.title for panel in few] == ["/", "/a", "/b"]
    many = panels([record_of(shapes["tree"], rounds=2)], losses)
    assert [panel.title for panel in many] == ["/", "level 1: 3 branches", "level 2: 9 branches"]


def test_a_branch_that_has_stopped_keeps_what_it_reached(record_of):
    record = record_of({f"/{n}": 2 for n in range(8)}, rounds=4)
    stopped = {f"/{n}" for n in range(7)}
    kept = tuple(s for s in record.scores if s.branch not in stopped or s.height <= 1)
    (panel,) = panels([replace(record, scores=kept)], losses)
    curve = panel.curves["as-is"]
    assert curve.rounds == (0, 1, 2, 3, 4)
    assert curve.middle[4] == pytest.approx(curve.middle[1], rel=0.05)


@pytest.mark.parametrize("shape", ["flat", "tree", "large"])
def test_every_device_is_behind_a_leaf_and_no_two_leaves_lie_on_each_other(record_of, shapes, shape):
    record = record_of(shapes[shape], rounds=1)
    crown = grow(record)
    shown = Counter()
    for slot in crown.slots:
        for state, count in slot.leaves:
            shown[state] += count
    assert shown == Counter(state_of(node) for node in record.nodes)
    assert crown.leaves <= 800
    assert crown.gap * CROWN >= min(RING, 0.9 * math.pi * CROWN / len(crown.slots) / 2)
    spans = [
        (s.middle + s.columns * crown.gap / 2, s.middle - s.columns * crown.gap / 2) for s in crown.slots
    ]
    assert all(left[1] > right[0] for left, right in pairwise(spans))


def test_too_many_branches_are_drawn_in_their_parents(record_of):
    record = record_of({f"/{a}/{b}": 1 for a in "abcdefghij" for b in range(40)}, rounds=1, attackers=0)
    crown = grow(record)
    assert crown.folded == 400 and len(list(crown.root.walk())) == 11
    assert crown.root.devices == 400


def test_a_leaf_that_is_one_device_bears_its_name(record_of):
    record = record_of(rounds=1)
    drawn = tree_svg(grow(record), record)
    for node in record.nodes:
        assert re.search(rf"<title>{node.name}, (honest|attacker)", drawn)


def test_who_was_left_out_is_counted_by_device_and_reason(record_of):
    record = record_of(rounds=10)
    absence = absence_of(record)
    assert sum(each.total for each in absence.reasons) == sum(len(r.left_out) for r in record.releases)
    assert {each.name for each in absence.attackers} == {n.name for n in record.nodes if n.attack}
    equivocator = next(each for each in absence.attackers if each.attack == "equivocate")
    assert equivocator.reasons == (("quarantined", 10),) and equivocator.used == 0
    assert absence.honest_used == sum(len(r.used) for r in record.releases)


def test_traffic_is_per_round_of_the_devices_branch(record_of):
    record = record_of({"/": 2, "/a": 2}, rounds=5, attackers=0)
    record = replace(record, releases=tuple(r for r in record.releases if r.branch == "/" or r.height <= 2))
    assert rounds_of(record) == {"/": 5, "/a": 2}
    assert [each.messages for each in traffic_of(record)] == [
        node.messages / (5 if node.branch == "/" else 2) for node in record.nodes
    ]


def test_rounds_are_the_devices_steps_where_nobody_releases(record_of):
    assert rounds_of(replace(record_of(rounds=6), releases=())) == {"/": 6}


def test_faults_are_told_apart_by_what_happened_not_to_whom():
    said = (
        "/en#3 crashes",
        "/#1 is back with an empty disk",
        "cut: 4 devices on one side",
        "healed",
        "10 % are lost",
    )
    assert [kind_of(each) for each in said] == ["crashes", "is back", "cut", "healed", "other"]


def test_numbers_read_well():
    assert [duration(ms) for ms in (850, 3_200, 125_000, 3_720_000)] == [
        "850 ms",
        "3.2 s",
        "2 min 05 s",
        "1 h 02 min",
    ]
    assert [number(v) for v in (0.5947, 2.4, 18.44, 12_345.0, 0.05, 1e-9, math.nan, None)] == [
        "0.595",
        "2.40",
        "18.4",
        "1.2e+04",
        "0.05",
        "1.0e-09",
        "not a number",
        "–",
    ]
    assert [share(v) for v in (0, 0.004, 0.2, 0.999, 1)] == [
        "0 %",
        "less than 1 %",
        "20 %",
        "more than 99 %",
        "100 %",
    ]
