"""Who was left out of the releases, how often and why: attackers, honest devices, and whole branches as voters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from banyan.security.admission import Reason
from banyan.simulations.record import RunRecord

__all__ = ["Absence", "AbsenceOf", "ReasonCount", "absence_of", "sentence"]


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many updates were left out for one reason."""

    reason: str
    attackers: int
    honest: int

    @property
    def total(self) -> int:
        return self.attackers + self.honest


@dataclass(frozen=True, slots=True)
class AbsenceOf:
    """One device, or one child branch where its change was a vote: in how many releases its update was used, and why
    it was left out of others, the most frequent reason first. ``attack`` is None for who is honest."""

    name: str
    attack: str | None
    used: int
    left_out: int
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Absence:
    """By reason, the most frequent first, and by device, the most often left out first."""

    reasons: tuple[ReasonCount, ...]
    attackers: tuple[AbsenceOf, ...]
    honest: tuple[AbsenceOf, ...]

    @property
    def left_out(self) -> int:
        return sum(each.total for each in self.reasons)

    @staticmethod
    def _used(group: tuple[AbsenceOf, ...]) -> int:
        return sum(each.used for each in group)

    @property
    def attackers_used(self) -> int:
        """In how many places of releases an attacker's update was used."""
        return self._used(self.attackers)

    @property
    def honest_used(self) -> int:
        return self._used(self.honest)


def absence_of(record: RunRecord) -> Absence:
    """Everybody who was used or left out at least once."""
    attack = {node.name: node.attack for node in record.nodes}
    used = Counter(name for release in record.releases for name in release.used)
    why: dict[str, Counter[str]] = {}
    for release in record.releases:
        for name, reason in release.left_out:
            why.setdefault(name, Counter())[reason] += 1
    everybody = [
        AbsenceOf(
            name,
            attack.get(name),
            used[name],
            sum(why[name].values()) if name in why else 0,
            tuple(sorted(why[name].items(), key=lambda item: (-item[1], item[0]))) if name in why else (),
        )
        for name in used.keys() | why.keys()
    ]
    everybody.sort(key=lambda each: (-each.left_out, each.used, each.name))
    attackers = tuple(each for each in everybody if each.attack is not None)
    honest = tuple(each for each in everybody if each.attack is None)
    by_reason = [Counter[str](), Counter[str]()]
    for kind, group in enumerate((attackers, honest)):
        for each in group:
            for reason, times in each.reasons:
                by_reason[kind][reason] += times
    reasons = [
        ReasonCount(reason, by_reason[0][reason], by_reason[1][reason])
        for reason in by_reason[0].keys() | by_reason[1].keys()
    ]
    reasons.sort(key=lambda each: (-each.total, each.reason))
    return Absence(tuple(reasons), attackers, honest)


def sentence(reason: str) -> str:
    """What a reason means; empty for one that only this scenario knows."""
    try:
        return Reason(reason).sentence
    except ValueError:
        return ""
