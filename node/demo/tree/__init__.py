"""``banyan demo --tree``: three levels of real processes; knowledge rises by lifts and comes down to newcomers.

``plan`` says what is going to be done, ``stage`` starts it, ``history`` knows every model that there was, ``watch``
and ``screen`` show it, ``measure`` (a process of its own: torch lives there) gives models their losses, ``summary``
judges, ``page`` tells the story.
"""

from __future__ import annotations

from pathlib import Path


def run(
    *,
    nodes: int | None = None,
    rounds: int | None = None,
    base: Path | None = None,
    data: Path | None = None,
    out: Path | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    json_output: bool = False,
) -> int:
    """Run the demo; 0 if its verdict holds. Raises ``BanyanError`` where it does not, or cannot be given."""
    from banyan.node.demo.tree.plan import TreePlan
    from banyan.node.demo.tree.show import show

    plan = TreePlan.of(
        nodes=nodes,
        rounds=rounds,
        base=base,
        data=data,
        out=out,
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
    )
    return show(plan, json_output=json_output)
