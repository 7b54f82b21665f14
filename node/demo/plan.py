"""What a demo is going to do: every choice, checked before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from banyan.aggregation import build
from banyan.node.demo.shares import Leaf, choose_leaf
from banyan.node.learning.settings import TrainingSettings
from banyan.security.errors import BanyanError

#: Measured (benchmarks/embedded_base): with these a leaf is learnt in four rounds, and nobody learns it alone.
STEPS: Final = 12
BATCH: Final = 8
LEARNING_RATE: Final = 0.004

#: Seconds that a round waits for a member that does not report. Enough for a slow start on a busy machine.
DEADLINE: Final = 60

#: Held-out rows that a loss is measured on, at most: enough for two digits, and soon done.
HELD_OUT: Final = 60

#: Rows that a node measures its own loss on: a figure for the table, twice a round in every node.
EVAL_ROWS: Final = 8

MARKER: Final = ".banyan-demo"


class CannotDemo(BanyanError):
    """The demo cannot be given as asked."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A demo's choices. ``nodes`` are honest, ``attackers`` come on top; every path is absolute."""

    nodes: int
    attackers: int
    rounds: int
    rule: str
    attack: str
    base: Path
    leaf: Leaf
    out: Path
    training: TrainingSettings
    seed: int
    own_base: bool

    @classmethod
    def of(
        cls,
        *,
        nodes: int,
        attackers: int,
        rounds: int,
        rule: str,
        attack: str,
        base: Path | None,
        data: Path | None,
        out: Path | None,
        steps: int | None = None,
        learning_rate: float | None = None,
        seed: int = 0,
    ) -> Plan:
        """Fill in what was not asked for. Raises :class:`CannotDemo`, and the data's and rule's own errors."""
        from banyan.node.assets import base_model_path, corpora_path

        need = build(rule, attackers).minimum_n
        need = max(need, 2 * attackers + 1)
        if nodes < need:
            raise CannotDemo(
                f"{rule} needs {need} updates to survive {attackers} attacker{'s' if attackers != 1 else ''}, "
                f"and there are {nodes} honest nodes",
                f"Try --nodes {need}, fewer --attackers, or a --rule that needs less, such as median",
            )
        leaf = choose_leaf(data if data is not None else corpora_path() / "garden" / "vegetables.jsonl")
        return cls(
            nodes=nodes,
            attackers=attackers,
            rounds=rounds,
            rule=rule,
            attack=attack,
            base=(base or base_model_path()).expanduser().resolve(),
            leaf=leaf,
            out=(out or Path("banyan-demo")).expanduser().resolve(),
            training=training_on(base, steps, learning_rate),
            seed=seed,
            own_base=base is None,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What the processes are called: ``node-1`` founds, attackers come last."""
        honest = [f"node-{number + 1}" for number in range(self.nodes)]
        return (*honest, *(f"attacker-{number + 1}" for number in range(self.attackers)))

    @property
    def strength(self) -> float | None:
        """How hard each attacker pushes, where its attack has such a number."""
        if self.attack != "sign-flip" or not self.attackers:
            return None
        from banyan.node.demo.adversary import flip_strength

        return flip_strength(self.nodes, self.attackers)

    @property
    def honest(self) -> tuple[str, ...]:
        """The names of the honest ones."""
        return self.names[: self.nodes]


def training_on(base: Path | None, steps: int | None, learning_rate: float | None) -> TrainingSettings:
    """How a demo's nodes train on ``base``: None is the embedded one, and stays on the processor."""
    return TrainingSettings(
        steps=steps or STEPS,
        batch=BATCH,
        learning_rate=learning_rate or LEARNING_RATE,
        eval_rows=EVAL_ROWS,
        use_pretrain_rows=False,
        device="cpu" if base is None else "auto",
    )
