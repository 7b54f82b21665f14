"""How a run ended, in plain words: one sentence, and the few that support it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from banyan.simulations.record import RunRecord, ViolationFigures
from banyan.simulations.report.absence import absence_of
from banyan.simulations.report.words import ARM_NAMES, counted, duration, number, share

__all__ = ["Arms", "Check", "checks", "facts", "headline"]

#: An attack that costs less than this share of what would have been learned got nowhere.
NOTHING = 0.05


@dataclass(frozen=True, slots=True)
class Check:
    """A sentence that either holds or does not."""

    holds: bool
    sentence: str


class Arms:
    """The arms of one scenario and seed, and where each began and ended.

    Losses are means over the branches, weighted by their honest devices; None where the arm was not run.

    Raises:
        ValueError: no record, an arm twice, or records of several scenarios or seeds.
    """

    def __init__(self, records: Sequence[RunRecord]) -> None:
        self.by_name = {record.arm: record for record in records}
        if not records or len(self.by_name) != len(records):
            raise ValueError("A report needs at least one run, and each arm once")
        if len({(record.scenario, record.seed) for record in records}) > 1:
            raise ValueError(
                "A report shows the arms of one scenario and one seed; write one report for each"
            )
        self.main = self.by_name.get("as-is", records[0])
        self.attackers = sum(node.attack is not None for node in self.main.nodes)
        self.honest = len(self.main.nodes) - self.attackers

    def loss(self, arm: str, *, first: bool = False) -> float | None:
        """Where ``arm`` ended, or began."""
        record = self.by_name.get(arm)
        found: dict[str, tuple[int, float]] = {}
        for score in record.scores if record else ():
            known = found.get(score.branch)
            if known is None or (score.height < known[0] if first else score.height >= known[0]):
                found[score.branch] = (score.height, score.loss)
        return self._mean({branch: loss for branch, (_, loss) in found.items()})

    @property
    def alone(self) -> float | None:
        return self._mean(self.main.alone)

    @property
    def learned(self) -> float | None:
        """By how much the loss fell."""
        start, end = self.loss(self.main.arm, first=True), self.loss(self.main.arm)
        return start - end if start is not None and end is not None else None

    @property
    def cost(self) -> float | None:
        """The share of what is learned without an attack that the attack cost; above 1 where it did damage."""
        start, calm = self.loss("no-attack", first=True), self.loss("no-attack")
        if start is None or calm is None or self.learned is None or start <= calm:
            return None
        return 1 - self.learned / (start - calm)

    def _mean(self, by_branch: dict[str, float]) -> float | None:
        honest = Counter(node.branch for node in self.main.nodes if node.attack is None)
        weights = {branch: max(honest[branch], 1) for branch in by_branch}
        if not by_branch:
            return None
        return sum(by_branch[branch] * weights[branch] for branch in by_branch) / sum(weights.values())


def headline(arms: Arms) -> str:
    """One sentence, no full stop."""
    main, many = arms.main, counted(arms.honest, "honest device" if arms.attackers else "device")
    bad = counted(arms.attackers, "attacker")
    broken = sorted({violation.invariant for violation in main.violations})
    if broken:
        return f"{'An invariant' if len(broken) == 1 else counted(len(broken), 'invariant')} broke: {', '.join(broken)}"
    if not main.finished:
        return f"It did not reach its goal: {main.goal}"
    if arms.learned is None:
        return f"{many} reached {main.goal}" + (f" among {bad}" if arms.attackers else "")
    if not arms.learned > 0:
        return (
            f"{many} learned nothing: {bad} saw to that"
            if arms.attackers
            else f"{many} met, and learned nothing"
        )
    end, alone = arms.loss(main.arm), arms.alone
    behind = end is not None and alone is not None and end > alone
    learned = f"{many} learned together{', though less than each alone' if behind else ''}"
    if not arms.attackers:
        return learned
    if arms.cost is None:
        return f"{learned}, among {bad}"
    if arms.cost <= NOTHING:
        return f"{learned}{';' if behind else ', and'} {bad} got nowhere"
    return f"{learned}; {bad} cost them {share(arms.cost)} of what they would have learned"


def checks(arms: Arms) -> list[Check]:
    """The goal and the invariants, of every arm."""
    main = arms.main
    took = duration(main.virtual_ms)
    reached = f"It reached its goal after {took} of virtual time: {main.goal}."
    missed = f"It did not reach its goal within {took} of virtual time: {main.goal}."
    found = [Check(main.finished, reached if main.finished else missed)]
    for arm, record in arms.by_name.items():
        where = "" if record is main else f" in the arm “{ARM_NAMES.get(arm, arm)}”"
        for name in dict.fromkeys(violation.invariant for violation in record.violations):
            each = [violation for violation in record.violations if violation.invariant == name]
            found.append(Check(False, _broken(each, where)))
    if not any(record.violations for record in arms.by_name.values()):
        found.append(Check(True, "Every invariant held."))
    return found


def _broken(violations: list[ViolationFigures], where: str) -> str:
    first = violations[0]
    often = f" ({counted(len(violations), 'time')})" if len(violations) > 1 else ""
    at = f"after {duration(first.time)} at {first.where}"
    return f"The invariant {first.invariant} broke{where}{often}, first {at}: {first.what}"


def facts(arms: Arms) -> list[str]:
    """What was there, what was learned, who was let in; whole sentences."""
    main = arms.main
    attacks = Counter(node.attack for node in main.nodes if node.attack is not None)
    who = counted(arms.honest, "honest device" if arms.attackers else "device")
    if attacks:
        kinds = ", ".join(
            f"{count:,} {name}" for name, count in sorted(attacks.items(), key=lambda i: (-i[1], i[0]))
        )
        who += f" and {counted(arms.attackers, 'attacker')} ({kinds})"
    said = [
        f"{who} on {counted(len(main.branches), 'branch', 'branches')} made "
        f"{counted(len(main.releases), 'certified release')}."
    ]
    start, end = arms.loss(main.arm, first=True), arms.loss(main.arm)
    if start is not None and end is not None:
        others = [
            (f"{number(value)} {how}", value)
            for how, value in (
                ("if nobody attacks", arms.loss("no-attack") if main.arm != "no-attack" else None),
                ("with the plain mean", arms.loss("plain-mean") if main.arm != "plain-mean" else None),
                ("alone", arms.alone),
            )
            if value is not None
        ]
        beside = f"; it is {', '.join(text for text, _ in others)}" if others else ""
        said.append(f"Their mean held-out loss went from {number(start)} to {number(end)}{beside}.")
    absence = absence_of(main)
    if arms.attackers and main.releases:
        used, every = absence.attackers_used, absence.attackers_used + absence.honest_used
        given = f"The rule was given {counted(every, 'update')}, {used:,} of them attackers’"
        said.append(
            f"{given}; what weight each got, a release does not say."
            if used
            else "No attacker’s update came to the rule."
        )
    return said
