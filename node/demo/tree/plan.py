"""What the demo of a tree is going to do: every choice, checked before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from banyan.node.demo.plan import CannotDemo, training_on
from banyan.node.demo.shares import Leaf, choose_leaf
from banyan.node.learning.dataset import files_of
from banyan.node.learning.settings import TrainingSettings
from banyan.protocol.paths import ROOT, parent_of

#: Nodes of each sub-domain, and as many newcomers, but two at most.
NODES: Final = 2

ROUNDS: Final = 3

#: Rounds of the newcomers: the first shows what they gain from where they start.
LATER_ROUNDS: Final = 2

#: What the branch of the newcomers is called, below the domain.
NEWCOMERS: Final = "newcomers"


@dataclass(frozen=True, slots=True)
class TreePlan:
    """A demo's choices. ``leaves`` are two sub-domains of one domain, of ``nodes`` each; every path is absolute."""

    nodes: int
    leaves: tuple[Leaf, ...]
    rounds: int
    base: Path
    out: Path
    training: TrainingSettings
    seed: int
    own_base: bool

    @classmethod
    def of(
        cls,
        *,
        nodes: int | None = None,
        rounds: int | None = None,
        base: Path | None = None,
        data: Path | None = None,
        out: Path | None = None,
        steps: int | None = None,
        learning_rate: float | None = None,
        seed: int = 0,
    ) -> TreePlan:
        """Fill in what was not asked for. Raises :class:`CannotDemo`, and the data's own errors."""
        from banyan.node.assets import base_model_path, corpora_path

        return cls(
            nodes=nodes or NODES,
            leaves=choose_leaves(data if data is not None else corpora_path() / "garden"),
            rounds=rounds or ROUNDS,
            base=(base or base_model_path()).expanduser().resolve(),
            out=(out or Path("banyan-demo")).expanduser().resolve(),
            training=training_on(base, steps, learning_rate),
            seed=seed,
            own_base=base is None,
        )

    @property
    def late(self) -> int:
        """How many newcomers there will be, and the updates that any round needs."""
        return min(self.nodes, NODES)

    @property
    def domain(self) -> str:
        """The branch above the leaves; the master is above it."""
        above = parent_of(self.leaves[0].branch)
        assert above is not None
        return above

    @property
    def newcomers(self) -> str:
        """The branch that opens last."""
        return f"{self.domain}/{NEWCOMERS}"

    @property
    def tips(self) -> tuple[str, ...]:
        """The branches that nodes work on."""
        return (*(leaf.branch for leaf in self.leaves), self.newcomers)

    @property
    def branches(self) -> tuple[str, ...]:
        """All, from the master down."""
        return (ROOT, self.domain, *self.tips)


def choose_leaves(data: Path) -> tuple[Leaf, Leaf]:
    """Two files beside each other at or below the folder ``data``: of the first such folder, those with most owners.

    The domain is called after the folder that they lie in. Raises :class:`CannotDemo` where no folder has two.
    """
    data = data.expanduser().resolve()
    if data.is_dir():
        for folder, files in groupby(sorted(files_of([data])), key=lambda file: file.parent):
            if len(beside := list(files)) >= 2:
                return _pair(folder, beside)
    raise CannotDemo(
        f"There are no two JSONL files beside each other at {data}",
        "Give a folder, such as a domain, with a file for each sub-domain",
    )


def _pair(folder: Path, files: list[Path]) -> tuple[Leaf, Leaf]:
    best = choose_leaf(folder)
    others = [file for file in files if file != best.file]
    domain = best.branch.split("/")[1]
    second = max(others, key=lambda file: (file.stat().st_size, str(file)))
    name = choose_leaf(second).branch.rpartition("/")[2]
    return Leaf(best.file, f"/{domain}/{best.branch.rpartition('/')[2]}"), Leaf(second, f"/{domain}/{name}")
