"""Who gets which rows."""

import json

import pytest

from banyan.node.demo.shares import choose_leaf, deal, pool, write
from banyan.node.learning.dataset import load_dataset
from banyan.node.learning.errors import DataError


def prompts(rows):
    return {row["prompt"] for row in rows}


def test_the_leaf_with_most_owners_is_chosen_and_named_by_its_path(tree):
    root = tree(few={"a": (9, 1, 0), "b": (9, 1, 0)}, Many_Owners=dict.fromkeys("abc", (2, 1, 0)))
    leaf = choose_leaf(root)
    assert leaf.file.name == "Many_Owners.jsonl"
    assert leaf.branch == "/medical/many_owners"
    assert choose_leaf(root / "few.jsonl").branch == "/medical/few"


def test_every_owner_belongs_to_one_share_and_no_row_is_lost_or_doubled(tree):
    owners = {owner: (3 + number, 2, 4) for number, owner in enumerate("abcdefg")}
    shares = deal(choose_leaf(tree(leaf=owners)), 4)
    assert sorted(owner for share in shares for owner in share.owners) == sorted(owners)
    training = [row["prompt"] for share in shares for row in share.training]
    assert len(training) == len(set(training)) == sum(count for count, _, _ in owners.values())
    assert sum(len(share.held_out) for share in shares) == 14
    sizes = [len(share.training) for share in shares]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 4


def test_pretrain_rows_are_nobodys(tree):
    shares = deal(choose_leaf(tree(leaf={"a": (3, 1, 5), "b": (3, 1, 5)})), 2)
    everything = [*shares[0].training, *shares[0].held_out, *shares[1].training, *shares[1].held_out]
    assert not any("pretrain" in row["prompt"] for row in everything)


def test_fewer_owners_than_people_cuts_the_largest_owner(tree):
    shares = deal(choose_leaf(tree(leaf={"a": (12, 2, 0), "b": (4, 2, 0)})), 3)
    assert [share.owners for share in shares] == [("a (1)",), ("a (2)",), ("b",)]
    assert not prompts(shares[0].training) & prompts(shares[1].training)


def test_too_few_rows_are_refused_with_the_file(tree):
    with pytest.raises(DataError, match="too few rows for 5 people"):
        deal(choose_leaf(tree(leaf={"a": (3, 1, 0)})), 5)


def test_without_a_marked_split_some_rows_of_each_owner_are_held_out(tree):
    root = tree(leaf={"a": (12, 0, 0), "b": (12, 0, 0)})
    shares = deal(choose_leaf(root), 2)
    assert all(len(share.held_out) == 2 and len(share.training) == 10 for share in shares)


def test_the_measuring_rows_come_from_all_owners_in_turn(tree):
    shares = deal(choose_leaf(tree(leaf={"a": (4, 9, 0), "b": (4, 2, 0), "c": (4, 1, 0)})), 3)
    rows = pool(shares, 6)
    assert len(rows) == 6
    assert {row["client"] for row in rows[:3]} == {"a", "b", "c"}
    assert pool(shares, 100) and len(pool(shares, 100)) == 12


def test_a_written_share_is_read_back_as_it_was_split(tree, tmp_path):
    share = deal(choose_leaf(tree(leaf={"a": (4, 2, 3)})), 1)[0]
    write(tmp_path / "share.jsonl", share.training, share.held_out)
    dataset = load_dataset([tmp_path / "share.jsonl"])
    assert (len(dataset.training), len(dataset.held_out)) == (4, 2)
    assert {json.loads(line)["split"] for line in (tmp_path / "share.jsonl").open()} == {"train", "test"}
