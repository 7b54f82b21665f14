"""Closing one round: what a committee member proposes, judges and signs, from its first vote to the certificate.

A :class:`Closing` lives as long as its round. Once the head has moved it is :attr:`Closing.over` and does nothing more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from banyan.protocol import agreement as moves
from banyan.protocol.agreement import Agreement, faults_of
from banyan.protocol.effects import Aggregate, Aggregated, Effect, Evaluate, Evaluated, FetchBlob, SetTimer
from banyan.protocol.events import Event, LeaderChanged, ProposalRefused
from banyan.protocol.judgement import Open, Problem, fits, job_of, judge, lift_of, sums_of
from banyan.protocol.messages import CertifiedRelease, Proposal, Vote
from banyan.protocol.plateau import is_news, restated
from banyan.protocol.records import Record, Records, committee_topic
from banyan.protocol.release import (
    UNCHANGED,
    Attempt,
    Release,
    Standing,
    TrialVote,
    claims_of,
    next_children,
    next_roster,
)
from banyan.protocol.round import Child, Round, keys_of, quote
from banyan.protocol.season import turned
from banyan.protocol.transfer import Measured
from banyan.protocol.trials import Trials
from banyan.protocol.validation import passes, rules_of, updates_in
from banyan.security.admission import Reason
from banyan.security.charter import Charter
from banyan.security.errors import Refused

__all__ = ["Closing", "timer", "with_sums"]

FEW: Final = 32
"""The fewest contributions that a leader cuts its draft down to, for it to fit into one message."""


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
    def adapters_above(self, path: str) -> tuple[bytes, ...]: ...
    def probe_of(self, path: str) -> bytes | None: ...
    def awaits_probe(self, path: str) -> bool: ...
    def quarantine(self, node: str, why: Reason, evidence: bytes) -> None: ...
    def read(self, data: bytes) -> Record: ...


class Closing:
    """One committee member's part in closing ``round_``.

    Args:
        host: the node.
        round_: what has been admitted.
        committee: who closes it, in the order of leading.
        trials: what is known of the trying of drafts.
        child_of: a child's certified release by its digest, if its change can be computed here.
        certified: called with the release once a quorum has signed it.
        due: which season the branch may be in at a time, and how it then stands with those below it, as far as is
            known here.
    """

    def __init__(
        self,
        host: Host,
        round_: Round,
        committee: Sequence[str],
        trials: Trials,
        child_of: Callable[[bytes], Child | None],
        certified: Callable[[CertifiedRelease], None],
        due: Callable[[int], tuple[int, Standing]],
    ) -> None:
        self.round = round_
        self.path = round_.base.branch
        self.over = False
        self._host = host
        self._charter = host.charter
        self.agreement = Agreement(committee, host.me, host.charter.committee.leader_timeout)
        self._trials = trials
        self._child_of = child_of
        self._certified = certified
        self._due = due
        self._proposed: dict[bytes, Release] = {}
        self._proposers: dict[bytes, set[str]] = {}
        self._building: tuple[int, Release] | None = None
        self._judging: dict[bytes, Release] = {}
        self._on_trial: tuple[int, Release] | None = None  # ours, summed up, and not yet voted on
        self._comparing: dict[bytes, tuple[Release, set[bytes]]] = {}
        """Proposals, of each the claim whose sums are not ours, and the blobs of it that are on their way."""
        self._recomputed: set[tuple[bytes, bytes]] = set()
        """Proposals, and the sums of theirs that are ours, too."""
        self._summing: set[tuple[bytes, bytes]] = set()
        """Computations under way, and the digests of the claims to compare with."""
        self._sums: dict[bytes, Aggregated] = {}
        self._measuring: dict[bytes, frozenset[bytes]] = {}
        """Sums under way to find out about the lift of these children's releases."""
        self._to_try: list[Aggregated] = []
        """Those that are there, and wait for the probe set to be tried on."""

    def keep(self) -> set[bytes]:
        """The blobs that proposals and sums need."""
        claims = [claim for release in self._proposed.values() for claim in claims_of(release)]
        sums: list[Release | Aggregated] = [*self._sums.values(), *self._proposed.values(), *claims]
        return {blob for each in sums for blob in (each.change, each.adapter, each.lift, each.lifted)} - {b""}

    @property
    def proposed_guests(self) -> set[bytes]:
        """The keys of the guests' updates that a proposal counts, ours or another's, unless it counts too many. Judges,
        and auditors after them, need these whoever else comes."""
        drafted = [each[1] for each in (self._building, self._on_trial) if each is not None]
        proposed = [
            {each.key for each in release.used if each.guest}
            for release in (*drafted, *self._proposed.values())
        ]
        return set[bytes]().union(*(keys for keys in proposed if len(keys) <= self.round.guests))

    def begin(self) -> None:
        """The round has what it needs."""
        self.perform(self.agreement.start())

    def listen(self, until: int | None) -> None:
        """Say nothing before ``until`` (ms), since we may have said what we have forgotten; None: we may speak."""
        self.agreement.is_mute = until is not None
        if until is not None:
            self._host.do(timer("hush", self.round, until))

    def speak(self) -> None:
        """Say what there is to say, if we only listened."""
        self.perform(self.agreement.speak())

    def voted(self, member: str, vote: Vote) -> None:
        """A committee member's vote came in."""
        self.perform(self.agreement.vote(vote.phase, vote.view, member, vote.release))

    def progress(self) -> None:
        """Something changed: look again at the votes on our draft, and judge again what could not be judged before."""
        self._settle_trial()
        for digest in list(self._judging):
            self._judge(digest)

    def blob_fetched(self, blob: bytes, error: str | None) -> None:
        """A leader's change is here to be compared with ours, or could not be had."""
        for digest, (claim, awaited) in [each for each in self._comparing.items() if blob in each[1][1]]:
            if error is not None:
                self._verdict(digest, Problem("unavailable", "The proposed change could not be fetched"))
                continue
            awaited.discard(blob)
            if not awaited and digest in self._judging:
                self._sum_up(claim, compared=True)

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
        if not draft.used:
            quiet = self._counting_nothing()
            if quiet is not None:  # or an update was found out in the meantime; the view will time out
                self._send_proposal(view, quiet, -1)
            return
        self._building = (view, draft)
        self._sum_up(draft)

    def _counting_nothing(self) -> Release | None:
        """What there is to release without anybody's update: a new season, or how the branch stands by now."""
        base, time = self.round.base, max(self.round.base.time, self._host.now)
        season, standing = self._due(time)
        if base.season < season:
            return turned(base, season, time)
        return restated(base, standing, time) if is_news(standing, base) else None

    def draft(self) -> Release:
        """The release this node would propose now, but for its sums; as much of it as fits into one message."""
        room = self._trials.room
        for most in (192, 160, 128, 96, 64):
            draft = self._draft_of(most)
            # One that counts nobody may have an empty roster: it is no release, and is not encoded as one.
            if len(draft.used) <= FEW or fits(draft, self._charter, room):
                return draft
        return self._draft_of(FEW)

    def _draft_of(self, most: int) -> Release:
        """The release from at most ``most`` contributions: those of the roster go before those of newcomers.

        After a view that came to nothing guests are counted only where the quorum lacks them: none of them may hold up
        a round for longer.
        """
        base, policy, expected = self.round.base, self._charter.round, self.round.expected()
        time, spare = max(base.time, self._host.now), self.agreement.view > 0
        here = self.round.contributions(self._host.quarantined, time, spare_guests=spare)
        chosen = sorted(here, key=lambda each: not each.is_child and each.source not in expected)[:most]
        used = tuple(sorted(chosen, key=lambda each: each.key))
        left_out = self.round.left_out(used, self._host.quarantined, time)[:192]
        raised = any(each.is_child for each in used)
        step = bytes(32)  # as long as what will stand there
        counted = [child for each in used if (child := self._child_of(each.key)) is not None]
        moved = filter(self.round.is_new, counted)  # who is silent loses its seats in time
        delegates = {member: child.head.branch for child in moved for member in child.delegates}
        return Release(
            branch=self.path,
            height=self.round.height,
            parent=base.digest,
            rule=policy.rule,
            f=policy.f,
            used=used,
            left_out=left_out,
            change=step if any(not each.is_child for each in used) else b"",
            change_size=0,
            adapter=step,
            adapter_size=0,
            lift=step if raised else b"",
            lift_size=0,
            lifted=step,
            lifted_size=0,
            lifted_at=time if raised else base.lifted_at,
            roster=next_roster(base, used, left_out, delegates, self._charter.committee),
            children=next_children(base, [child.head for child in counted]),
            time=time,
            reported=self.round.reported(used),
            season=base.season,
            frozen=base.frozen,
            progress=self.round.progress(used, self._charter),
            standing=base.standing,
        )

    def _sum_up(self, release: Release, *, compared: bool = False) -> None:
        """Have the release's aggregate computed, unless it has been; or ``compared`` with what the release says."""
        job = job_of(release, self.round.base)
        known = self._sums.get(job)
        if known is not None and not compared:
            self.aggregated(known)
            return
        key = (job, release.digest if compared else b"")
        if key in self._summing:
            return
        self._summing.add(key)
        self._host.do(sums_of(release, self.round.base, self._charter, expected=compared))

    def measure(self, children: Sequence[Child]) -> None:
        """Find out what the charter's policy asks about the lift of ``children``: first its sums."""
        keys = keys_of(children)
        base, name = self.round.base, hashlib.sha256(b"lift" + b"".join(sorted(keys))).digest()
        if name in self._measuring or keys in self.round.measured:
            return
        self._measuring[name] = keys
        lift = lift_of(sorted(map(quote, children), key=lambda each: each.key), base, self._charter)
        policy = self._charter.round
        self._host.do(
            Aggregate(
                branch=self.path,
                height=self.round.height,
                job=name,
                inputs=(),
                rule=policy.rule,
                f=policy.f,
                clip=policy.clip,
                base=base.adapter or None,
                lift=lift,
                season=base.season,
            )
        )

    def aggregated(self, result: Aggregated) -> None:
        """A computation came to its end: ours to propose, or ours to compare with a leader's."""
        if result.height != self.round.height:
            return
        if result.job in self._measuring:
            self._summed(result)
            return
        self._summing = {each for each in self._summing if each[0] != result.job}
        if result.agrees is None:
            self._sums[result.job] = result
        if self._building is not None and job_of(self._building[1], self.round.base) == result.job:
            (view, draft), self._building = self._building, None
            self._have_tried(view, with_sums(draft, self.round.base, result))
        for release in [*self._judging.values()]:
            for claim in claims_of(release):
                if job_of(claim, self.round.base) == result.job:
                    self._compare(release, claim, result)

    def _summed(self, result: Aggregated) -> None:
        """The sums of a lift that is to be measured are here: try it on this device's data if the policy asks so."""
        if not self.round.transfer.needs_losses:
            self.round.measured[self._measuring.pop(result.job)] = Measured(result.agreement)
            return
        self._sums[result.job] = result
        self._to_try.append(result)
        self.go_on()

    def go_on(self) -> None:
        """Try the lifts that are summed up, once the probe set is here."""
        if not self._host.awaits_probe(self.path):
            waiting, self._to_try = self._to_try, []
            for result in waiting:
                self._try(result)

    def _try(self, result: Aggregated) -> None:
        base = self.round.base
        above = self._host.adapters_above(self.path)
        earlier = tuple(blob for blob, _ in base.earlier)
        own = (base.adapter,) if base.adapter else ()
        before = (*above, *(blob for blob, _ in base.blobs))
        models = (before, (*above, *earlier, *own, result.lifted))
        rows = self._charter.validation.rows
        probe = self._host.probe_of(self.path)
        self._host.do(Evaluate(self.path, self.round.height, result.job, models, rows, probe))

    def evaluated(self, result: Evaluated) -> None:
        """A lift has been tried, on this device's data, on the branch's probe set, or on both."""
        found = (result.losses if result.rows else (), result.probed)
        self._measured(result.job, tuple((each[0], each[1]) for each in found if len(each) == 2))

    def not_evaluated(self, job: bytes) -> None:
        """A lift could not be tried here."""
        self._measured(job, ())

    def _measured(self, job: bytes, tried: tuple[tuple[float, float], ...]) -> None:
        keys = self._measuring.pop(job, None)
        if keys is not None:
            self.round.measured[keys] = Measured(self._sums[job].agreement, tried)

    def aggregation_failed(self, job: bytes, reason: str) -> None:
        """The worker could not do the sum. A leader lets its turn pass; a judge does not sign what it cannot check."""
        self._measuring.pop(job, None)  # another attempt comes with the next news
        self._summing = {each for each in self._summing if each[0] != job}
        if self._building is not None and job_of(self._building[1], self.round.base) == job:
            self._building = None
        for digest, release in list(self._judging.items()):
            if any(job_of(claim, self.round.base) == job for claim in claims_of(release)):
                self._verdict(digest, Problem("not-recomputed", reason))

    # ------------------------------------------------------------------------------- a draft on trial

    def drafted(self, view: int) -> None:
        """The leader of ``view`` has a draft tried: be patient with it for as long as that may take."""
        patience = self._charter.committee.leader_timeout
        self.agreement.grant(view, 1 + self._charter.validation.deadline // patience)

    def _have_tried(self, view: int, draft: Release) -> None:
        """Propose ``draft`` once the voters have passed it."""
        if view != self.agreement.view:
            return  # our turn has passed
        if not self._trials.is_on or not draft.change:  # children try a lift by the policy of lifts
            self._send_proposal(view, draft, -1)
        elif self._trials.call(view, len(draft.refused), draft.adapter, draft.adapter_size):
            self._on_trial = (view, draft)
            self.drafted(view)
            self._settle_trial()

    def _settle_trial(self) -> None:
        """Go on with our draft if the votes on it are here: propose it, or try the next rule."""
        if self._on_trial is None:
            return
        view, draft = self._on_trial
        votes = self._trials.outcome(draft.adapter)
        if votes is None:
            return
        self._on_trial = None
        if passes(votes, self._charter):
            self._send_proposal(view, replace(draft, votes=votes), -1)
            return
        following = self._after(draft, votes)
        if following.rule == UNCHANGED:
            self._send_proposal(view, following, -1)
        else:
            self._building = (view, following)
            self._sum_up(following)

    def _after(self, draft: Release, votes: tuple[TrialVote, ...]) -> Release:
        """What to try next of the same updates, now that ``votes`` have refused ``draft``."""
        change, adapter = (draft.change, draft.change_size), (draft.adapter, draft.adapter_size)
        refused = (*draft.refused, Attempt(draft.rule, *change, *adapter, votes, draft.narrowed_to))
        rule = rules_of(self._charter, updates_in(draft))[len(refused)]
        if rule != UNCHANGED:
            return replace(draft, rule=rule, refused=refused)
        base = self.round.base
        return replace(
            draft,
            rule=rule,
            refused=refused,
            change=b"",
            change_size=0,
            adapter=base.adapter,
            adapter_size=base.adapter_size,
            narrowed_to=0,
        )

    # ------------------------------------------------------------------------------- proposals

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
            release,
            self.round,
            self._charter,
            self._host.quarantined,
            self._child_of,
            self._host.now,
            self._due,
        )
        if isinstance(verdict, Open):
            self._ask_proposers(digest, verdict.wanted)
            if verdict.unmeasured:
                self.measure(verdict.unmeasured)
        elif isinstance(verdict, Problem):
            self._verdict(digest, verdict)
        else:
            self._recompute(release)

    def _ask_proposers(self, digest: bytes, wanted: tuple[bytes, ...]) -> None:
        for leader in sorted(self._proposers.get(digest, ())):
            self._host.ask_for(committee_topic(self.path), wanted, leader)
            self._host.compare_with(leader)

    def _recompute(self, release: Release) -> None:
        """Do the proposal's sums over one after the other, also those that the votes refused: a leader could otherwise
        have nonsense refused. Then look at its votes."""
        base = self.round.base
        for claim in claims_of(release):
            job = job_of(claim, base)
            if (release.digest, job) not in self._recomputed:
                own = self._sums.get(job)
                if own is None:
                    self._sum_up(claim)
                else:
                    self._compare(release, claim, own)
                return
        self._look_at_votes(release)

    def _look_at_votes(self, release: Release) -> None:
        """The sums are right: are the votes what the voters said?"""
        if not self._trials.is_on:
            self._verdict(release.digest, None)
            return
        for claim in claims_of(release):
            doubt = self._trials.doubt(claim.adapter, claim.votes)
            if doubt is None:
                continue
            if isinstance(doubt, Problem):
                self._verdict(release.digest, doubt)
            else:
                self._ask_proposers(release.digest, doubt.wanted)
            return
        self._verdict(release.digest, None)

    def _compare(self, release: Release, claim: Release, result: Aggregated) -> None:
        """Our sums and the leader's: equal, or equal within rounding once the leader's numbers are here."""
        digest = release.digest
        if digest not in self._judging or (digest, result.job) in self._recomputed:
            return  # settled by what the one before brought about
        ours = with_sums(claim, self.round.base, result)
        if ours == claim:
            self._recomputed.add((digest, result.job))
            self._comparing.pop(digest, None)
            self._recompute(release)
        elif result.agrees is None:
            theirs = [step for step in claim.steps if step not in ours.steps]
            if [size for _, size in claim.steps] != [size for _, size in ours.steps] or not theirs:
                problem = "The proposal's sums do not follow from its steps"
                self._verdict(digest, Problem("false-release", problem))
                return
            leaders = tuple(sorted(self._proposers.get(digest, ())))
            self._comparing[digest] = (claim, {blob for blob, _ in theirs})
            for blob, size in theirs:
                self._host.do(FetchBlob(blob, size, leaders))
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


def with_sums(draft: Release, base: Release, result: Aggregated) -> Release:
    """``draft``, which follows ``base``, with the sums that came out for it."""
    taught, raised = bool(result.change), bool(result.lift)
    return replace(
        draft,
        change=result.change,
        change_size=result.change_size,
        adapter=result.adapter if taught else base.adapter,
        adapter_size=result.adapter_size if taught else base.adapter_size,
        lift=result.lift,
        lift_size=result.lift_size,
        lifted=result.lifted if raised else base.lifted,
        lifted_size=result.lifted_size if raised else base.lifted_size,
        narrowed_to=result.narrowed_to,
    )
