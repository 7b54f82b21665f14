"""When what a branch's children share moves up into it: the policies of a lift.

A lift costs its committee the children's adapters, and moves the branch's own model. So it waits for enough children,
for the cool-down, and for what the charter's policy asks; a policy sees figures and nothing else, measured elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Protocol, TypeAlias

from banyan.aggregation import build
from banyan.security.charter import TransferPolicy

__all__ = [
    "POLICIES",
    "Agreement",
    "Due",
    "EveryRound",
    "Gain",
    "Measure",
    "Measured",
    "Policy",
    "Transfer",
    "Verdict",
    "Wait",
]

ROUNDING: Final = 1e-6
"""What two machines may differ by in an agreement: a judge lets so much pass."""

Needs: TypeAlias = Literal["nothing", "agreement", "losses"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of one possible lift.

    Args:
        agreement: the estimated cosine between two of the children.
        losses: the loss of the branch's model before and after it on each probe that could be measured here.
    """

    agreement: float
    losses: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Due:
    """Lift now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do not; ``why`` in a few words."""

    why: str


@dataclass(frozen=True, slots=True)
class Measure:
    """It hangs on what has not been measured yet."""


Verdict: TypeAlias = Due | Wait | Measure


class Policy(Protocol):
    """One answer to when."""

    needs: ClassVar[Needs]

    def __init__(self, settings: TransferPolicy) -> None: ...

    def objection(self, measured: Measured, *, judging: bool) -> str:
        """What speaks against this lift; empty if nothing does. ``judging``: it is another's, who has measured for
        itself, and need only be tolerable here."""
        ...


class EveryRound:
    """Whenever enough children have moved on."""

    needs: ClassVar[Needs] = "nothing"

    def __init__(self, settings: TransferPolicy) -> None:
        pass

    def objection(self, measured: Measured, *, judging: bool) -> str:
        return ""


class Agreement:
    """When the children's adapters point the same way: there is something that they share."""

    needs: ClassVar[Needs] = "agreement"

    def __init__(self, settings: TransferPolicy) -> None:
        self._least = settings.agreement

    def objection(self, measured: Measured, *, judging: bool) -> str:
        least = self._least - ROUNDING if judging else self._least
        if measured.agreement >= least:
            return ""
        return f"the children agree by {measured.agreement:.2f} where {self._least:.2f} is asked"


class Gain:
    """When the branch's model gets better by it, and on no probe worse by more than epsilon.

    Each committee member tries a lift on data of its own branch, so to begin one takes a gain at a quorum's worth of
    children, and to sign one that one's own do not lose.
    """

    needs: ClassVar[Needs] = "losses"

    def __init__(self, settings: TransferPolicy) -> None:
        self._epsilon = settings.epsilon

    def objection(self, measured: Measured, *, judging: bool) -> str:
        if not measured.losses:
            return ""  # nothing to measure with here: that is for the others to say
        rises = [after - before for before, after in measured.losses]
        if not max(rises) <= self._epsilon:  # also where a loss is no number
            return f"a probe's loss rises by {max(rises):.3g}, more than {self._epsilon:.3g}"
        if not judging and not sum(rises) < 0:
            return "the branch's model does not get better"
        return ""


POLICIES: Final[dict[str, type[Policy]]] = {
    "every-round": EveryRound,
    "agreement": Agreement,
    "gain": Gain,
}


class Transfer:
    """The charter's conditions for a lift."""

    def __init__(self, settings: TransferPolicy) -> None:
        self.settings = settings
        self.need = max(settings.min_children, build(settings.rule, f=settings.f).minimum_n)
        """The fewest children that a lift counts."""
        self.need_moved = self.need - settings.f
        """The fewest of them with a release that was not counted before: f may be silent."""
        self._policy = POLICIES[settings.policy](settings)

    @property
    def measures(self) -> bool:
        """Whether anything is to be found out about a lift before it can be due."""
        return self._policy.needs != "nothing"

    @property
    def needs_losses(self) -> bool:
        """Whether a lift is to be tried on data."""
        return self._policy.needs == "losses"

    def is_recent(self, released: int, time: int) -> bool:
        """Whether a child's release of the time ``released`` still counts at ``time`` (ms)."""
        return released >= time - self.settings.staleness

    def verdict(
        self,
        children: int,
        moved: int,
        since: int | None,
        measured: Measured | None,
        *,
        judging: bool = False,
    ) -> Verdict:
        """Whether to lift what so many ``children`` share, ``since`` ms after the last lift (None: there was none), of
        whom so many have ``moved`` on since.

        ``judging``: another member proposes it.
        """
        if children < self.need or moved < self.need_moved:
            return Wait(f"{moved} of {self.need_moved} children have moved on, of {children} in all")
        if since is not None and since < self.settings.cool_down:
            return Wait("the last lift is too recent")
        if self.measures and measured is None:
            return Measure()
        objection = self._policy.objection(measured or Measured(0.0), judging=judging)
        return Wait(objection) if objection else Due()
