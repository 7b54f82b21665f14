"""The attacks of the tables, by their columns' names; the formulas are the simulator's."""

from __future__ import annotations

from typing import Final

from banyan.simulations.attacks import formulas
from banyan.simulations.attacks.formulas import STRENGTHS, Formula, View
from banyan.simulations.tasks import Poison

__all__ = ["ATTACKS", "POISONS", "STRENGTHS", "View"]

ATTACKS: Final[dict[str, Formula]] = {
    "none": formulas.honest,
    "sign flip": formulas.sign_flip,
    "FOE ×10": formulas.ipm,
    "ALIE": formulas.alie,
    "ALIE*": formulas.searched_alie,
    "FOE*": formulas.searched_ipm,
    "label flip": formulas.honest,
    "backdoor": formulas.honest,
    "mimic": formulas.mimic,
    "noise": formulas.noise,
    "min-max": formulas.min_max,
    "min-sum": formulas.min_sum,
    "explosion": formulas.explosion,
}

POISONS: Final[dict[str, Poison]] = {"label flip": "label-flip", "backdoor": "backdoor"}
"""What the liars of an attack train on, where it is their data that lie."""
