from __future__ import annotations

from banyan.protocol.neighbourhood import closest, kin_of

TREE = ("/", "/de", "/en", "/en/law", "/en/medical", "/en/medical/heart", "/sv", "/sv/law")


def test_kin_are_parent_children_and_the_parents_other_children() -> None:
    assert kin_of("/en", TREE) == ("/", "/de", "/en/law", "/en/medical", "/sv")
    assert kin_of("/", TREE) == ("/de", "/en", "/sv")
    assert kin_of("/en/medical", TREE) == ("/en", "/en/law", "/en/medical/heart")
    assert kin_of("/", ("/",)) == ()


def test_being_kin_is_mutual() -> None:
    assert all(one in kin_of(other, TREE) for one in TREE for other in kin_of(one, TREE))


def test_a_choice_of_neighbours_is_bounded_stays_and_is_mostly_mutual() -> None:
    nodes = [f"node-{number}" for number in range(60)]
    chosen = {node: closest(node, [n for n in nodes if n != node], 8) for node in nodes}
    assert all(len(near) == 8 and node not in near for node, near in chosen.items())
    pairs = [(one, other) for one, near in chosen.items() for other in near]
    assert sum(one in chosen[other] for one, other in pairs) > len(pairs) / 2
    fewer = closest("node-0", [n for n in nodes[1:] if n != "node-59"], 8)
    assert len({*fewer} & {*chosen["node-0"]}) >= 7


def test_who_has_few_members_around_takes_them_all() -> None:
    assert closest("a", ["c", "b"], 8) == ["b", "c"]
