"""Closing one round: what a committee member proposes, judges and signs, from its first vote to the certificate.

A :class:`Closing` lives as long as its round. Once the head has moved it is :attr:`Closing.over` and does nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from banyan.protocol import agreement as moves
from banyan.protocol.agreement import Agreement, faults_of
from banyan.protocol.effects import Aggregate, Aggregated, Effect, FetchBlob, SetTimer
from banyan.protocol.events import Event, LeaderChanged, ProposalRefused
from banyan.protocol.judgement import Open, Problem, fits, inputs_of, job_of, judge
from banyan.protocol.messages import CertifiedRelease, Proposal, Vote
from banyan.protocol.records import Record, Records, committee_topic
from banyan.protocol.release import Release, next_children, next_roster
from banyan.protocol.round import Child, Round
from banyan.security.admission import Reason
from banyan.security.charter import Charter
from banyan.security.errors import Refused

__all__ = ["Closing", "timer"]


def timer(name: str, round_: Round, at: int, *arguments: str) -> SetTimer:
    """A timer of one round of one branch; its key holds what :meth:`Branch.timer` needs to find its way."""
    return SetTimer("|".join([name, round_.base.branch, str(round_.height), *arguments]), at)


class Host(Protocol):
    """What closing a round needs of the node it happens at."""

    now: int
    me: str
    charter: Charter
    records: Records

    @property
    def quarantined(self) -> Mapping[str, Reason]: ...
    def do(self, effect: Effect) -> None: ...
    def tell(self, event: Event) -> None: ...
    def publish(self, message: object, *, push: bool = True) -> Record: ...
    def ask_for(self, topic: str, record_ids: Iterable[bytes], of: str) -> None: ...
    def compare_with(self, peer: str) -> None: ...
    def quarantine(self, node: str, why: Reason, evidence: bytes) -> None: ...
    def read(self, data: bytes) -> Record: ...


class Closing:
    """One committee member's part in closing ``round_``.

    Args:
        host: the node.
        round_: what has been admitted.
        committee: who closes it, in the order of leading.
        child_of: a child's certified release by its digest, if its change can be computed here.
        certified: called with the release once a quorum has signed it.
    """

    def __init__(
        self,
        host: Host,
        round_: Round,
        committee: Sequence[str],
        child_of: Callable[[bytes], Child | None],
        certified: Callable[[CertifiedRelease], None],
    ) -> None:
        self.round = round_
        self.path = round_.base.branch
        self.over = False
        self._host = host
        self._charter = host.charter
        self.agreement = Agreement(committee, host.me, host.charter.committee.leader_timeout)
        self._child_of = child_of
        self._certified = certified
        self._proposed: dict[bytes, Release] = {}
        self._proposers: dict[bytes, set[str]] = {}
        self._building: tuple[int, Release] | None = None
        self._judging: dict[bytes, Release] = {}
        self._comparing: dict[bytes, bytes] = {}  # proposals whose sums are not ours, and the blob of theirs
        self._summing: set[tuple[bytes, bytes | None]] = set()  # computations under way
        self._sums: dict[bytes, Aggregated] = {}

    def keep(self) -> set[bytes]:
        """The blobs that proposals and sums need."""
        proposed = {blob for release in self._proposed.values() for blob in (release.change, release.adapter)}
        return proposed | {blob for sums in self._sums.values() for blob in (sums.change, sums.adapter)}

    @property
    def proposed_guests(self) -> set[bytes]:
        """The keys of the guests' updates that a proposal counts, ours or another's, unless it counts too many. Judges,
        and auditors after them, need these whoever else comes."""
        drafted = [self._building[1]] if self._building is not None else []
        proposed = [
            {each.key for each in release.used if each.guest}
            for release in (*drafted, *self._proposed.values())
        ]
        return set[bytes]().union(*(keys for keys in proposed if len(keys) <= self.round.guests))

    def begin(self) -> None:
        """The round has what it needs."""
        self.perform(self.agreement.start())

    def voted(self, member: str, vote: Vote) -> None:
        """A committee member's vote came in."""
        self.perform(self.agreement.vote(vote.phase, vote.view, member, vote.release))

    def progress(self) -> None:
        """Something changed: judge again what could not be judged before."""
        for digest in list(self._judging):
            self._judge(digest)

    def blob_fetched(self, blob: bytes, error: str | None) -> None:
        """A leader's change is here to be compared with ours, or could not be had."""
        for digest in [digest for digest, theirs in self._comparing.items() if theirs == blob]:
            if error is None and digest in self._judging:
                self._sum_up(self._judging[digest], expected=blob)
            elif error is not None:
                self._verdict(digest, Problem("unavailable", "The proposed change could not be fetched"))

    def resume(self, votes: Iterable[Vote]) -> None:
        """After a restart: these votes were ours."""
        for vote in sorted(votes, key=lambda vote: (vote.view, vote.phase == "precommit")):
            self.agreement.recall(vote.phase, vote.view, vote.release)

    def perform(self, made: Iterable[moves.Move]) -> None:
        agreement = self.agreement
        for move in made:
            match move:
                case moves.ViewStarted(view=view, leader=leader) if view > 0:
                    was = agreement.leader(view - 1)
                    why = "silent" if self._proposal(view - 1) is None else "not co-signed"
                    self._host.tell(LeaderChanged(self.path, self.round.height, view, was, leader, why))
                case moves.Propose(view=view, value=value, valid_view=valid_view):
                    self._propose(view, value, valid_view)
                case moves.Cast(phase=phase, view=view, value=value, reason=reason):
                    self._host.publish(Vote(self.path, self.round.height, view, phase, value, reason[:80]))
                case moves.Ask(value=value):
                    self._judging[value] = self._proposed[value]
                    self._judge(value)
                case moves.TimeOut(view=view, step=step, delay=delay):
                    self._host.do(timer("agree", self.round, self._host.now + delay, str(view), step))
                case moves.Decided(view=view, value=value):
                    self._certify(view, value)
            if self.over:
                return  # a verdict or a certificate moved the head underneath

    def _proposal(self, view: int) -> Proposal | None:
        record = self._host.records.at(
            "proposal", self.path, self.round.height, view, self.agreement.leader(view)
        )
        return record.body if record is not None and isinstance(record.body, Proposal) else None

    def _propose(self, view: int, value: bytes | None, valid_view: int) -> None:
        if self._proposal(view) is not None:
            return  # said before a restart; saying anything else now would be equivocation
        if value is not None:
            self._send_proposal(view, self._proposed[value], valid_view)
            return
        draft = self.draft()
        if len(draft.used) < self.round.need:
            return  # an update was found out in the meantime; the view will time out
        self._building = (view, draft)
        self._sum_up(draft)

    def draft(self) -> Release:
        """The release this node would propose now, but for its sums; as much of it as fits into one message."""
        drafts = (self._draft_of(most) for most in (192, 160, 128, 96, 64))
        return next((draft for draft in drafts if fits(draft, self._charter)), self._draft_of(32))

    def _draft_of(self, most: int) -> Release:
        """The release from at most ``most`` contributions: those of the roster go before those of newcomers.

        After a view that came to nothing guests are counted only where the quorum lacks them: none of them may hold up
        a round for longer.
        """
        base, policy, expected = self.round.base, self._charter.round, self.round.expected()
        here = self.round.contributions(self._host.quarantined, spare_guests=self.agreement.view > 0)
        chosen = sorted(here, key=lambda each: each.source not in expected)[:most]
        used = tuple(sorted(chosen, key=lambda each: each.key))
        left_out = self.round.left_out(used, self._host.quarantined)[:192]
        counted = [child for each in used if (child := self._child_of(each.key)) is not None]
        delegates = {member: child.head.branch for child in counted for member in child.delegates}
        return Release(
            branch=self.path,
            height=self.round.height,
            parent=base.digest,
            rule=policy.rule,
            f=policy.f,
            used=used,
            left_out=left_out,
            change=bytes(32),  # as long as what will stand there
            change_size=0,
            adapter=bytes(32),
            adapter_size=0,
            roster=next_roster(base, used, left_out, delegates, self._charter.committee),
            children=next_children(base, [child.head for child in counted]),
            time=max(base.time, self._host.now),
        )

    def _sum_up(self, release: Release, expected: bytes | None = None) -> None:
        """Have the release's aggregate computed, unless it has been; ``expected`` is another's result to compare."""
        base, policy = self.round.base, self._charter.round
        job = job_of(release, base)
        known = self._sums.get(job)
        if known is not None and expected is None:
            self.aggregated(known)
            return
        if (job, expected) in self._summing:
            return
        self._summing.add((job, expected))
        self._host.do(
            Aggregate(
                branch=self.path,
                height=release.height,
                job=job,
                inputs=inputs_of(release.used),
                rule=release.rule,
                f=release.f,
                clip=policy.clip,
                base=base.adapter or None,
                expected=expected,
                least=self.round.need,
            )
        )

    def aggregated(self, result: Aggregated) -> None:
        """A computation came to its end: ours to propose, or ours to compare with a leader's."""
        if result.height != self.round.height:
            return
        self._summing = {each for each in self._summing if each[0] != result.job}
        if result.agrees is None:
            self._sums[result.job] = result
        if self._building is not None and job_of(self._building[1], self.round.base) == result.job:
            (view, draft), self._building = self._building, None
            self._send_proposal(view, _with_sums(draft, result), -1)
        for release in [r for r in self._judging.values() if job_of(r, self.round.base) == result.job]:
            self._compare(release, result)

    def aggregation_failed(self, job: bytes, reason: str) -> None:
        """The worker could not do the sum. A leader lets its turn pass; a judge does not sign what it cannot check."""
        self._summing = {each for each in self._summing if each[0] != job}
        if self._building is not None and job_of(self._building[1], self.round.base) == job:
            self._building = None
        for digest, release in list(self._judging.items()):
            if job_of(release, self.round.base) == job:
                self._verdict(digest, Problem("not-recomputed", reason))

    def _send_proposal(self, view: int, release: Release, valid_view: int) -> None:
        if view != self.agreement.view or self._proposal(view) is not None:
            return  # our turn has passed
        proof = self._votes("prevote", valid_view, release.digest) if valid_view >= 0 else ()
        message = Proposal(self.path, self.round.height, view, valid_view, proof, release)
        self.proposed(self._host.publish(message), message)

    def proposed(self, record: Record, proposal: Proposal) -> None:
        digest = proposal.release.digest
        self._proposed[digest] = proposal.release
        self._proposers.setdefault(digest, set()).add(record.envelope.author)
        for data in proposal.proof:
            vote = self._backing(data, proposal)
            if vote is not None:
                self.perform(self.agreement.vote("prevote", proposal.valid_view, vote, digest))
            if self.over:
                return  # the proof was what our own precommit waited for, and that decided
        if self.agreement.decided == digest:
            self._certify(proposal.view, digest)
        else:
            self.perform(self.agreement.proposal(proposal.view, digest, proposal.valid_view))

    def _backing(self, data: bytes, proposal: Proposal) -> str | None:
        """Who signed the prevote in ``data``, if it is one for what is proposed."""
        try:
            record = self._host.read(data)
        except Refused:
            return None
        vote = record.body
        if not isinstance(vote, Vote):
            return None
        backed = (proposal.branch, proposal.height, proposal.valid_view, "prevote", proposal.release.digest)
        same = (vote.branch, vote.height, vote.view, vote.phase, vote.release) == backed
        return record.envelope.author if same else None

    def _judge(self, digest: bytes) -> None:
        """Judge a proposal as far as it can be judged now; it stays in ``_judging`` until it is settled."""
        release = self._judging.get(digest)
        if release is None or digest in self._comparing or self.over:
            return
        verdict = judge(
            release, self.round, self._charter, self._host.quarantined, self._child_of, self._host.now
        )
        if isinstance(verdict, Open):
            for leader in sorted(self._proposers.get(digest, ())):
                self._host.ask_for(committee_topic(self.path), verdict.wanted, leader)
                self._host.compare_with(leader)
        elif isinstance(verdict, Problem):
            self._verdict(digest, verdict)
        else:
            self._recompute(release)

    def _recompute(self, release: Release) -> None:
        own = self._sums.get(job_of(release, self.round.base))
        if own is None:
            self._sum_up(release)
        else:
            self._compare(release, own)

    def _compare(self, release: Release, result: Aggregated) -> None:
        """Ours and the leader's: equal, or equal within rounding once the leader's numbers are here."""
        digest = release.digest
        if digest not in self._judging:
            return  # settled by what the one before brought about
        if _with_sums(release, result) == release:
            self._verdict(digest, None)
        elif result.agrees is None:
            if release.change_size != result.change_size:
                self._verdict(digest, Problem("false-release", "The proposed change has an impossible size"))
                return
            leaders = tuple(sorted(self._proposers.get(digest, ())))
            self._comparing[digest] = release.change
            self._host.do(FetchBlob(release.change, release.change_size, leaders))
        else:
            self._verdict(
                digest, Problem("false-release", f"The proposed sums differ from ours by {result.error:.2g}")
            )

    def _verdict(self, digest: bytes, problem: Problem | None) -> None:
        if self.over or self._judging.pop(digest, None) is None:
            return  # settled meanwhile
        self._comparing.pop(digest, None)
        liars = sorted(self._proposers.get(digest, ()))
        if problem is not None:
            view, leader = self.agreement.view, self.agreement.leader(max(0, self.agreement.view))
            self._host.tell(
                ProposalRefused(self.path, self.round.height, view, leader, problem.reason, problem.detail)
            )
        self.perform(self.agreement.verdict(digest, problem.reason if problem else ""))
        if problem is not None and problem.reason == "false-release":
            for author in liars:
                self._host.quarantine(author, Reason.FALSE_RELEASE, digest)

    def _certify(self, view: int, digest: bytes) -> None:
        """A quorum has precommitted: put its signatures together."""
        release = self._proposed.get(digest)
        if release is None:
            return  # we have the signatures and not the release; sync will bring it certified
        proofs = self._votes("precommit", view, digest)
        if len(proofs) < self.agreement.quorum:
            return
        certified = CertifiedRelease(release, self.agreement.leader(view), view, proofs)
        self._host.publish(certified, push=self._spreads(view))
        self._certified(certified)

    def _spreads(self, view: int) -> bool:
        """Whether to push the certified release: the leader and as many after it as can be faulty do, since one of
        them is not; the others have it for sync."""
        committee = self.agreement.committee
        turn = (list(committee).index(self._host.me) - view) % len(committee)
        return turn <= faults_of(len(committee))

    def _votes(self, phase: moves.Phase, view: int, digest: bytes) -> tuple[bytes, ...]:
        """The envelopes of a quorum of votes for ``digest``, or of fewer if there are no more."""
        voters = sorted(self.agreement.voted(phase, view, digest))
        slots = (("vote", self.path, self.round.height, view, phase, voter) for voter in voters)
        records = (self._host.records.at(*slot) for slot in slots)
        found = [
            r.envelope.data for r in records if r and isinstance(r.body, Vote) and r.body.release == digest
        ]
        return tuple(found[: self.agreement.quorum])


def _with_sums(draft: Release, result: Aggregated) -> Release:
    return replace(
        draft,
        change=result.change,
        change_size=result.change_size,
        adapter=result.adapter,
        adapter_size=result.adapter_size,
        narrowed_to=result.narrowed_to,
    )
