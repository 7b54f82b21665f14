"""How much a device's updates may tell of any one of its rows, and how much they have told: an (ε, δ) budget.

Every step of private training is a Poisson-sampled Gaussian mechanism, given by its noise multiplier σ, its sampling
rate q and how often it ran. Their composition is accounted for in Rényi differential privacy (Mironov 2017; Mironov,
Talwar and Zhang 2019) by Opacus. One ledger for a device adds up everything as if it had been about the same rows, so
the figure is never too small.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from banyan.node.home import write_durably
from banyan.node.learning.errors import LearningError

#: Noise multipliers that are looked for; what needs more is no training.
LEAST_NOISE, MOST_NOISE = 0.3, 200.0

#: Bisections: the noise is right to a thousandth.
TRIES = 14

#: Rényi orders, the best of which gives the ε: whole ones up to where little noise on few rows is best, and between the
#: small ones, where much is spent.
ORDERS = sorted([1.1, 1.25, 1.5, 1.75, 2.25, 2.5, 2.75, 3.5, 4.5, 5.5, *range(2, 65), 96, 128, 256, 512])

#: A ledger is no longer than this many bytes.
LEDGER_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Spend:
    """``steps`` times a Gaussian mechanism with noise multiplier ``noise`` on rows drawn at ``rate``."""

    noise: float
    rate: float
    steps: int


@dataclass(frozen=True, slots=True)
class Plan:
    """``epsilon`` at ``delta``, in all, to be spread over ``rounds`` rounds from the plan's beginning."""

    epsilon: float
    delta: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was spent ever, and how many rounds of the present ``plan``."""

    spent: tuple[Spend, ...] = ()
    plan: Plan | None = None
    rounds: int = 0

    def under(self, plan: Plan) -> Ledger:
        """The ledger with ``plan`` as the present one, begun anew where it is another; what was spent stays."""
        return self if plan == self.plan else replace(self, plan=plan, rounds=0)

    def after(self, spend: Spend) -> Ledger:
        """The ledger once a round has spent that."""
        *earlier, last = self.spent or (None,)
        if last is not None and (last.noise, last.rate) == (spend.noise, spend.rate):
            merged = (*earlier, replace(last, steps=last.steps + spend.steps))
        else:
            merged = (*self.spent, spend)
        return replace(self, spent=tuple(each for each in merged if each), rounds=self.rounds + 1)


def epsilon(spent: Sequence[Spend], delta: float) -> float:
    """The ε at ``delta`` of everything in ``spent`` together, an upper bound; 0 for nothing."""
    if not spent:
        return 0.0
    total = sum(each.steps * _rdp_of_a_step(each.noise, each.rate) for each in spent)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # that the best order is the first or last one tried: still an upper bound
        return float(_analysis().get_privacy_spent(orders=ORDERS, rdp=total, delta=delta)[0])


def noise_for(ledger: Ledger, rate: float, steps: int) -> float:
    """The least noise multiplier with which ``steps`` steps in each round that the plan has left keep within it.

    Raises :class:`LearningError` where no noise does: the budget is spent.
    """
    plan = ledger.plan
    assert plan is not None
    left = plan.rounds - ledger.rounds

    def within(noise: float) -> bool:
        return epsilon((*ledger.spent, Spend(noise, rate, steps * left)), plan.delta) <= plan.epsilon

    if left < 1 or not within(MOST_NOISE):
        raise LearningError(
            f"The privacy budget is spent: ε = {epsilon(ledger.spent, plan.delta):.2f} of {plan.epsilon:g} at "
            f"δ = {plan.delta:g}",
            "Stop training on these rows, or accept that more can be told of them: --dp with a larger epsilon",
        )
    low, high = LEAST_NOISE, MOST_NOISE
    if within(low):
        return low
    for _ in range(TRIES):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if within(middle) else (middle, high)
    return high


def load(path: Path) -> Ledger:
    """The ledger in the file; an empty one where there is none. Raises :class:`LearningError` for one that cannot be
    read: what was spent must not be forgotten by accident."""
    try:
        if path.stat().st_size > LEDGER_BYTES:
            raise ValueError("it is too long")
        plain = json.loads(path.read_bytes())
        plan = Plan(**plain["plan"]) if plain["plan"] else None
        return Ledger(tuple(Spend(**each) for each in plain["spent"]), plan, int(plain["rounds"]))
    except FileNotFoundError:
        return Ledger()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LearningError(
            f"The record of the privacy budget, {path}, cannot be read ({error})",
            "Put it back from a copy, or remove it if these rows were never trained on with --dp",
        ) from None


def save(path: Path, ledger: Ledger) -> None:
    """Replace the file durably."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(path, json.dumps(asdict(ledger)).encode())


@lru_cache(maxsize=1_024)
def _rdp_of_a_step(noise: float, rate: float) -> NDArray[np.float64]:
    """The Rényi divergence of one step at each of :data:`ORDERS`; those of many steps add up."""
    found: NDArray[np.float64] = _analysis().compute_rdp(
        q=rate, noise_multiplier=noise, steps=1, orders=ORDERS
    )
    return found


def _analysis() -> ModuleType:
    try:
        import opacus.accountants.analysis.rdp
    except ImportError:
        raise LearningError(
            "Differential privacy needs Opacus, which is not installed", "pip install 'banyan-fl[privacy]'"
        ) from None
    found: ModuleType = opacus.accountants.analysis.rdp
    return found
