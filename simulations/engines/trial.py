"""One job of a sweep over scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from banyan.simulations.record import RunRecord
from banyan.simulations.run import run_scenario
from banyan.simulations.scenario import Arm, load

__all__ = ["TRIAL", "trial"]

#: What an engine is told.
TRIAL: Final = "banyan.simulations.engines.trial:trial"


def trial(
    scenario: str, seed: int, arm: Arm = "as-is", settings: Mapping[str, Any] | None = None
) -> RunRecord:
    """Run the scenario of that name, or of that ``.toml`` file, with ``settings`` changed.

    Raises:
        ScenarioError: there is no such scenario, or a setting is wrong.
    """
    return run_scenario(load(scenario).changed(settings or {}), seed, arm)
