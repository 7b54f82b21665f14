"""``banyan demo``: a network of real processes learns together on this machine while an attacker is shut out.

``stage`` founds and starts it, ``adversary`` is the malicious process, ``watch`` and ``screen`` show it, ``measure``
(a process of its own: torch lives there) says what it gained, ``audit`` who had influence, ``page`` tells the story.
"""

from __future__ import annotations

from pathlib import Path


def run(
    *,
    nodes: int = 5,
    attackers: int = 1,
    rounds: int = 4,
    rule: str = "multi-krum",
    attack: str = "sign-flip",
    base: Path | None = None,
    data: Path | None = None,
    out: Path | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    json_output: bool = False,
) -> int:
    """Run the demo; 0 if its verdict holds, 1 if not (a sentence says why). Raises ``BanyanError`` where it cannot."""
    from banyan.node.demo.plan import Plan
    from banyan.node.demo.show import show

    plan = Plan.of(
        nodes=nodes,
        attackers=attackers,
        rounds=rounds,
        rule=rule,
        attack=attack,
        base=base,
        data=data,
        out=out,
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
    )
    return show(plan, json_output=json_output)
