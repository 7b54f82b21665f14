"""Audit a certified release: recompute it from the signed updates it names.

The committee did so before it signed; any member may do it again, for as long as the updates are kept (three rounds).
An :class:`Audit` is fed what comes in and says what it still needs, until it can name the computation to compare with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from banyan.protocol.effects import Aggregate, Aggregated
from banyan.protocol.judgement import inputs_of, job_of
from banyan.protocol.messages import Update
from banyan.protocol.records import Record
from banyan.protocol.release import Contribution, Release
from banyan.security.charter import Charter
from banyan.security.credential import Credential
from banyan.security.errors import Refused

__all__ = ["Audit"]


@dataclass(slots=True)
class Audit:
    """The audit of ``release``, which follows ``base``.

    Args:
        check_member: raises ``Refused`` unless a node's credential was good for a branch at a time (ms).
    """

    release: Release
    base: Release
    charter: Charter
    check_member: Callable[[str, str, Credential, int], None]
    updates: dict[bytes, Record] = field(default_factory=dict)
    computing: bool = False

    @property
    def wanted(self) -> tuple[bytes, ...]:
        """Ids of the update records that are still unknown. Child releases prove themselves by their certificates."""
        members = (each for each in self.release.used if not each.source.startswith("/"))
        return tuple(each.key for each in members if each.key not in self.updates)

    @property
    def blobs(self) -> list[tuple[bytes, int]]:
        """Every blob that the sums are made of, with its size, and the release's own change."""
        used = [(each.blob, each.size) for each in self.release.used]
        minus = [(each.minus, each.minus_size) for each in self.release.used if each.minus]
        base = [(self.base.adapter, self.base.adapter_size)] if self.base.adapter else []
        return [*used, *minus, *base, (self.release.change, self.release.change_size)]

    def take(self, record: Record) -> None:
        """An update record that was wanted.

        Raises:
            Refused: it is not what the release says it is: the release is false.
        """
        contribution = next(each for each in self.release.used if each.key == record.id)
        if not self._is_quoted(record, contribution):
            raise Refused("misquoted", f"The release misquotes the update of {contribution.source}")
        self.updates[record.id] = record

    def _is_quoted(self, record: Record, contribution: Contribution) -> bool:
        update = record.body
        if not isinstance(update, Update) or record.envelope.author != contribution.source:
            return False
        self.check_member(contribution.source, self.release.branch, update.credential, self.release.time)
        place = (update.branch, update.height, update.blob, update.size)
        return place == (self.release.branch, self.release.height, contribution.blob, contribution.size)

    def job(self) -> Aggregate:
        """The computation to do over, compared with the release's own change."""
        return Aggregate(
            branch=self.release.branch,
            height=self.release.height,
            job=job_of(self.release, self.base),
            inputs=inputs_of(self.release.used),
            rule=self.release.rule,
            f=self.release.f,
            clip=self.charter.round.clip,
            base=self.base.adapter or None,
            expected=self.release.change,
        )

    def problem(self, result: Aggregated) -> str:
        """What is wrong with the release, now that its sums are done over; empty if nothing is."""
        if (self.release.rule, self.release.f) != (self.charter.round.rule, self.charter.round.f):
            return "It was made with another rule than the charter's"
        if not result.agrees:
            return f"Its sums differ from the recomputed ones by {result.error:.2g}"
        if result.adapter != self.release.adapter:
            return "Its adapter is not the one before it plus its change"
        return ""
