"""Compare rules under attacks: eight honest devices and two colluders read digits, over the whole protocol.

python -m banyan.simulations.examples.compare_rules
"""

from __future__ import annotations

from banyan.simulations.tasks import Digits
from banyan.simulations.world import World, fast_preset

RULES = ("mean", "trimmed-mean", "nnm+multi-krum")
ATTACKS = ("ipm", "alie*")


def accuracy(rule: str, attack: str, rounds: int = 3) -> float:
    """Held-out accuracy of the model that the honest devices end with."""
    f = 0 if rule == "mean" else 2
    policies = fast_preset(rule=rule, f=f, min_updates=8)
    world = World(7, {"/": 10}, policies, task=Digits(alpha=1.0, steps=20), fast_signatures=True)
    *honest, one, other = world.devices.values()
    for liar in (one, other):
        world.corrupt(liar, attack)
    world.start()
    world.run(until=lambda: all(each.height("/") >= rounds and each.has_model("/") for each in honest))
    return world.task.score("/", honest[0].model("/")).accuracy or 0.0


def main() -> None:
    print(f"{'':16}" + "".join(f"{attack:>8}" for attack in ATTACKS))
    for rule in RULES:
        print(f"{rule:16}" + "".join(f"{accuracy(rule, attack):8.1%}" for attack in ATTACKS))


if __name__ == "__main__":
    main()
