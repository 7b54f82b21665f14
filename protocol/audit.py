"""Audit a certified release: recompute it from the signed updates it names.

The committee did so before it signed; any member may do it again, for as long as the updates are kept (three rounds).
An :class:`Audit` is fed what comes in and says what it still needs, until it can name the computation to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from banyan.protocol.branch import Branch
from banyan.protocol.closing import with_sums
from banyan.protocol.effects import Aggregate, Aggregated, Effect, FetchBlob, JobFailed
from banyan.protocol.events import Event, ReleaseAudited
from banyan.protocol.judgement import has_its_steps, sums_of
from banyan.protocol.members import Members
from banyan.protocol.messages import Trial, Update
from banyan.protocol.plateau import is_restated, progress_of
from banyan.protocol.records import Record, Records, archive_topic, committee_topic
from banyan.protocol.release import Contribution, Release, TrialVote, claims_of, committee_of
from banyan.protocol.round import losses_of
from banyan.protocol.season import is_turn
from banyan.protocol.transfer import Measured, Transfer, Wait
from banyan.protocol.validation import flaw
from banyan.security.charter import Charter
from banyan.security.credential import Credential, is_guest
from banyan.security.errors import Refused

__all__ = ["Audit", "Auditor"]


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
    votes: dict[bytes, Record] = field(default_factory=dict)
    computing: bool = False
    computed: int = 0

    @property
    def wanted(self) -> tuple[bytes, ...]:
        """Ids of the update and trial records that are still unknown. Child releases prove themselves by their
        certificates."""
        members = (each.key for each in self.release.used if not each.is_child)
        quoted = (vote.record for vote, _ in self._quoted)
        known = self.updates.keys() | self.votes.keys()
        return tuple(each for each in (*members, *quoted) if each not in known)

    @property
    def _quoted(self) -> list[tuple[TrialVote, bytes]]:
        """The votes that the release quotes, each with the adapter that it is about."""
        return [(vote, claim.adapter) for claim in claims_of(self.release) for vote in claim.votes]

    @property
    def blobs(self) -> list[tuple[bytes, int]]:
        """Every blob that the sums are made of, with its size, and the release's own steps."""
        used = [(each.blob, each.size) for each in self.release.used]
        used += [(each.lifted, each.lifted_size) for each in self.release.used]
        steps = [step for claim in claims_of(self.release) for step in claim.steps]
        return [each for each in (*used, *self.base.current, *steps) if each[0]]

    def take(self, record: Record) -> None:
        """An update or trial record that was wanted.

        Raises:
            Refused: it is not what the release says it is: the release is false.
        """
        if isinstance(record.body, Trial):
            self._take_vote(record, record.body)
            return
        contribution = next((each for each in self.release.used if each.key == record.id), None)
        if contribution is None:
            raise Refused("misquoted", "The release quotes as a vote what is none")
        if not self._is_quoted(record, contribution):
            raise Refused("misquoted", f"The release misquotes the update of {contribution.source}")
        self.updates[record.id] = record
        members = [each for each in self.release.used if not each.source.startswith("/")]
        if len(self.updates) == len(members):
            updates = [each.body for each in self.updates.values() if isinstance(each.body, Update)]
            if self.release.reported != losses_of(updates):
                raise Refused("misquoted", "The release misquotes the losses that its updates reported")
            vouched = [each for each in updates if not is_guest(each.credential, self.charter)]
            if self.release.progress != progress_of(self.base, vouched, self.charter):
                raise Refused("misquoted", "The release misquotes what its updates say of how much they gain")

    def _take_vote(self, record: Record, trial: Trial) -> None:
        place = (trial.branch, trial.height) == (self.release.branch, self.release.height)
        said = (TrialVote(record.envelope.author, record.id, trial.change, trial.probed), trial.adapter)
        if not place or said not in self._quoted:
            raise Refused("misquoted", f"The release misquotes the vote of {record.envelope.author}")
        self.votes[record.id] = record

    def _is_quoted(self, record: Record, contribution: Contribution) -> bool:
        update = record.body
        if not isinstance(update, Update) or record.envelope.author != contribution.source:
            return False
        self.check_member(contribution.source, self.release.branch, update.credential, self.release.time)
        if contribution.guest != is_guest(update.credential, self.charter):
            return False
        place = (update.branch, update.height, update.blob, update.size)
        return place == (self.release.branch, self.release.height, contribution.blob, contribution.size)

    @property
    def claim(self) -> Release:
        """The release as one of its rules made it: that whose sums are to be done over next."""
        return claims_of(self.release)[self.computed]

    def job(self) -> Aggregate:
        """The computation to do over, compared with the claim's own steps."""
        return sums_of(self.claim, self.base, self.charter, expected=True)

    @property
    def flaw(self) -> str:
        """What is wrong with the release as it reads, its season, rules and votes; empty if nothing is."""
        found = flaw(self.release, self.base, self.charter)
        return "" if found is None else found[1]

    def problem(self, result: Aggregated) -> str:
        """What is wrong with the release, now that the sums of its next claim are done over; empty if nothing is."""
        if sum(each.guest for each in self.release.used) > self.release.f:
            return "It counts more guests than its rule survives"
        children = [each for each in self.release.used if each.is_child]
        transfer = Transfer(self.charter.transfer)
        if children:
            since = self.release.time - self.base.lifted_at if self.base.lifted_at else None
            before = {child.release for child in self.base.children}
            moved = sum(each.key not in before for each in children)
            measured = Measured(result.agreement)
            verdict = transfer.verdict(len(children), moved, since, measured, judging=True)
            if isinstance(verdict, Wait):
                return f"It was no time for a lift: {verdict.why}"
        if not result.agrees:
            return f"Its sums differ from the recomputed ones by {result.error:.2g}"
        claim = with_sums(self.claim, self.base, result)
        if claim.narrowed_to != self.claim.narrowed_to:
            return "It is wrong about the columns that too few updates trained"
        if claim != self.claim or not has_its_steps(self.release):
            return "Its adapter is not the one before it plus its change"
        return ""


class Host(Protocol):
    """What an auditor needs of the node it lives at."""

    me: str
    charter: Charter
    members: Members
    records: Records
    branches: dict[str, Branch]

    def opened_season(self, path: str) -> int: ...
    def is_topmost(self, path: str) -> bool: ...
    def do(self, effect: Effect) -> None: ...
    def tell(self, event: Event) -> None: ...
    def ask_for(self, topic: str, record_ids: Iterable[bytes], of: str) -> None: ...
    def has_blob(self, digest: bytes) -> bool: ...


class Auditor:
    """The audits under way at one node. Each ends in a :class:`~banyan.protocol.events.ReleaseAudited` event."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._audits: dict[bytes, Audit] = {}

    def begin(self, path: str, height: int) -> None:
        """Audit the release of ``path`` at ``height``.

        Raises:
            Refused: ``unknown-release``: there is none, or it is the opening.
        """
        host = self._host
        branch = host.branches.get(path)
        release, base = (branch.chain.at(height), branch.chain.at(height - 1)) if branch else (None, None)
        if branch is None or release is None or base is None:
            raise Refused("unknown-release", f"{path} has no release {height} that could be audited")
        audit = Audit(release, base, host.charter, host.members.check_past)
        self._audits[release.digest] = audit
        flaw = audit.flaw
        if not flaw and is_turn(release) and not self._may_begin(branch, release, base):
            flaw = "It begins a season that nobody has opened, as far as is known here"
        if flaw or is_turn(release) or is_restated(release):  # there is nothing to recompute
            self._end(audit, flaw)
            return
        for record in filter(None, map(host.records.get, audit.wanted)):
            self.take(record)
        committee = sorted({*committee_of(base, host.charter.committee), *branch.chain.committee} - {host.me})
        for node in committee:
            host.ask_for(archive_topic(path), audit.wanted, node)
            host.ask_for(committee_topic(path), audit.wanted, node)
        for blob, size in audit.blobs:
            if not host.has_blob(blob):
                host.do(FetchBlob(blob, size, tuple(committee)))

    def _may_begin(self, branch: Branch, release: Release, base: Release) -> bool:
        """Whether a turn begins a season that was opened above, or opens the next itself. That the branches had stopped
        gaining its quorum saw, as it saw what a lift gained."""
        if release.season <= self._host.opened_season(branch.path):
            return True
        opens = self._host.charter.season.policy == "plateau" and self._host.is_topmost(branch.path)
        return opens and release.season == base.season + 1 and branch.may_ask(base, release.time)

    def take(self, record: Record) -> bool:
        """Whether ``record`` is an update that an audit had asked for; it is used for nothing else."""
        waiting = [audit for audit in self._audits.values() if record.id in audit.wanted]
        for audit in waiting:
            try:
                audit.take(record)
            except Refused as refusal:
                self._end(audit, refusal.what)
        return bool(waiting)

    def go_on(self) -> None:
        """Start the sums of audits that have all they need."""
        for audit in self._audits.values():
            ready = not audit.wanted and all(self._host.has_blob(blob) for blob, _ in audit.blobs)
            if ready and not audit.computing:
                audit.computing = True
                self._host.do(audit.job())

    def computed(self, result: Aggregated) -> None:
        """Sums came in; perhaps those of an audit."""
        if result.agrees is not None:
            for audit in self._computing(result.job):
                audit.computing = False
                problem = audit.problem(result)
                audit.computed += 1
                if not problem and audit.computed < len(claims_of(audit.release)):
                    continue
                sources = {each.key: each.source for each in audit.release.used}
                weights = {sources[key]: share for key, share in (result.weights or {}).items()}
                self._end(audit, problem, tuple(sorted(weights.items())))

    def failed(self, event: JobFailed) -> None:
        """Sums could not be done; perhaps those of an audit."""
        for audit in self._computing(event.job):
            self._end(audit, f"It could not be recomputed here: {event.reason}")

    def keep(self) -> set[bytes]:
        """The blobs that audits need."""
        return {blob for audit in self._audits.values() for blob, _ in audit.blobs}

    def _computing(self, job: bytes) -> list[Audit]:
        return [audit for audit in self._audits.values() if audit.computing and audit.job().job == job]

    def _end(self, audit: Audit, problem: str, weights: tuple[tuple[str, float], ...] = ()) -> None:
        release = audit.release
        del self._audits[release.digest]
        self._host.tell(
            ReleaseAudited(release.branch, release.height, release.digest.hex(), problem, weights)
        )
