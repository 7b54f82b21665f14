"""One branch at one node: its history, its running round and this node's part in closing it.

A branch is fed verified records and the ends of jobs; it answers through its :class:`Host` (the node it lives at).
Followers only keep the history. Members of the current committee also collect updates, judge proposals and vote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from banyan.aggregation import build
from banyan.protocol import agreement as moves
from banyan.protocol.agreement import Agreement
from banyan.protocol.chain import Chain
from banyan.protocol.delta import blob_bytes
from banyan.protocol.effects import Aggregate, Aggregated, Effect, FetchBlob, Inspect, Inspected, SetTimer
from banyan.protocol.events import (
    BranchOpened,
    Event,
    LeaderChanged,
    ProposalRefused,
    ReleaseCertified,
    RoundClosing,
    RoundWaiting,
    UpdateAdmitted,
    UpdateLeftOut,
)
from banyan.protocol.judgement import Open, Problem, child_head, fits, inputs_of, job_of, judge
from banyan.protocol.messages import CertifiedRelease, Opening, Proposal, Update, Vote, read_body
from banyan.protocol.records import Record, Records, committee_topic
from banyan.protocol.release import Release, committee_of, next_children, next_roster
from banyan.protocol.round import Candidate, Child, Round, Status
from banyan.security.admission import Reason, UpdateRefused, check_announcement
from banyan.security.charter import Charter
from banyan.security.credential import Credential
from banyan.security.envelope import Envelope
from banyan.security.errors import Refused

__all__ = ["Branch", "Host", "NotNow"]


KEPT_RELEASES: Final = 4
"""How many of a branch's newest releases keep their blobs."""


class NotNow(Exception):
    """A record that is neither wrong nor usable here at present: of another height, or of a role we do not have."""


class Host(Protocol):
    """What a branch needs of the node it lives at."""

    now: int
    me: str
    charter: Charter
    records: Records

    @property
    def quarantined(self) -> Mapping[str, Reason]: ...
    def do(self, effect: Effect) -> None: ...
    def tell(self, event: Event) -> None: ...
    def publish(self, message: object) -> Record: ...
    def ask_for(self, topic: str, record_ids: Iterable[bytes], of: str) -> None: ...
    def has_blob(self, digest: bytes) -> bool: ...
    def compare_with(self, peer: str) -> None: ...
    def check_member(self, node: str, branch: str, credential: Credential) -> None: ...
    def quarantine(self, node: str, why: Reason, evidence: bytes) -> None: ...
    def open_envelope(self, data: bytes) -> Envelope: ...
    def head_moved(self, head: Release) -> None: ...


class Branch:
    """See the module. ``path`` is the branch's name."""

    def __init__(self, path: str, host: Host) -> None:
        self.path = path
        self._host = host
        self._charter = host.charter
        self.chain = Chain(path, host.charter.committee, host.open_envelope)
        self.round: Round | None = None
        self.agreement: Agreement | None = None
        self._children: dict[bytes, Child] = {}
        self._proposed: dict[bytes, Release] = {}
        self._proposers: dict[bytes, set[str]] = {}
        self._building: tuple[int, Release] | None = None
        self._judging: dict[bytes, Release] = {}
        self._comparing: dict[bytes, bytes] = {}  # proposals whose sums are not ours, and the blob of theirs
        self._summing: set[tuple[bytes, bytes | None]] = set()  # computations under way
        self._sums: dict[bytes, Aggregated] = {}

    # --------------------------------------------------------------------------------- where we stand

    def status(self) -> dict[str, object]:
        """Where an open branch stands, JSON-ready."""
        head, round_, agreement = self.chain.head, self.round, self.agreement
        assert head is not None
        status: dict[str, object] = {
            "height": head.height,
            "head": head.digest.hex(),
            "committee": list(self.chain.committee),
            "roster": [seat.member for seat in head.roster],
        }
        if round_ is not None and agreement is not None:
            have = len(round_.contributions(self._host.quarantined))
            status["round"] = {
                "height": round_.height,
                "have": have,
                "need": round_.need,
                "missing": list(round_.missing(self._host.quarantined)),
                "updates": {
                    author: each.reason.value if each.reason else each.status.value
                    for author, each in sorted(round_.candidates.items())
                },
                "view": agreement.view,
                "leader": agreement.leader(max(0, agreement.view)),
            }
        return status

    def history(self) -> list[dict[str, object]]:
        """The releases, oldest first, JSON-ready."""
        return [self._page(release) for release in self.chain.releases()]

    def _page(self, release: Release) -> dict[str, object]:
        proof = self.chain.proof(release.height)
        return {
            "branch": self.path,
            "height": release.height,
            "release": release.digest.hex(),
            "parent": release.parent.hex(),
            "time": release.time,
            "rule": release.rule,
            "f": release.f,
            "leader": proof.leader if proof else None,
            "cosigners": self._cosigners(proof) if proof else [],
            "used": [each.source for each in release.used],
            "left_out": [{"author": item.source, "reason": item.reason} for item in release.left_out],
            "change": release.change.hex(),
            "adapter": release.adapter.hex(),
        }

    def _cosigners(self, proof: CertifiedRelease) -> list[str]:
        return sorted(self._host.open_envelope(data).author for data in proof.certificate)

    def keep(self) -> set[bytes]:
        """The blobs that this branch may still need, or that others may ask for."""
        height = self.chain.height
        newest = [self.chain.at(each) for each in range(height + 1 - KEPT_RELEASES, height + 1)]
        releases = [*filter(None, newest), *self._proposed.values()]
        kept = {blob for release in releases for blob in (release.change, release.adapter)}
        kept |= {child.adapter for release in releases for child in release.children}
        kept |= {each.head.adapter for each in self._children.values()}
        kept |= {blob for result in self._sums.values() for blob in (result.change, result.adapter)}
        return kept - {b""}

    def member_shut_out(self) -> None:
        """Somebody was quarantined: count again."""
        self._progress()

    @property
    def on_committee(self) -> bool:
        return self._host.me in self.chain.committee

    @property
    def need(self) -> int:
        """The fewest contributions a round closes with: the charter's quorum and the rule's own minimum."""
        policy = self._charter.round
        return max(policy.min_updates, build(policy.rule, f=policy.f).minimum_n)

    # ------------------------------------------------------------------------------- records come in

    def check(self, record: Record) -> None:
        """Whether ``record`` may be kept. Raises ``Refused``, or :class:`NotNow`."""
        body, author = record.body, record.envelope.author
        if isinstance(body, Update):
            self._check_update(body, author)
        elif isinstance(body, Proposal | Vote):
            self._check_running(body.height)
            if author not in self.chain.committee:
                raise Refused("not-on-committee", f"{author} is not on the committee of {self.path}")
            if body.view > (self.agreement.view if self.agreement else 0) + 64:
                raise Refused("far-view", "The message is of a view far in the future")
            if isinstance(body, Proposal):
                committee = self.chain.committee
                if author != committee[body.view % len(committee)] or body.release.height != body.height:
                    raise Refused("not-leader", f"{author} does not lead view {body.view} of {self.path}")
        elif isinstance(body, Opening | CertifiedRelease):
            self._check_release(body, author)

    def take(self, record: Record) -> None:
        """Act on a record that was checked and is new here."""
        body = record.body
        if isinstance(body, Update):
            self._on_update(record, body)
        elif isinstance(body, Proposal):
            self._on_proposal(record, body)
        elif isinstance(body, Vote) and self.agreement is not None:
            self._perform(self.agreement.vote(body.phase, body.view, record.envelope.author, body.release))
        elif isinstance(body, Opening):
            self.chain.open(body.release)
            roster = tuple(seat.member for seat in body.release.roster)
            self._host.tell(BranchOpened(self.path, roster))
            self._moved(body.release)
        elif isinstance(body, CertifiedRelease):
            self._on_certified(body)

    def _check_running(self, height: int) -> None:
        if height != self.chain.height + 1 or self.round is None:
            raise NotNow

    def _check_release(self, body: Opening | CertifiedRelease, author: str) -> None:
        release = body.release
        known = self.chain.at(release.height)
        if known is not None and known.digest == release.digest:
            raise NotNow  # the same release under another quorum of signatures
        if isinstance(body, Opening):
            if author != self._charter.roots[0]:
                raise Refused("not-root", "Only the charter's first root opens a branch")
            self.chain.check_opening(release)
        elif release.height > self.chain.height + 1:
            raise NotNow
        else:
            self.chain.verify(body)

    def _check_update(self, update: Update, author: str) -> None:
        head = self.chain.head
        if head is None or update.height > head.height + 1:
            raise NotNow
        self._host.check_member(author, self.path, update.credential)
        if update.height <= head.height:
            late = Reason.ROUND_CLOSED
            self._host.tell(UpdateLeftOut(self.path, update.height, author, late.value, late.sentence))
            raise Refused(late.value, late.sentence)
        if self.round is None:
            raise NotNow

    # ------------------------------------------------------------------------------- admission

    def _on_update(self, record: Record, update: Update) -> None:
        assert self.round is not None
        author = record.envelope.author
        candidate = Candidate(record, update)
        self.round.candidates[author] = candidate
        policy = self._charter.round
        try:
            check_announcement(
                author=author,
                size=update.size,
                digest=update.blob,
                base=update.base,
                limit=blob_bytes(self._charter.adapter, policy.codec),
                lineage=self.chain.lineage(policy.staleness + 32),
                staleness=policy.staleness,
                members={author},  # its credential was checked when the record came in
                quarantined=self._host.quarantined,
            )
        except UpdateRefused as refusal:
            self._refuse(candidate, Reason(refusal.reason))
        else:
            self._fetch(candidate)

    def _fetch(self, candidate: Candidate) -> None:
        candidate.status, candidate.reason = Status.FETCHING, None
        author = candidate.record.envelope.author
        others = tuple(member for member in self.chain.committee if member not in (author, self._host.me))
        self._host.do(FetchBlob(candidate.update.blob, candidate.update.size, (author, *others)))

    def blob_fetched(self, blob: bytes, error: str | None) -> None:
        """A blob of this branch is here, or could not be brought (then it is tried again until the round ends)."""
        if self.round is None:
            return
        for candidate in self.round.waiting_for_blob(blob):
            if error is None:
                candidate.status = Status.INSPECTING
                self._host.do(Inspect(blob))
            else:  # whoever served something else is at fault, not the author: its hash is what it signed
                candidate.reason = Reason.UNAVAILABLE
        for digest in [digest for digest, theirs in self._comparing.items() if theirs == blob]:
            if error is None and digest in self._judging:
                self._sum_up(self._judging[digest], expected=blob)
            elif error is not None:
                self._verdict(digest, Problem("unavailable", "The proposed change could not be fetched"))
        self._progress()

    def inspected(self, result: Inspected) -> None:
        """A candidate's blob has been decoded and measured."""
        if self.round is None:
            return
        for candidate in self.round.waiting_for_blob(result.digest):
            if result.refusal is not None:
                self._refuse(candidate, Reason(result.refusal), result.detail)
            elif result.base != candidate.update.base:
                self._refuse(candidate, Reason.WRONG_BASE)
            else:
                candidate.status, candidate.reason, candidate.norm = Status.ADMITTED, None, result.norm
                author = candidate.record.envelope.author
                self._host.tell(UpdateAdmitted(self.path, self.round.height, author, result.norm))
        self._progress()

    def _refuse(self, candidate: Candidate, reason: Reason, detail: str = "") -> None:
        candidate.status, candidate.reason = Status.REFUSED, reason
        author, height = candidate.record.envelope.author, candidate.update.height
        self._host.tell(UpdateLeftOut(self.path, height, author, reason.value, detail or reason.sentence))
        self._progress()

    # ------------------------------------------------------------------------------- closing the round

    def child_moved(self, release: Release) -> None:
        """A direct child has a new head: once its adapter is here, its change is a contribution."""
        if release.height > 0:
            child = Child(child_head(release), committee_of(release, self._charter.committee))
            self._children[release.digest] = child
            self._children = {  # as many as their own branch keeps the adapters of
                digest: each
                for digest, each in self._children.items()
                if each.head.branch != release.branch or each.head.height > release.height - KEPT_RELEASES
            }
            self._fetch_child(child)
            self._progress()

    def _fetch_child(self, child: Child) -> None:
        """Bring what the child's change is computed from: its adapter now, and when it was last counted."""
        if self.round is not None:
            sources = tuple(
                node for node in (*child.delegates, *self.chain.committee) if node != self._host.me
            )
            for digest, size in self._adapters_of(child):
                if not self._host.has_blob(digest):
                    self._host.do(FetchBlob(digest, size, sources))

    def _adapters_of(self, child: Child) -> list[tuple[bytes, int]]:
        counted = self.chain.head.children if self.chain.head else ()
        before = [(each.adapter, each.size) for each in counted if each.branch == child.head.branch]
        return [(child.head.adapter, child.head.size), *before]

    def _child(self, digest: bytes) -> Child | None:
        """The child release with this digest, if this node could add its change up."""
        child = self._children.get(digest)
        if child is None or not all(self._host.has_blob(blob) for blob, _ in self._adapters_of(child)):
            return None
        return child

    def retry(self) -> None:
        """Ask again for what could not be fetched: every sync interval."""
        if self.round is not None:
            for candidate in self.round.candidates.values():
                if candidate.reason is Reason.UNAVAILABLE:
                    self._fetch(candidate)
            for child in self._children.values():
                self._fetch_child(child)

    def _progress(self) -> None:
        """Look again at the round after anything changed."""
        if self.round is None or self.agreement is None:
            return
        for digest in sorted(self._children, key=lambda digest: self._children[digest].head.height):
            child = self._child(digest)
            if child is not None:
                self.round.children[child.head.branch] = child
        now, quarantined = self._host.now, self._host.quarantined
        if self.round.opened is None and self.round.contributions(quarantined):
            self.round.opened = now
            self._set_timer("round", now + self._charter.round.deadline)
        if self.agreement.view < 0 and self.round.ready(now, quarantined):
            updates = len(self.round.contributions(quarantined))
            leader = self.agreement.leader(0)
            self._host.tell(RoundClosing(self.path, self.round.height, updates, leader))
            self._perform(self.agreement.start())
        for digest in list(self._judging):
            self._judge(digest)

    def timer(self, name: str, arguments: list[str]) -> None:
        """A timer set by :meth:`_set_timer` fired."""
        if self.round is None or self.agreement is None or int(arguments[0]) != self.round.height:
            return
        if name == "agree":
            self._perform(self.agreement.timed_out(int(arguments[1]), arguments[2]))
        elif name == "round":
            self._progress()
            if self.agreement.view < 0:
                self._report_waiting()
            self._set_timer("round", self._host.now + max(1000, self._charter.round.deadline // 4))

    def _report_waiting(self) -> None:
        assert self.round is not None
        have = len(self.round.contributions(self._host.quarantined))
        missing = self.round.missing(self._host.quarantined)
        need = self.round.need
        wants = f"{need - have} more update{'s' if need - have != 1 else ''}" if have < need else "a decision"
        names = ", ".join(missing) or "any member"
        self._host.tell(
            RoundWaiting(
                self.path, self.round.height, have, need, missing, f"{wants}; nothing yet from {names}"
            )
        )

    def _set_timer(self, name: str, at: int, *arguments: str) -> None:
        assert self.round is not None
        self._host.do(SetTimer("|".join([name, self.path, str(self.round.height), *arguments]), at))

    # ------------------------------------------------------------------------------- agreement

    def _perform(self, made: Iterable[moves.Move]) -> None:
        assert self.round is not None and self.agreement is not None
        round_, agreement = self.round, self.agreement
        for move in made:
            match move:
                case moves.ViewStarted(view=view, leader=leader) if view > 0:
                    was = agreement.leader(view - 1)
                    why = "silent" if self._proposal(view - 1) is None else "not co-signed"
                    self._host.tell(LeaderChanged(self.path, round_.height, view, was, leader, why))
                case moves.Propose(view=view, value=value, valid_view=valid_view):
                    self._propose(view, value, valid_view)
                case moves.Cast(phase=phase, view=view, value=value, reason=reason):
                    self._host.publish(Vote(self.path, round_.height, view, phase, value, reason[:80]))
                case moves.Ask(value=value):
                    self._judging[value] = self._proposed[value]
                    self._judge(value)
                case moves.TimeOut(view=view, step=step, delay=delay):
                    self._set_timer("agree", self._host.now + delay, str(view), step)
                case moves.Decided(view=view, value=value):
                    self._certify(view, value)
            if self.round is not round_:
                return  # a verdict or a certificate moved the head underneath

    def _proposal(self, view: int) -> Proposal | None:
        assert self.round is not None and self.agreement is not None
        record = self._host.records.at(
            "proposal", self.path, self.round.height, view, self.agreement.leader(view)
        )
        return record.body if record is not None and isinstance(record.body, Proposal) else None

    def _propose(self, view: int, value: bytes | None, valid_view: int) -> None:
        assert self.round is not None
        if self._proposal(view) is not None:
            return  # said before a restart; saying anything else now would be equivocation
        if value is not None:
            self._send_proposal(view, self._proposed[value], valid_view)
            return
        draft = self._draft()
        if len(draft.used) < self.round.need:
            return  # an update was found out in the meantime; the view will time out
        self._building = (view, draft)
        self._sum_up(draft)

    def _draft(self) -> Release:
        """The release this node would propose now, but for its sums; as much of it as fits into one message."""
        drafts = (self._draft_of(most) for most in (192, 160, 128, 96, 64))
        return next((draft for draft in drafts if fits(draft, self._charter)), self._draft_of(32))

    def _draft_of(self, most: int) -> Release:
        """The release from at most ``most`` contributions: those of the roster go before those of newcomers."""
        assert self.round is not None
        base, policy, expected = self.round.base, self._charter.round, self.round.expected()
        here = self.round.contributions(self._host.quarantined)
        chosen = sorted(here, key=lambda each: each.source not in expected)[:most]
        used = tuple(sorted(chosen, key=lambda each: each.key))
        left_out = self.round.left_out(used, self._host.quarantined)[:192]
        keys = {each.key for each in used}
        counted = [child for digest, child in self._children.items() if digest in keys]
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
        assert self.round is not None
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
            )
        )

    def aggregated(self, result: Aggregated) -> None:
        """A computation came to its end: ours to propose, or ours to compare with a leader's."""
        if self.round is None or result.height != self.round.height:
            return
        self._summing = {each for each in self._summing if each[0] != result.job}
        if result.agrees is None:
            self._sums[result.job] = result
        if self._building is not None and job_of(self._building[1], self.round.base) == result.job:
            (view, draft), self._building = self._building, None
            self._send_proposal(view, _with_sums(draft, result), -1)
        if self.round is not None:
            for release in [r for r in self._judging.values() if job_of(r, self.round.base) == result.job]:
                self._compare(release, result)

    def aggregation_failed(self, job: bytes, reason: str) -> None:
        """The worker could not do the sum. A leader lets its turn pass; a judge does not sign what it cannot check."""
        if self.round is None:
            return
        self._summing = {each for each in self._summing if each[0] != job}
        if self._building is not None and job_of(self._building[1], self.round.base) == job:
            self._building = None
        for digest, release in list(self._judging.items()):
            if self.round is not None and job_of(release, self.round.base) == job:
                self._verdict(digest, Problem("not-recomputed", reason))

    def _send_proposal(self, view: int, release: Release, valid_view: int) -> None:
        assert self.round is not None and self.agreement is not None
        if view != self.agreement.view or self._proposal(view) is not None:
            return  # our turn has passed
        proof = self._votes("prevote", valid_view, release.digest) if valid_view >= 0 else ()
        message = Proposal(self.path, self.round.height, view, valid_view, proof, release)
        self._on_proposal(self._host.publish(message), message)

    def _on_proposal(self, record: Record, proposal: Proposal) -> None:
        assert self.round is not None and self.agreement is not None
        digest = proposal.release.digest
        self._proposed[digest] = proposal.release
        self._proposers.setdefault(digest, set()).add(record.envelope.author)
        round_ = self.round
        for data in proposal.proof:
            vote = self._backing(data, proposal)
            if vote is not None:
                self._perform(self.agreement.vote("prevote", proposal.valid_view, vote, digest))
            if self.round is not round_:
                return  # the proof was what our own precommit waited for, and that decided
        if self.agreement.decided == digest:
            self._certify(proposal.view, digest)
        else:
            self._perform(self.agreement.proposal(proposal.view, digest, proposal.valid_view))

    def _backing(self, data: bytes, proposal: Proposal) -> str | None:
        """Who signed the prevote in ``data``, if it is one for what is proposed."""
        try:
            envelope = self._host.open_envelope(data)
            vote = read_body(envelope, Vote)
        except Refused:
            return None
        backed = (proposal.branch, proposal.height, proposal.valid_view, "prevote", proposal.release.digest)
        same = (vote.branch, vote.height, vote.view, vote.phase, vote.release) == backed
        return envelope.author if same and envelope.kind == "vote" else None

    def _judge(self, digest: bytes) -> None:
        """Judge a proposal as far as it can be judged now; it stays in ``_judging`` until it is settled."""
        release = self._judging.get(digest)
        if release is None or self.round is None or digest in self._comparing:
            return
        verdict = judge(
            release, self.round, self._charter, self._host.quarantined, self._child, self._host.now
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
        assert self.round is not None
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
        ours = (result.change, result.change_size, result.adapter, result.adapter_size)
        if ours == (release.change, release.change_size, release.adapter, release.adapter_size):
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
        if self._judging.pop(digest, None) is None:
            return  # settled meanwhile
        assert self.round is not None and self.agreement is not None
        self._comparing.pop(digest, None)
        liars = sorted(self._proposers.get(digest, ()))
        if problem is not None:
            view, leader = self.agreement.view, self.agreement.leader(max(0, self.agreement.view))
            self._host.tell(
                ProposalRefused(self.path, self.round.height, view, leader, problem.reason, problem.detail)
            )
        self._perform(self.agreement.verdict(digest, problem.reason if problem else ""))
        if problem is not None and problem.reason == "false-release":
            for author in liars:
                self._host.quarantine(author, Reason.FALSE_RELEASE, digest)

    # ------------------------------------------------------------------------------- a new head

    def _certify(self, view: int, digest: bytes) -> None:
        """A quorum has precommitted: put its signatures together."""
        assert self.round is not None and self.agreement is not None
        release = self._proposed.get(digest)
        if release is None:
            return  # we have the signatures and not the release; sync will bring it certified
        proofs = self._votes("precommit", view, digest)
        if len(proofs) < self.agreement.quorum:
            return
        certified = CertifiedRelease(release, self.agreement.leader(view), view, proofs)
        self._host.publish(certified)
        self._on_certified(certified)

    def _votes(self, phase: moves.Phase, view: int, digest: bytes) -> tuple[bytes, ...]:
        """The envelopes of a quorum of votes for ``digest``, or of fewer if there are no more."""
        assert self.round is not None and self.agreement is not None
        voters = sorted(self.agreement.voted(phase, view, digest))
        slots = (("vote", self.path, self.round.height, view, phase, voter) for voter in voters)
        records = (self._host.records.at(*slot) for slot in slots)
        found = [
            r.envelope.data for r in records if r and isinstance(r.body, Vote) and r.body.release == digest
        ]
        return tuple(found[: self.agreement.quorum])

    def _on_certified(self, certified: CertifiedRelease) -> None:
        self.chain.append(certified)
        release = certified.release
        self._host.tell(
            ReleaseCertified(
                self.path,
                release.height,
                release.digest.hex(),
                certified.leader,
                tuple(self._cosigners(certified)),
                tuple(each.source for each in release.used),
                tuple((item.source, item.reason) for item in release.left_out),
            )
        )
        self._moved(release)
        for item in release.left_out:
            if item.reason == Reason.FALSE_RELEASE:  # seen by the quorum that certified this
                self._host.quarantine(item.source, Reason.FALSE_RELEASE, release.digest)

    def _moved(self, head: Release) -> None:
        """The head has moved: close the books of the old round and open the next."""
        self._proposed.clear()
        self._proposers.clear()
        self._judging.clear()
        self._comparing.clear()
        self._summing.clear()
        self._sums.clear()
        self._building = None
        counted = {child.branch: child.height for child in head.children}
        self._children = {
            digest: child
            for digest, child in self._children.items()
            if child.head.height > counted.get(child.head.branch, 0)
        }
        self.round = self.agreement = None
        if self.on_committee:
            self.round = Round(head, self.need, self._charter.round.deadline)
            self.agreement = Agreement(
                self.chain.committee, self._host.me, self._charter.committee.leader_timeout
            )
            for child in self._children.values():
                self._fetch_child(child)
        self._host.head_moved(head)
        self._progress()

    def resume(self) -> None:
        """After a restart: take up the running round where its persisted records say it stood."""
        round_, agreement = self.round, self.agreement
        if round_ is None or agreement is None:
            return
        here = self._host.records.of(committee_topic(self.path))
        votes = [r for r in here if isinstance(r.body, Vote) and r.body.height == round_.height]
        others = [r for r in here if isinstance(r.body, Update | Proposal) and r.body.height == round_.height]
        own = [r.body for r in votes if isinstance(r.body, Vote) and r.envelope.author == self._host.me]
        for vote in sorted(own, key=lambda vote: (vote.view, vote.phase == "precommit")):
            agreement.recall(vote.phase, vote.view, vote.release)
        for record in (*others, *votes):  # votes last: they may make us propose again what was proposed
            self.take(record)
            if self.round is not round_:
                return
        self._perform(agreement.resume())
        self._progress()


def _with_sums(draft: Release, result: Aggregated) -> Release:
    return replace(
        draft,
        change=result.change,
        change_size=result.change_size,
        adapter=result.adapter,
        adapter_size=result.adapter_size,
    )
