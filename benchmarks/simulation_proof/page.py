"""The page of all parts."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from benchmarks.simulation_proof import clique, dumbbell, rules_under_attack
from benchmarks.simulation_proof.ledger import Ledger

PARTS: Final[dict[str, ModuleType]] = {"rules": rules_under_attack, "dumbbell": dumbbell, "clique": clique}


def page(ledger: Ledger) -> str:
    """Every part's tables, Markdown."""
    lines = ["# The rules on others' ground", ""]
    for part in PARTS.values():
        lines += part.page(ledger)
    return "\n".join(lines) + "\n"
