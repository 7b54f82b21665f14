"""The proof on others' ground goes on where it stopped, and its settings are those it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.aggregation.gossip import Around, candidates
from benchmarks.simulation_proof import dumbbell, page
from benchmarks.simulation_proof.ledger import Ledger, nodes_table, table


def test_what_was_measured_is_there_after_an_interruption(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "figures.json")
    first.put("rules|banyan|krum|ALIE*|0", {"accuracy": 0.5})
    again = Ledger(tmp_path / "figures.json")
    assert again.get("rules|banyan|krum|ALIE*|0") == {"accuracy": 0.5}
    assert "rules|banyan|krum|ALIE*|1" not in again
    assert "rules|banyan|krum|ALIE*|0" not in Ledger(tmp_path / "figures.json", fresh=True)


def test_no_cell_is_measured_twice_and_a_page_can_be_written_before_the_first(tmp_path: Path) -> None:
    keys = [key for part in page.PARTS.values() for key in part.cells()]
    assert len(keys) == len(set(keys))
    assert "# The rules" in page.page(Ledger(tmp_path / "figures.json"))


def test_tables_rank_by_the_worst_case_and_leave_out_what_is_not_measured() -> None:
    rows = {"frail": [0.9, 0.1], "sturdy": [0.8, 0.7], "unknown": [None, None]}
    lines = table(rows, ["none", "lie"])
    assert [line.split(" | ")[0] for line in lines[2:-1]] == ["| sturdy", "| frail"]
    assert lines[2].endswith("**70.0** |")
    assert len(nodes_table({"a": [(0.5, None)], "b": [(None, None)]}, ["none"])) == 4


@pytest.mark.parametrize(("graph", "nodes", "bridge"), [("dumbbell", 20, (0, 10)), ("bridge", 12, (10, 11))])
def test_two_cliques_hold_other_digits_and_hang_on_one_link(
    graph: str, nodes: int, bridge: tuple[int, int]
) -> None:
    setting = dumbbell.setting(graph)
    assert len(setting.talk) == nodes
    a, b = bridge
    assert b in setting.talk[a] and a in setting.talk[b]
    shares = setting.data(0).shares
    half = 10 if graph == "dumbbell" else 5
    assert set(shares[0][1]) <= set(range(5)) and set(shares[half][1]) <= set(range(5, 10))
    across = [(i, j) for i in range(half) for j in setting.talk[i] if half <= j < 2 * half]
    assert len(across) == (1 if graph == "dumbbell" else 0)


def test_dissensus_pushes_the_receiver_away_from_its_neighbours() -> None:
    own, honest = np.zeros(3, np.float32), np.ones((2, 3), np.float32)
    (lie,) = candidates("dissensus", Around(own, honest, own, liars=1))
    assert np.allclose(lie, -3.0)
