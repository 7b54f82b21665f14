"""One branch at one node: its history, its running round and this node's part in closing it.

A branch is fed verified records and the ends of jobs; it answers through its :class:`Host` (the node it lives at).
Followers only keep the history. Members of the current committee also collect updates, judge proposals and vote.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final, Protocol

from banyan.protocol.agreement import Agreement
from banyan.protocol.amnesia import Amnesia
from banyan.protocol.chain import Chain
from banyan.protocol.closing import Closing, timer
from banyan.protocol.closing import Host as ClosingHost
from banyan.protocol.delta import blob_bytes
from banyan.protocol.effects import Aggregated, DropRecords, Evaluated, FetchBlob, Inspect, Inspected
from banyan.protocol.events import (
    AttemptRefused,
    BranchOpened,
    ReleaseCertified,
    ReleaseNarrowed,
    RoundClosing,
    RoundWaiting,
    SeasonBegan,
    UpdateAdmitted,
    UpdateLeftOut,
)
from banyan.protocol.messages import CertifiedRelease, Draft, Opening, Proposal, Trial, Update, Vote
from banyan.protocol.plateau import is_news, is_restated, standing_among, standing_of
from banyan.protocol.records import Record, committee_topic
from banyan.protocol.release import ChildHead, Release, Standing, TrialVote, committee_of
from banyan.protocol.round import Candidate, Child, Round, Status, need_of
from banyan.protocol.season import is_turn
from banyan.protocol.transfer import Transfer, Wait
from banyan.protocol.trials import Host as TrialsHost
from banyan.protocol.trials import Trials
from banyan.protocol.validation import medians, own_change, probed_change
from banyan.security.admission import Reason, UpdateRefused, check_announcement
from banyan.security.credential import Credential, is_guest
from banyan.security.errors import Refused
from banyan.security.model import MOST_SEASONS

__all__ = ["Branch", "Host", "NotNow"]


KEPT_RELEASES: Final = 4
"""How many of a branch's newest releases keep their blobs."""


class NotNow(Exception):
    """A record that is neither wrong nor usable here at present: of another height, or of a role we do not have."""


class Host(ClosingHost, TrialsHost, Protocol):
    """What a branch needs of the node it lives at."""

    amnesia: Amnesia

    def check_member(self, node: str, branch: str, credential: Credential) -> None: ...
    def head_moved(self, head: Release) -> None: ...
    def quoted(self, path: str) -> ChildHead | None: ...
    def is_asleep(self, path: str) -> bool: ...
    def opened_season(self, path: str) -> int: ...
    def is_topmost(self, path: str) -> bool: ...
    def heads_below(self, path: str) -> list[Release]: ...


class Branch:
    """See the module. ``path`` is the branch's name."""

    def __init__(self, path: str, host: Host) -> None:
        self.path = path
        self._host = host
        self._charter = host.charter
        self.chain = Chain(path, host.charter.committee, host.read)
        self.round: Round | None = None
        self.closing: Closing | None = None
        self.trials: Trials | None = None
        self._lineage: list[bytes] = []
        """Digests from the head backwards, of all releases that the round may tell an update's base by."""
        self._children: dict[bytes, Child] = {}

    @property
    def agreement(self) -> Agreement | None:
        """The votes of the running round, where this node has one."""
        return self.closing.agreement if self.closing else None

    # --------------------------------------------------------------------------------- where we stand

    def status(self) -> dict[str, object]:
        """Where an open branch stands, JSON-ready."""
        head, round_, agreement = self.chain.head, self.round, self.agreement
        assert head is not None
        status: dict[str, object] = {
            "height": head.height,
            "head": head.digest.hex(),
            "season": head.season,
            "committee": list(self.chain.committee),
            "roster": [seat.member for seat in head.roster],
        }
        if round_ is not None and agreement is not None:
            quarantined, now = self._host.quarantined, self._host.now
            have, need = round_.standing(quarantined, now)
            status["round"] = {
                "height": round_.height,
                "have": have,
                "need": need,
                "missing": list(round_.missing(quarantined, now)),
                "updates": {
                    author: each.reason.value if each.reason else each.status.value
                    for author, each in sorted(round_.candidates.items())
                },
                "view": agreement.view,
                "leader": agreement.leader(max(0, agreement.view)),
            }
        return status

    def page(self, release: Release) -> dict[str, object]:
        """One release of the history, JSON-ready."""
        proof = self.chain.proof(release.height)
        return {
            "branch": self.path,
            "height": release.height,
            "release": release.digest.hex(),
            "parent": release.parent.hex(),
            "time": release.time,
            "rule": release.rule,
            "f": release.f,
            "trial": self._trial(release.votes),
            "refused": [{"rule": each.rule, **(self._trial(each.votes) or {})} for each in release.refused],
            "leader": proof.leader if proof else None,
            "cosigners": self._cosigners(proof) if proof else [],
            "used": [each.source for each in release.used],
            "left_out": [{"author": item.source, "reason": item.reason} for item in release.left_out],
            "narrowed_to": release.narrowed_to,
            "change": release.change.hex(),
            "adapter": release.adapter.hex(),
            "season": release.season,
            "standing": standing_of(release),
            "lifted": self._lift_of(release),
        }

    def _lift_of(self, release: Release) -> dict[str, object] | None:
        """What a release lifted, JSON-ready; None where it lifted nothing."""
        children = {child.branch: child for child in release.children}
        lifted = [children[each.source] for each in release.used if each.is_child]
        if not lifted:
            return None
        policy = self._charter.transfer
        return {
            "children": [{"branch": each.branch, "height": each.height} for each in lifted],
            "rule": policy.rule,
            "f": policy.f,
            "share": policy.share,
            "lift": release.lift.hex(),
        }

    def _trial(self, votes: tuple[TrialVote, ...]) -> dict[str, object] | None:
        """How a vote went, JSON-ready: ``change``, on the voters' own rows, and ``probed``, on the probe set, are None
        where too few voted to decide. None where the charter asks for no votes."""
        if not self._charter.validation.voters:
            return None
        return {
            "change": own_change(votes, self._charter),
            "probed": probed_change(votes, self._charter),
            "votes": [{"voter": each.voter, "change": each.change, "probed": each.probed} for each in votes],
        }

    def _cosigners(self, proof: CertifiedRelease) -> list[str]:
        return sorted(self._host.read(data).envelope.author for data in proof.certificate)

    def keep(self) -> set[bytes]:
        """The blobs that this branch may still need, or that others may ask for."""
        releases = [*self.newest(), *(child.release for child in self._children.values())]
        kept = self.closing.keep() if self.closing else set()
        kept.update(*(release.vouched for release in releases))
        kept.update(self.trials.keep() if self.trials else ())
        if self.on_committee:  # for those that the next round counts, and for who audits the last ones
            kept.update(*(release.counted for release in releases))
        return kept

    def newest(self) -> list[Release]:
        """The newest releases, the head first: those that keep their blobs."""
        height = self.chain.height
        heights = range(height, max(-1, height - KEPT_RELEASES), -1)
        return [release for each in heights if (release := self.chain.at(each)) is not None]

    def newest_held(self) -> Release | None:
        """The newest release of this branch of which all is here that those below it build on."""
        here = self._host.has_blob
        held = (each for each in self.newest() if all(here(blob) for blob, _ in each.handed_down))
        return next(held, None)

    def member_shut_out(self) -> None:
        """Somebody was quarantined: count again."""
        self._progress()

    @property
    def on_committee(self) -> bool:
        return self._host.me in self.chain.committee

    @cached_property
    def need(self) -> int:
        """See :func:`~banyan.protocol.round.need_of`."""
        return need_of(self._charter)

    @cached_property
    def _longest_update(self) -> int:
        """Bytes of the largest honest update of this branch."""
        return blob_bytes(self._charter.adapter_at(self.path), self._charter.round.codec)

    @cached_property
    def transfer(self) -> Transfer:
        """When what the branch's children share is lifted into it."""
        return Transfer(self._charter.transfer)

    # ------------------------------------------------------------------------------- records come in

    def check(self, record: Record) -> None:
        """Whether ``record`` may be kept. Raises ``Refused``, or :class:`NotNow`."""
        body, author = record.body, record.envelope.author
        if isinstance(body, Update):
            self._check_update(record, body)
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
        elif isinstance(body, Draft | Trial):
            if body.height != self.chain.height + 1 or self.trials is None:
                raise NotNow
            if isinstance(body, Draft):
                self.trials.check_draft(body, author)
            else:
                self.trials.check_vote(body, author)
        elif isinstance(body, Opening | CertifiedRelease):
            self._check_release(body, author)

    def is_late(self, vote: Vote) -> bool:
        """Whether ``vote`` is one of the last round that is over: some come when others have decided."""
        return vote.height == self.chain.height

    def begins_with(self, certified: CertifiedRelease) -> bool:
        """Whether our history can begin with this release because the parent's quorum has quoted it. Raises ``Refused``
        if what comes with it are not signatures on it."""
        quoted = self._host.quoted(self.path) if self.chain.head is None else None
        if quoted is None or quoted.release != certified.release.digest:
            return False
        self.chain.signers(certified)
        return True

    def take(self, record: Record) -> None:
        """Act on a record that was checked and is new here."""
        body = record.body
        if isinstance(body, Update):
            if self.round is not None:
                self._on_update(record, body)
        elif isinstance(body, Proposal):
            if self.closing is not None:
                self.closing.proposed(record, body)
        elif isinstance(body, Vote):
            if self.closing is not None:
                self.closing.voted(record.envelope.author, body)
        elif isinstance(body, Draft | Trial):
            self._on_trial(record, body)
        elif isinstance(body, Opening):
            self.chain.open(body.release)
            roster = tuple(seat.member for seat in body.release.roster)
            self._host.tell(BranchOpened(self.path, roster))
            self._moved(body.release)
        elif isinstance(body, CertifiedRelease):
            self._on_certified(body)

    def _on_trial(self, record: Record, body: Draft | Trial) -> None:
        if self.trials is None:
            return
        if isinstance(body, Trial):
            self.trials.take_vote(record, body)
        else:
            self.trials.take_draft(record, body)
            if self.closing is not None:
                self.closing.drafted(body.view)
        if self.closing is not None:
            self.closing.progress()

    def _check_running(self, height: int) -> None:
        if height != self.chain.height + 1 or self.round is None:
            raise NotNow

    def _check_release(self, body: Opening | CertifiedRelease, author: str) -> None:
        release = body.release
        known = self.chain.at(release.height)
        if known is not None and known.digest == release.digest:
            raise NotNow  # the same release under another quorum of signatures
        if known is None and release.height <= self.chain.height:
            raise Refused(
                "before-our-time", "The release is older than what this node follows the branch from"
            )
        if isinstance(body, Opening):
            if author != self._charter.roots[0]:
                raise Refused("not-root", "Only the charter's first root opens a branch")
            self.chain.check_opening(release)
        elif release.height > self.chain.height + 1:
            raise NotNow
        else:
            self.chain.verify(body)

    def _check_update(self, record: Record, update: Update) -> None:
        head, author = self.chain.head, record.envelope.author
        if head is None or update.height > head.height + 1:
            raise NotNow
        self._host.check_member(author, self.path, update.credential)
        if update.height <= head.height:
            late = Reason.ROUND_CLOSED
            self._host.tell(UpdateLeftOut(self.path, update.height, author, late.value, late.sentence))
            raise Refused(late.value, late.sentence)
        if self.round is None:
            if author == self._host.me:
                return  # what we said before our disk was lost
            raise NotNow
        guest = is_guest(update.credential, self._charter)
        if guest and not self.round.has_room_for(author) and not self._is_proposed(record):
            self._turn_away(author, update.height)
            raise UpdateRefused(Reason.GUEST_LIMIT)

    # ------------------------------------------------------------------------------- guests

    def make_way(self, record: Record) -> None:
        """Let go of a guest's update where a leader counts another one of that guest. Guests have nothing to lose by
        contradicting themselves, so what they say for one round is what is counted."""
        candidate = self.round.candidates.get(record.envelope.author) if self.round else None
        if candidate is None or not candidate.guest or candidate.record.id == record.id:
            return
        if self._is_proposed(record):
            self._let_go(candidate)

    def _is_proposed(self, record: Record) -> bool:
        return self.closing is not None and record.id in self.closing.proposed_guests

    def _let_go(self, candidate: Candidate) -> None:
        assert self.round is not None
        self.round.candidates.pop(candidate.author, None)
        self._host.records.remove(candidate.record)
        self._host.do(DropRecords((candidate.record.id,)))
        self._turn_away(candidate.author, candidate.update.height)

    def _turn_away(self, author: str, height: int) -> None:
        reason = Reason.GUEST_LIMIT
        self._host.tell(UpdateLeftOut(self.path, height, author, reason.value, reason.sentence))

    # ------------------------------------------------------------------------------- admission

    def _on_update(self, record: Record, update: Update) -> None:
        assert self.round is not None
        author = record.envelope.author
        candidate = Candidate(record, update, guest=is_guest(update.credential, self._charter))
        proposed = self.closing.proposed_guests if self.closing is not None and candidate.guest else ()
        crowded_out = self.round.take(candidate, proposed)
        if crowded_out is not None:
            self._let_go(crowded_out)
        if crowded_out is candidate:
            return
        try:
            self._check_season(update.base)
            check_announcement(
                author=author,
                size=update.size,
                digest=update.blob,
                base=update.base,
                limit=self._longest_update,
                lineage=self._lineage,
                staleness=self._charter.round.staleness,
                members={author},  # its credential was checked when the record came in
                quarantined=self._host.quarantined,
            )
        except UpdateRefused as refusal:
            self._refuse(candidate, Reason(refusal.reason))
        else:
            self._fetch(candidate)

    def _check_season(self, base: bytes) -> None:
        """Raises :class:`UpdateRefused` (``wrong-season``) for an update from before the branch's last turn."""
        assert self.round is not None
        known = base in self._lineage
        made = self.chain.at(self.chain.height - self._lineage.index(base)) if known else None
        if made is not None and made.season != self.round.base.season:
            raise UpdateRefused(Reason.WRONG_SEASON)

    def _fetch(self, candidate: Candidate) -> None:
        candidate.status, candidate.reason = Status.FETCHING, None
        author = candidate.record.envelope.author
        others = tuple(member for member in self.chain.committee if member not in (author, self._host.me))
        assert self.round is not None
        blob = candidate.update.blob
        inspect = Inspect(blob, self.path, self.round.base.season)
        self._host.do(FetchBlob(blob, candidate.update.size, (author, *others), inspect))

    def blob_fetched(self, blob: bytes, error: str | None) -> None:
        """A blob of this branch is here, or could not be brought (then it is tried again until the round ends)."""
        if self.trials is not None:
            self.trials.blob_fetched(error)
        if self.round is None:
            return
        if error is not None:
            # Whoever served something else is at fault, not the author: its hash is what it signed.
            for candidate in self.round.waiting_for_blob(blob):
                candidate.reason = Reason.UNAVAILABLE
                candidate.failures += 1
        if self.closing is not None:
            self.closing.blob_fetched(blob, error)
        self._progress()

    def probe_answered(self) -> None:
        """A probe set is here, or could not be brought: what has waited for it goes on."""
        if self.trials is not None:
            self.trials.go_on()
        if self.closing is not None:
            self.closing.go_on()

    def inspected(self, result: Inspected) -> None:
        """A candidate's blob was brought, decoded and measured."""
        waiting = self.round.waiting_for_blob(result.digest) if self.round is not None else []
        if self.round is None or not waiting:
            return
        for candidate in waiting:
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
        """A direct child has a new head: once its adapter is here, it is a contribution."""
        if release.height > 0 and release.current:
            child = Child(release, committee_of(release, self._charter.committee))
            self._children[release.digest] = child
            self._children = {  # as many as their own branch keeps the adapters of
                digest: each
                for digest, each in self._children.items()
                if each.head.branch != release.branch or each.head.height > release.height - KEPT_RELEASES
            }
            self._fetch_child(child)
            self._progress()

    def _fetch_child(self, child: Child) -> None:
        """Bring what a lift is computed from: what the child holds, and what was lifted before."""
        if self.round is not None:
            sources = (*child.delegates, *self.chain.closers, *self.chain.committee)
            others = tuple(node for node in dict.fromkeys(sources) if node != self._host.me)
            for digest, size in self._needed_for(child):
                if not self._host.has_blob(digest):
                    self._host.do(FetchBlob(digest, size, others))

    def _needed_for(self, child: Child) -> list[tuple[bytes, int]]:
        head = self.chain.head
        before = [(head.lifted, head.lifted_size)] if head is not None and head.lifted else []
        return [*child.release.current, *before]

    def _child(self, digest: bytes) -> Child | None:
        """The child release with this digest, if this node could lift it."""
        child = self._children.get(digest)
        if child is None or not all(self._host.has_blob(blob) for blob, _ in self._needed_for(child)):
            return None
        return child

    def retry(self) -> None:
        """Ask again for what could not be fetched: every sync interval."""
        if self.trials is not None:
            self.trials.retry()
        if self.round is not None:
            for candidate in self.round.candidates.values():
                if candidate.reason is Reason.UNAVAILABLE:
                    self._fetch(candidate)
            for child in self._children.values():
                self._fetch_child(child)

    def look_again(self) -> None:
        """Something has changed elsewhere that this branch may have to answer by a release: a season was opened, a
        branch right below stands otherwise."""
        self._progress()

    def due(self, time: int) -> tuple[int, Standing]:
        """Which season the branch may be in at ``time`` (ms), and how it then stands with those below it (empty where a
        release need not say so), as far as is known here."""
        head = self.chain.head
        assert head is not None
        season = max(head.season, self._host.opened_season(self.path))
        if season > head.season or self._charter.season.policy == "manual":
            return season, ""
        below = self._host.heads_below(self.path)
        topmost = self._host.is_topmost(self.path)
        if not (below or topmost or head.standing):
            return season, ""  # the branch above reads it off what the members say
        standing = standing_among(head, below, time, self._charter)
        if not topmost:
            return season, standing
        asks = standing == "asks" and head.season + 1 < MOST_SEASONS
        return season + (asks and self.may_ask(head, time)), ""

    def may_ask(self, base: Release, time: int) -> bool:
        """Whether the season of ``base`` has lasted for as long as the charter asks before another may follow at
        ``time``."""
        began = next(each.time for each in self.chain.releases() if each.season == base.season)
        return time - began >= self._charter.season.cool_down

    def _has_quiet_news(self) -> bool:
        """Whether there is a release to make that counts nothing, and nothing is lost by making it now."""
        round_, now = self.round, self._host.now
        if round_ is None or not round_.is_idle(now):
            return False
        season, standing = self.due(now)
        return season > round_.base.season or is_news(standing, round_.base)

    def _progress(self) -> None:
        """Look again at the round after anything changed."""
        round_, closing = self.round, self.closing
        if round_ is None or closing is None:
            return
        for digest, child in self._children.items():
            newest = round_.children.get(child.release.branch)
            is_newer = newest is None or newest.release.height < child.release.height
            if is_newer and self._child(digest) is not None:
                round_.children[child.release.branch] = child
        round_.asleep = frozenset(filter(self._host.is_asleep, round_.base.child_heights))
        now, quarantined = self._host.now, self._host.quarantined
        if round_.opened is None and (round_.count(quarantined) or round_.fresh_children(now)):
            round_.opened = now
            self._host.do(timer("round", round_, now + self._charter.round.deadline))
        if children := round_.to_measure(now, quarantined):
            closing.measure(children)
        waits = closing.agreement.view < 0 and not closing.agreement.is_mute
        if waits and (round_.ready(now, quarantined) or self._has_quiet_news()):
            for guest in round_.crowded_out(quarantined):
                self._turn_away(guest.author, round_.height)
            updates, leader = len(round_.contributions(quarantined, now)), closing.agreement.leader(0)
            self._host.tell(RoundClosing(self.path, round_.height, updates, leader))
            closing.begin()
        closing.progress()

    def timer(self, name: str, arguments: list[str]) -> None:
        """A timer of :func:`banyan.protocol.closing.timer` fired."""
        round_, closing = self.round, self.closing
        if round_ is None or closing is None or int(arguments[0]) != round_.height:
            return
        if name == "agree":
            closing.perform(closing.agreement.timed_out(int(arguments[1]), arguments[2]))
        elif name == "trial":
            closing.progress()
        elif name == "hush":
            closing.speak()
            self._progress()
        elif name == "round":
            self._progress()
            if closing.over:
                return
            if closing.agreement.view < 0:
                self._report_waiting()
            again = self._host.now + max(1000, self._charter.round.deadline // 4)
            self._host.do(timer("round", round_, again))

    def aggregated(self, result: Aggregated) -> None:
        """A computation came to its end."""
        if self.closing is not None:
            self.closing.aggregated(result)
            self._progress()

    def aggregation_failed(self, job: bytes, reason: str) -> None:
        """A computation came to nothing."""
        if self.closing is not None:
            self.closing.aggregation_failed(job, reason)

    def evaluated(self, result: Evaluated) -> None:
        """A model has been measured on this device's own rows."""
        if self.trials is not None and result.height == self.chain.height + 1:
            self.trials.evaluated(result)
            if self.closing is not None:
                self.closing.evaluated(result)
                self._progress()

    def evaluation_failed(self, job: bytes) -> None:
        """A model could not be measured here."""
        if self.trials is not None:
            self.trials.failed(job)
        if self.closing is not None:
            self.closing.not_evaluated(job)
            self._progress()

    def _report_waiting(self) -> None:
        assert self.round is not None
        round_, quarantined, now = self.round, self._host.quarantined, self._host.now
        have, need = round_.standing(quarantined, now)
        missing = round_.missing(quarantined, now)
        verdict = round_.verdict(round_.electorate(now), now)
        if have < need:
            kind = "update" if need == round_.need else "child branch"
            wants = f"{need - have} more {kind}{'s' if need - have != 1 and kind == 'update' else ''}"
        elif isinstance(verdict, Wait) and self.round.count(quarantined) < self.round.need:
            wants = verdict.why
        else:
            wants = "a decision"
        names = ", ".join(missing) or "any member"
        self._host.tell(
            RoundWaiting(self.path, round_.height, have, need, missing, f"{wants}; nothing yet from {names}")
        )

    # ------------------------------------------------------------------------------- a new head

    def _on_certified(self, certified: CertifiedRelease) -> None:
        self.chain.append(certified)
        release = certified.release
        if is_turn(release):
            self._host.tell(SeasonBegan(self.path, release.height, release.season))
            self._answer(release, Reason.WRONG_SEASON)
        elif is_restated(release):
            self._answer(release, Reason.ROUND_CLOSED)
        self._tell_refusals(release)
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
        if release.narrowed_to:
            rank = self._charter.adapter_at(self.path).rank
            self._host.tell(ReleaseNarrowed(self.path, release.height, release.narrowed_to, rank))
        self._moved(release)
        for item in release.left_out:
            if item.reason == Reason.FALSE_RELEASE:  # seen by the quorum that certified this
                self._host.quarantine(item.source, Reason.FALSE_RELEASE, release.digest)

    def _answer(self, release: Release, why: Reason) -> None:
        """Tell what becomes of the updates that were announced: a release that counts nothing has no lists."""
        for author in self.round.candidates if self.round is not None else ():
            self._host.tell(UpdateLeftOut(self.path, release.height, author, why.value, why.sentence))

    def _tell_refusals(self, release: Release) -> None:
        following = [*(each.rule for each in release.refused), release.rule][1:]
        for each, then in zip(release.refused, following, strict=True):
            worst = max(medians(each.votes, self._charter), default=None)
            self._host.tell(
                AttemptRefused(self.path, release.height, each.rule, worst, len(each.votes), then)
            )

    def _moved(self, head: Release) -> None:
        """The head has moved: close the books of the old round and open the next."""
        counted = head.child_heights
        self._children = {
            digest: child
            for digest, child in self._children.items()
            if child.release.height >= counted.get(child.release.branch, 0)
        }
        if self.closing is not None:
            self.closing.over = True
        self.round = self.closing = None
        committee = self.chain.committee
        self.trials = Trials(self._host, head, committee)
        if self.on_committee:
            policy = self._charter.round
            self._lineage = self.chain.lineage(policy.staleness + 32)
            self.round = Round(head, self.need, self.transfer, policy.deadline, policy.f)
            self.closing = Closing(
                self._host, self.round, committee, self.trials, self._child, self._on_certified, self.due
            )
            self._listen(self.closing)
            for child in self._children.values():
                self._fetch_child(child)
        self._host.head_moved(head)
        self._progress()

    def _listen(self, closing: Closing) -> None:
        """Where we have lost our disk, take part in the running round when we know what we had said, not before."""
        amnesia = self._host.amnesia
        closing.listen(amnesia.until if amnesia.covers(closing.round.base) else None)

    def resume(self) -> None:
        """After a restart: take up the running round where its persisted records say it stood."""
        round_, closing = self.round, self.closing
        here = self._host.records.of(committee_topic(self.path))
        for kind in (Trial, Draft):  # votes first: what is ours need not be tried again
            for record in here:
                if isinstance(record.body, kind) and record.body.height == self.chain.height + 1:
                    self._on_trial(record, record.body)
        if round_ is None or closing is None:
            return
        self._listen(closing)  # how late it is was not known before
        votes = [r for r in here if isinstance(r.body, Vote) and r.body.height == round_.height]
        others = [r for r in here if isinstance(r.body, Update | Proposal) and r.body.height == round_.height]
        closing.resume(
            r.body for r in votes if isinstance(r.body, Vote) and r.envelope.author == self._host.me
        )
        for record in (*others, *votes):  # votes last: they may make us propose again what was proposed
            self.take(record)
            if closing.over:
                return
        closing.perform(closing.agreement.resume())
        self._progress()
