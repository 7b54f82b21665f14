"""Bring your own attack: drop the largest tenth of what was learned, and see whether the network notices.

    python -m banyan.simulations.examples.own_attack

An attack that needs only its own update overrides ``forge``. One that sees the honest updates first subclasses
``Colluding`` and names a formula, a function of a ``View``: the honest updates, how much a lie would harm the rule.
"""

from __future__ import annotations

import numpy as np

from banyan.protocol.effects import Trained
from banyan.simulations.attacks import Attack, Colluding
from banyan.simulations.attacks.formulas import Floats, View
from banyan.simulations.tasks import Quadratic
from banyan.simulations.world import World


class Forgetful(Attack):
    """Send everything but what matters most."""

    def forge(self, blob: bytes, event: Trained) -> bytes:
        change = self.change(blob)
        change[np.abs(change) >= np.quantile(np.abs(change), 0.9)] = 0
        return self.encoded(change, event.base)


def away_from_one(view: View) -> Floats:
    """Lead everybody away from the first honest device's update, as far as harms this rule most."""
    return view.worst([view.mean - z * (view.honest[0] - view.mean) for z in (1, 2, 4, 8)])


class Outcast(Colluding):
    """Work against one honest device."""

    formula = staticmethod(away_from_one)


def distance(attack: type[Attack]) -> float:
    """How far from the honest devices' best common model the network ends, relative."""
    task = Quadratic()
    world = World(1, {"/": 7}, task=task, fast_signatures=True)
    *honest, liar = world.devices.values()
    world.corrupt(liar, attack)
    world.start()
    world.run(until=lambda: all(each.height("/") >= 5 and each.has_model("/") for each in honest))
    best = task.optimum("/", devices=[each.name for each in honest])
    return float(np.linalg.norm(honest[0].model("/") - best) / np.linalg.norm(best))


def main() -> None:
    for attack in (Attack, Forgetful, Outcast):
        print(f"{attack.__name__:10} {distance(attack):.3f}")


if __name__ == "__main__":
    main()
