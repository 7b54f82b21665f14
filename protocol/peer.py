"""One node's mind: everything it decides, as a pure state machine.

A driver feeds :meth:`Peer.handle` with what happened and performs the effects that come back. The peer has no clock
(time comes in), no randomness (a seeded generator comes in), no I/O and no threads, so the daemon and the simulator
run the very same object, and a seed replays a run byte for byte.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from banyan.protocol.adapters import Adapters
from banyan.protocol.amnesia import ANEW, Amnesia
from banyan.protocol.audit import Auditor
from banyan.protocol.branch import Branch, NotNow
from banyan.protocol.card import Card
from banyan.protocol.catalog import Catalog
from banyan.protocol.composition import Part, blobs_of, parts_of
from banyan.protocol.dormancy import Dormancy
from banyan.protocol.effects import (
    Aggregated,
    BlobFetched,
    Command,
    Digest,
    DropRecords,
    Effect,
    Emit,
    Evaluated,
    InputEvent,
    Inspected,
    JobFailed,
    MessageReceived,
    Mixed,
    NodeId,
    Path,
    PeerConnected,
    PeerLost,
    PutRecord,
    SetTimer,
    Started,
    TimerFired,
    Trained,
)
from banyan.protocol.events import (
    CaughtUp,
    Event,
    JobFailedEvent,
    MemberJoined,
    MessageRefused,
    NodeQuarantined,
    SeasonOpened,
)
from banyan.protocol.following import Following
from banyan.protocol.founding import Founding
from banyan.protocol.gossip import Gossip
from banyan.protocol.growth import Growth
from banyan.protocol.learner import Learner
from banyan.protocol.lineage import Lineage
from banyan.protocol.members import Members
from banyan.protocol.messages import (
    CONTROL,
    KINDS,
    Accusation,
    BranchFounding,
    Bundle,
    CertifiedRelease,
    Consent,
    Draft,
    Opening,
    Presence,
    Proposal,
    State,
    Trial,
    Update,
    Vote,
)
from banyan.protocol.mixing import Mixer
from banyan.protocol.paths import parent_of, path_to
from banyan.protocol.pin import Pin
from banyan.protocol.probes import Probes
from banyan.protocol.reader import Reader
from banyan.protocol.records import (
    Added,
    Record,
    Records,
    archive_topic,
    committee_topic,
    mixing_topic,
    occasion_of,
    presence_topic,
)
from banyan.protocol.release import ChildHead, Release, Seat
from banyan.protocol.revision import name_of
from banyan.protocol.season import Season, is_turn
from banyan.protocol.signs import Signs
from banyan.protocol.suggestions import Suggestions
from banyan.protocol.sync import room_in
from banyan.protocol.tree import Tree
from banyan.security import canonical
from banyan.security.admission import Reason, UpdateRefused
from banyan.security.charter import Charter, Probe
from banyan.security.credential import Credential
from banyan.security.envelope import Envelope
from banyan.security.errors import Refused
from banyan.security.evidence import Evidence, EvidenceRefused
from banyan.security.identity import Signer, Verifier, verify
from banyan.security.model import MOST_SEASONS
from banyan.security.revocation import Revocation, check_revocation, revoke
from banyan.security.schema import from_plain

__all__ = ["Peer", "PeerSettings"]

OF_ALL: Final = (Accusation, Revocation, Season, BranchFounding, Consent, Card)
"""Records that concern everybody, whatever branch they work on."""

OF_A_ROUND: Final = (Update, Draft, Trial, Proposal, Vote)
"""Records that serve to close one round of a branch."""

ARCHIVED_ROUNDS: Final = 3
"""Closed rounds whose updates are kept for auditors."""


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """What a device's owner has chosen.

    Args:
        branch: the branch this node works on.
        credential: its membership.
        addresses: where others reach it (multiaddrs); may change by the ``addresses`` command.
        trains: whether it has data and takes part in every round as a learner.
        target_height: stop training when the branch has this many releases (under gossip: this node this many steps
            behind it); None: go on.
        follows: branches that it follows besides, to learn from their models.
        neighbours: the only nodes to mix models with, for experiments on a given graph; None: chosen by kinship.
    """

    branch: str
    credential: Credential
    addresses: tuple[str, ...] = ()
    trains: bool = False
    target_height: int | None = None
    follows: tuple[Path, ...] = ()
    neighbours: tuple[NodeId, ...] | None = None


class Peer:
    """The sans-I/O core of one node.

    Args:
        charter: the network's founding document.
        signer: this node's key.
        settings: its owner's choices.
        rng: the only source of randomness (whom to gossip with); seeded by the driver.
        verifier: checks signatures; the simulator may pass a fast fake.
        reader: opens messages with ``verifier``; the simulator's nodes share one, else each makes its own.
    """

    def __init__(
        self,
        charter: Charter,
        signer: Signer,
        settings: PeerSettings,
        rng: random.Random,
        verifier: Verifier = verify,
        reader: Reader | None = None,
    ) -> None:
        self.charter = charter
        self.me: NodeId = signer.node_id
        self.now = 0
        self.records = Records()
        self.branch: Path = settings.branch
        """The branch that this node works on."""
        self.members = Members(charter, verifier)
        self.quarantined: Mapping[str, Reason] = self.members.quarantined
        self.refusals: Counter[str] = Counter()
        self.branches: dict[str, Branch] = {}
        self._settings = settings
        self._signer = signer
        self._rng = rng
        self._verify = verifier
        self._network = charter.network_id
        self._reader = reader or Reader(self._network, verifier, max_bytes=charter.limits.message_bytes)
        self._out: list[Effect] = []
        self._longest_record = room_in(charter.limits.message_bytes)
        self.growth = Growth(self, settings.branch, settings.credential, self._tree_grew)
        self.dormancy = Dormancy(self, settings.branch)
        self.tree: Tree = self.growth.tree
        """The branches of the network, as far as this node knows."""
        self.members.branches = self.tree
        self.following = Following(self, settings.follows, rng)
        self.gossip = Gossip(self, self.following, signer, self._reader, rng)
        self._signs = Signs(charter, self.me, self.members)
        self._blobs: set[Digest] = set()
        self.amnesia = Amnesia(self, settings.credential.issued)
        self.adapters = Adapters(self, rng)
        self.probes = Probes(self)
        self.learner = Learner(
            self, settings.branch, settings.credential, settings.trains, settings.target_height
        )
        self.mixer = Mixer(self, settings.branch, settings.credential, self.learner, settings.neighbours)
        self.lineage = Lineage(self, settings.branch)
        self.pin = Pin(self, settings.branch)
        self.catalog = Catalog(self, settings.branch, settings.credential)
        self.suggestions = Suggestions(charter.round.f, self.tell)
        self._auditor = Auditor(self)
        self.founding = Founding(self, self._open)
        self.season = 0
        """The newest season that a root key has opened; a branch may not have turned to it yet, or be in a later one
        that the topmost branch of its base model has opened."""
        self.is_restoring = False
        self._has_past = True
        self._tidied = 0
        self._sync_due = 0
        self.following.look_around()

    # ============================================================================= the driver's side

    def restore(self, records: Iterable[bytes], state: Mapping[str, bytes]) -> None:
        """Take up a past from disk. Call once, before :class:`Started`; emits nothing.

        Records that no longer verify are ignored: a disk is not trusted more than a peer.
        """
        self.gossip.sealer.restore(_integer(state.get("seq")))
        self.amnesia.restore(_integer(state.get(ANEW)))
        self.is_restoring = True
        self.learner.restore(state)
        self.mixer.restore(state)
        self.pin.restore(state)
        kept: list[Record] = []
        for data in records:
            try:
                kept.append(self.read(data))
            except Refused:
                self.refusals["bad-record-on-disk"] += 1
        self._has_past = bool(kept)
        for record in kept:
            if isinstance(record.body, Accusation | Revocation | Season):
                self._restore_one(record)
        for kind in (BranchFounding, Consent):
            for record in kept:
                if isinstance(record.body, kind):
                    self._restore_one(record)
        certified = [r for r in kept if isinstance(r.body, Opening | CertifiedRelease)]
        for record in sorted(certified, key=_place_of):  # a seat at a parent makes us follow its children
            if record.topic in self.branches:
                self._restore_one(record)
        self._restore_seats(certified)
        for record in kept:
            body = record.body
            if isinstance(body, OF_A_ROUND) and body.branch in self.branches:
                self.records.add(record)
                if body.height <= self.branches[body.branch].chain.height:
                    self.records.archive(record)
            elif isinstance(body, State):
                self.records.add(record)
            elif isinstance(body, Card):
                self._restore_card(record)
        self.is_restoring = False
        self._out.clear()

    def handle(self, event: InputEvent, now: int) -> list[Effect]:
        """What to do about ``event`` at time ``now`` (ms), in order. Never raises for anything a peer sent."""
        self.now = max(self.now, now)
        match event:
            case MessageReceived():
                self._receive(event.sender, event.data)
            case TimerFired():
                self._timer(event.key)
            case BlobFetched():
                if event.error is None:
                    self._blobs.add(event.digest)
                for branch in [*self.branches.values()]:
                    branch.blob_fetched(event.digest, event.error)
                self.probes.blob_fetched(event.digest)
                self.mixer.blob_fetched(event.digest, event.error)
                self.pin.blob_fetched(event.digest, event.error)
                self.learner.train_if_due()
            case Inspected():
                self._blobs.add(event.digest)
                for branch in [*self.branches.values()]:
                    branch.inspected(event)
                self.mixer.inspected(event)
            case Aggregated():
                self._blobs |= {event.change, event.adapter, event.lift, event.lifted} - {b""}
                self._auditor.computed(event)
                self.suggestions.computed(event)
                if event.branch in self.branches:  # or we worked on another branch when we asked for it
                    self.branches[event.branch].aggregated(event)
            case Evaluated():
                if event.probe_refusal:
                    self.probes.refused(event.branch, event.probe_refusal)
                if event.branch in self.branches:
                    self.branches[event.branch].evaluated(event)
            case Mixed():
                self._blobs.add(event.adapter)
                self.mixer.mixed(event)
            case Trained():
                self._blobs.add(event.blob)
                if event.base:
                    self.learner.trained(event)
                else:
                    self.mixer.trained(event)
            case JobFailed():
                self._job_failed(event)
            case PeerConnected():
                self.gossip.connected(event.peer)
            case PeerLost():
                self.gossip.followers.disconnect(event.peer)
            case Command():
                self._command(event)
            case Started():
                self._start()
        self._auditor.go_on()
        self.following.tidy()
        out, self._out = self._out, []
        return out

    # ============================================================================= the branches' side

    def do(self, effect: Effect) -> None:
        self._out.append(effect)

    def tell(self, event: Event) -> None:
        self._out.append(Emit(event))

    def has_blob(self, digest: Digest) -> bool:
        return digest in self._blobs

    def adapters_above(self, path: str) -> tuple[Digest, ...]:
        """What the model of ``path`` builds on: the newest adapters that are here of the branches above with its base
        model."""
        path_above = self.charter.model_path(path)[:-1]
        above = (self.branches[each].newest_held() for each in path_above if each in self.branches)
        return tuple(blob for release in above if release is not None for blob, _ in release.handed_down)

    def check_member(self, node: str, branch: str, credential: Credential) -> None:
        self.members.check_credential(node, branch, credential, self.now)

    def open_envelope(self, data: bytes) -> Envelope:
        return self._reader.open(data)

    def read(self, data: bytes) -> Record:
        return self._reader.record(self._reader.open(data))

    def publish(self, message: object, *, push: bool = True) -> Record:
        """Sign ``message`` as a record, keep it, and push it to whom it concerns; not ``push``: others do, and we only
        pass it on to those who expect it from us."""
        record = self._reader.record(self.gossip.seal(message))
        self._keep(record)
        self.gossip.push(record, begins=push)
        return record

    def ask_for(self, topic: str, record_ids: Iterable[bytes], of: str) -> None:
        """Ask one peer for records by their ids."""
        self.gossip.ask_for(topic, record_ids, of)

    def compare_with(self, peer: NodeId) -> None:
        """See to it that ``peer`` and we hold the same."""
        self.gossip.compare_with(peer)

    def ask_for_releases(self, path: Path, above: int, of: NodeId) -> None:
        """Ask one peer for the releases of a branch that are higher than ``above``."""
        self.gossip.ask_for_releases(path, above, of)

    def probe_of(self, path: str) -> Digest | None:
        """The probe set of a branch, once it is here; None where there is none or it cannot be read."""
        return self.probes.of(path)

    def awaits_probe(self, path: str) -> bool:
        """Whether the probe set of a branch may be on its way."""
        return self.probes.awaits(path)

    def quoted(self, path: str) -> ChildHead | None:
        """The release of a branch that we begin its history with, where we follow it for its parent's sake."""
        return self.following.quoted(path)

    def children_of(self, path: str) -> tuple[str, ...]:
        """The branches right below ``path`` whose releases it can count: those on the same base model."""
        return self.charter.branches_like(path, self.tree.children_of(path))

    def caretakers(self, path: str) -> tuple[Seat, ...]:
        """Who closes the first rounds of a branch that was founded."""
        return self.growth.caretakers(path)

    def is_asleep(self, path: str) -> bool:
        """Whether nobody has been on a branch for long."""
        return path in self.dormancy.asleep

    def _tree_grew(self, new: Iterable[str]) -> None:
        """There are new branches."""
        self.mixer.tree_grew(self.tree)
        self.following.tree_grew(new)
        self.gossip.followers.moved()

    def told_open(self, path: Path) -> None:
        """Another node says that ``path`` is open, and we know of no opening."""
        self.founding.told_open(path)

    def _open(self, first: Opening) -> None:
        self._take(self.publish(first))

    def quarantine(self, node: str, why: Reason, evidence: bytes) -> None:
        """Shut ``node`` out: the caller holds proof, or has seen it with its own sums. If it is this very node, its
        owner should know."""
        if not self.members.quarantine(node, why):
            return
        self.tell(NodeQuarantined(node, why.value, evidence.hex()))
        for branch in [*self.branches.values()]:
            branch.member_shut_out()
        if not self.is_restoring:
            self.mixer.go_on()

    def head_moved(self, head: Release) -> None:
        """A branch has a new head: forget its closed round, fetch its adapter, tell its parent, train on."""
        path = head.branch
        above = parent_of(path)
        self.gossip.followers.moved()
        self.members.worked(head.authors, head.time)
        if above in self.branches and self.charter.is_alike(above, path):
            self.branches[above].child_moved(head)
            if not self.is_restoring:
                self.branches[above].look_again()
        self.following.head_moved(path)
        self.growth.head_moved()
        self.dormancy.head_moved(path)
        if self.is_restoring:
            return
        self.suggestions.released(head)
        self._archive(path, head.height)
        self.adapters.fetch(path)
        self.probes.fetch(path)
        if path == self.branch:
            self.mixer.head_moved()
            self.learner.settle(head)
        self.learner.train_if_due()
        if is_turn(head) and self.is_topmost(path):
            for branch in [*self.branches.values()]:
                branch.look_again()

    # ============================================================================= seasons

    def opened_season(self, path: str) -> int:
        """The newest season that is open to a branch, as far as this node knows."""
        head = self.branches[self._topmost(path)].chain.head
        return self.season if head is None else max(self.season, head.season)

    def is_topmost(self, path: str) -> bool:
        """Whether no branch above that is built on the same base model is open: the one to open a season."""
        return self._topmost(path) == path

    def _topmost(self, path: str) -> str:
        """The topmost open branch whose base model a branch has; itself where none is."""
        way = (each for each in self.charter.model_path(path) if each in self.branches)
        return next((each for each in way if self.branches[each].chain.head is not None), path)

    def heads_below(self, path: str) -> list[Release]:
        """The heads of the open branches right below, of which nobody is known to sleep."""
        below = (self.branches.get(each) for each in self.children_of(path) if not self.is_asleep(each))
        heads = (branch.chain.head for branch in below if branch is not None)
        return [head for head in heads if head is not None]

    def newest_season(self) -> int:
        """The newest season that any branch that this node follows is in or may turn to."""
        heads = (branch.chain.head for branch in self.branches.values())
        return max([self.season, *(head.season for head in heads if head is not None)])

    # ============================================================================= messages

    def _receive(self, sender: NodeId, data: bytes) -> None:
        if self._holds(data):
            return  # gossip brings most things several times; the second is free
        try:
            envelope = self.open_envelope(data)
            if envelope.kind in CONTROL:
                self.gossip.answer(sender, envelope)
            else:
                self._offer(envelope, sender)
        except NotNow:
            self.compare_with(sender)
        except Refused as refusal:
            self._refused(sender, refusal)

    def _holds(self, data: bytes) -> bool:
        return self._reader.id_of(data) in self.records

    def _refused(self, sender: str, refusal: Refused) -> None:
        self.refusals[refusal.reason] += 1
        self.tell(MessageRefused(sender, refusal.reason, refusal.what))

    def is_member(self, node: NodeId) -> bool:
        """Whether somebody has vouched for ``node``, as far as this node knows."""
        if node in self.members.shown or node in self.charter.roots:
            return True
        heads = (branch.chain.head for branch in self.branches.values())
        return any(node in head.members for head in heads if head is not None)

    def meet(self, presence: bytes, sender: NodeId) -> None:
        """Take in the sign of life that ``sender`` shows of itself. Raises ``Refused``."""
        if self._holds(presence):
            return
        envelope = self.open_envelope(presence)
        if envelope.kind != "presence" or envelope.author != sender:
            raise Refused("forwarded", "A node shows something that is not its own sign of life")
        self._offer(envelope, sender)

    def unpack(self, bundle: Bundle, sender: NodeId) -> None:
        """Take in what another node has brought, and ask for more if there may be."""
        heights = {path: branch.chain.height for path, branch in self.branches.items()}
        not_now = False
        for data in bundle.records:
            try:
                if not self._holds(data):
                    self._offer(self.open_envelope(data), sender)
            except NotNow:
                not_now = True
            except Refused as refusal:
                self._refused(sender, refusal)
        gains = {
            path: self.branches[path].chain.height - height
            for path, height in heights.items()
            if path in self.branches
        }
        for path, gained in gains.items():
            if gained > 1:
                self.tell(CaughtUp(path, self.branches[path].chain.height, gained))
        gained = max(gains.values(), default=0)
        if not_now or gained:
            self.gossip.found_gap()
            self.gossip.compare_with(
                sender, again=gained > 1
            )  # there may be more, and a seat that we did not know of

    def _offer(self, envelope: Envelope, sender: NodeId) -> None:
        """Check a record, keep it, act on it, pass it on. Raises ``Refused`` or NotNow."""
        if envelope.time > self.now + self.charter.limits.clock_skew:
            raise Refused("future", "The message is from the future: check the clocks")
        if len(envelope.data) > self._longest_record:
            raise Refused(
                "too-long", "The record would not fit into the bundle that brings it to a latecomer"
            )
        record = self._reader.record(envelope)
        if self._auditor.take(record):
            return
        if isinstance(record.body, Presence):
            if not self.following.meets(record.body.branch):
                if sender == envelope.author:
                    self._check(record)  # who is a member of another branch is no stranger
                return
        elif not isinstance(record.body, OF_ALL) and record.slot[1] not in self.branches:
            return  # of a branch that is no concern of ours
        if isinstance(record.body, State) and record.body.branch not in self.mixer.branches:
            return
        if isinstance(record.body, Accusation) and not self.is_member(record.body.culprit):
            return  # anybody can make keys and have them cheat; sync brings it again once it matters
        if self.records.marked(record.topic, record.mark) is not None:
            return  # the same in other words: a release under another quorum's signatures
        if self._signs.is_old(record, self.now) or self._signs.is_too_lively(record, self.now):
            return
        if isinstance(record.body, Vote) and self.branches[record.body.branch].is_late(record.body):
            return  # its sender knows as well as we do, or will in a moment
        if isinstance(record.body, CertifiedRelease):
            branch = self.branches[record.body.release.branch]
            if branch.begins_with(record.body):
                branch.take(
                    record
                )  # whether its signers were the committee we cannot tell: it is not passed on
                return
        self._check(record)
        added, standing = self._keep(record)
        if added is Added.NEW:
            self.gossip.push(record, but=(sender, envelope.author))
            self._take(record)
        elif added is Added.CONFLICT and standing is not None:
            self._accuse(standing, record)

    def _check(self, record: Record) -> None:
        body, author = record.body, record.envelope.author
        match body:
            case Presence():
                self.check_member(author, body.branch, body.credential)
                if author in self.quarantined:
                    raise Refused("quarantined", "The node is shut out")
                if self._signs.is_guests(record):
                    self.members.welcome(author, body.branch, self.now)
            case State():
                self.mixer.neighbourhood.check(record, body)
            case Accusation():
                self._prove(body)
            case Revocation():
                check_revocation(body, self.charter, verify=self._verify)
            case Season():
                if author not in self.charter.roots:
                    raise Refused("not-root", "Only a root key opens a season")
            case Card():
                self.catalog.check(record)
            case BranchFounding() | Consent():
                self.growth.check(record, known=self.is_restoring)
            case Update() | Draft() | Trial() | Proposal() | Vote():
                if isinstance(body, Update):
                    self.branches[body.branch].make_way(record)
                standing = self.records.at(*record.slot)
                if standing is None or standing.body == body:
                    self.branches[body.branch].check(record)
            case Opening() | CertifiedRelease():
                self.branches[body.release.branch].check(record)

    def _take(self, record: Record) -> None:
        body, author = record.body, record.envelope.author
        match body:
            case Presence():
                self.dormancy.met(body.branch)
                if self.members.seen(record):
                    if not self._signs.is_guests(record):  # or a crowd could put off the opening for good
                        self._newcomer_met(body.branch)
                    self.tell(MemberJoined(body.branch, author))
            case State():
                self.mixer.take(record, body)
            case Accusation():
                self.quarantine(body.culprit, Reason.EQUIVOCATION, record.id)
            case Revocation():
                self.members.revoked.add(body.subject)
                self.quarantine(body.subject, Reason.REVOKED, record.id)
            case Season():
                self._season_opened(body)
            case BranchFounding() | Consent():
                self.growth.take(record)
            case Update() | Draft() | Trial() | Proposal() | Vote():
                self.branches[body.branch].take(record)
            case Opening() | CertifiedRelease():
                self.branches[body.release.branch].take(record)

    def _newcomer_met(self, path: str) -> None:
        self.founding.met(path)
        soon = self.founding.soon(path)
        if soon is not None and self._sync_due > self.now + soon:
            self._sync_in(soon)

    def _season_opened(self, opened: Season) -> None:
        if opened.number <= self.season:
            return
        self.season = opened.number
        if not self.is_restoring:
            self.tell(SeasonOpened(opened.number))
            for branch in [*self.branches.values()]:
                branch.look_again()

    def _keep(self, record: Record) -> tuple[Added, Record | None]:
        added, standing = self.records.add(record)
        if added is Added.NEW and self._is_for_disk(record):
            self.do(PutRecord(record.id, record.envelope.data))
            if standing is not None:
                self.do(DropRecords((standing.id,)))
        return added, standing

    def _is_for_disk(self, record: Record) -> bool:
        """Signs of life, and where others' models stand, are said again; the rest must survive us."""
        ours = record.envelope.author == self.me
        return not isinstance(record.body, Presence) and (ours or not isinstance(record.body, State))

    def _archive(self, path: str, height: int) -> None:
        """Forget what closed rounds no longer need at once, their updates and trials after a few rounds more."""
        topic, oldest = committee_topic(path), height - ARCHIVED_ROUNDS
        for record in self.records.of(topic):
            if isinstance(record.body, Update | Trial) and record.body.height <= height:
                self.records.archive(record)
        gone = self.records.drop_where(
            topic,
            lambda record: isinstance(record.body, Draft | Proposal | Vote) and record.body.height <= height,
        )
        gone += self.records.drop_where(
            archive_topic(path),
            lambda record: isinstance(record.body, Update | Trial) and record.body.height <= oldest,
        )
        if gone:
            self.do(DropRecords(tuple(record.id for record in gone)))

    def _restore_card(self, record: Record) -> None:
        try:
            self.catalog.restore(record)
        except Refused:
            self.refusals["bad-record-on-disk"] += 1

    def _restore_one(self, record: Record) -> None:
        try:
            self._check(record)
        except NotNow:
            return  # it follows on something that we never kept, or is of a branch we left
        except Refused:
            self.refusals["bad-record-on-disk"] += 1
            return
        if self.records.add(record)[0] is Added.NEW:
            self._take(record)

    def _restore_seats(self, certified: Iterable[Record]) -> None:
        """Take up the founded branches that we follow only because we are among their caretakers."""
        paths = {record.topic for record in certified} & self.tree.founded.keys() - self.branches.keys()
        for path in sorted(path for path in paths if parent_of(path) in self.branches):
            self.branches[path] = Branch(path, self)
            for record in sorted(certified, key=_place_of):
                if record.topic == path:
                    self._restore_one(record)
            if not self.following.has_reason(path):  # we worked there once: what is on the disk may stay
                del self.branches[path]
                self.records.drop_branch(path)
        self.following.leave()

    # ============================================================================= cheats

    def _accuse(self, standing: Record, record: Record) -> None:
        """One author, one slot, two contents: make it known."""
        culprit = record.envelope.author
        if standing.envelope.author != culprit or self.records.at("accusation", culprit) is not None:
            return
        if not self.is_member(
            culprit
        ):  # keys are free: a quarantine costs a guest nothing, and us its memory
            raise UpdateRefused(Reason.EQUIVOCATION)
        accusation = Accusation(culprit, Evidence.of(standing.envelope, record.envelope))
        try:
            self._prove(accusation)
            made = self.publish(accusation)
            self._take(made)
        except Refused as refusal:  # not provable, or too long to send: we know, others will find out
            if not isinstance(refusal, EvidenceRefused):
                self.quarantine(culprit, Reason.EQUIVOCATION, record.id)

    def _prove(self, accusation: Accusation) -> None:
        culprit = accusation.evidence.prove(network=self._network, slot_of=_occasion_of, verify=self._verify)
        if culprit != accusation.culprit:
            raise Refused("false-accusation", "The evidence is against another node")

    # ============================================================================= time

    def _start(self) -> None:
        self.gossip.sealer.start(self.now)
        self.founding.start()
        if not self._has_past:
            self.amnesia.begin()
        for path in sorted(self.branches):
            self.branches[path].resume()
            self.adapters.fetch(path)
        self.pin.fetch()
        self.probes.fetch_all()
        self._show_presence()
        self._sync_once()
        self.learner.train_if_due()
        self.mixer.go_on()

    def _timer(self, key: str) -> None:
        name, *arguments = key.split("|")
        if name == "presence":
            self._presence_due()
        elif name == "sync":
            self._sync_once()
        elif name == "train":
            self.learner.retry()
            self.mixer.retry()
        elif name == "open":
            self.founding.open(arguments[0])
        elif name == "speak":
            self.founding.speak()
        elif name == "mix":
            self.mixer.timed_out(int(arguments[0]))
        elif arguments and arguments[0] in self.branches:
            self.branches[arguments[0]].timer(name, arguments[1:])

    def _show_presence(self) -> None:
        gossip = self.charter.gossip
        self.members.seen(self.publish(self._presence()))
        jitter = self._rng.randrange(1 + gossip.presence_interval // 4)
        self.do(SetTimer("presence", self.now + gossip.presence_interval - jitter))

    def _presence_due(self) -> None:
        """Show that we live, unless a release that counted our work has told everybody: it does not get lost, so it
        is good for half a lifetime."""
        silent = self.members.last_sign(self.me, 0) + self.charter.gossip.presence_lifetime // 2
        if self.now < silent:
            self.do(SetTimer("presence", silent))
        else:
            self._show_presence()

    def _presence(self) -> Presence:
        return Presence(self.branch, self._settings.credential, self._settings.addresses[:8])

    def _sync_once(self) -> None:
        """Compare with a neighbour, say again what only we may say, ask again for what we lack; tidy up."""
        self.dormancy.look_around()
        self.gossip.compare_with_some(self._is_settled())
        if self.learner.may_have_spoken:
            self.gossip.compare_with(self._rng.choice(self.branches[self.branch].chain.committee))
        self._tidy()
        self._say_again()
        for path, branch in [*self.branches.items()]:
            if not self.is_asleep(path):
                branch.retry()
        self.mixer.go_on()
        for path in self.adapters.missing():
            self.adapters.fetch(path, again=True)
        self.following.ask_for_children()
        self.pin.fetch()
        self.probes.fetch_all()
        self.founding.go_on()
        self._sync_in(self.charter.gossip.sync_interval)

    def _sync_in(self, interval: int) -> None:
        """Set the time of the next sync, at most ``interval`` ms from now: not all nodes at once."""
        self._sync_due = self.now + interval - self._rng.randrange(1 + interval // 4)
        self.do(SetTimer("sync", self._sync_due))

    def _tidy(self) -> None:
        """Forget what is old, once in as long as a sign of life takes to become that."""
        if self.now < self._tidied + self.charter.gossip.presence_interval:
            return
        self._tidied = self.now
        self.members.tidy(self.now)
        topics = [*map(presence_topic, self.branches), *map(mixing_topic, self.mixer.branches)]
        for topic in topics:
            self.records.drop_where(topic, self._is_forgotten)
        self._blobs &= self.keep()

    def _is_settled(self) -> bool:
        """Whether this node waits for nothing that a comparison could bring."""
        if self.mixer.is_active or self.founding.waits():
            return False
        return not (self.adapters.missing() or self._is_overdue() or self._seat_waits())

    def _is_overdue(self) -> bool:
        """Whether our update has waited for its release for a sync interval: either may have got lost on its way."""
        own = self.learner.update
        return own is not None and self.now - own.envelope.time >= self.charter.gossip.sync_interval

    def _seat_waits(self) -> bool:
        """Whether a round that we are to close has been open for longer than a sync interval."""
        since = self.now - self.charter.gossip.sync_interval
        rounds = (branch.round for branch in self.branches.values() if branch.on_committee)
        return any(each is not None and (each.opened or self.now) < since for each in rounds)

    def _is_forgotten(self, record: Record) -> bool:
        return self._signs.is_forgotten(record, self.now)

    def _say_again(self) -> None:
        own = self.learner.update
        if own is not None and self._is_overdue() and not self.branches[self.branch].on_committee:
            self.gossip.push(own)

    # ============================================================================= jobs and wishes

    def _job_failed(self, event: JobFailed) -> None:
        self.tell(JobFailedEvent(event.kind, event.branch, event.height, event.reason))
        if self.mixer.failed(event):
            return
        if event.kind == "train":
            self.learner.failed()
            return
        self._auditor.failed(event)
        if event.kind == "evaluate":
            if event.branch in self.branches:
                self.branches[event.branch].evaluation_failed(event.job)
        elif event.branch in self.branches:
            self.branches[event.branch].aggregation_failed(event.job, event.reason)

    def _command(self, command: Command) -> None:
        """Carry out a wish of the owner: ``train`` (rounds), ``target`` (height), ``pause``, ``addresses``
        (comma-separated), ``revoke`` (subject, why), ``season``, ``audit`` (branch, height),
        ``checkout`` (release, or None for the head), ``describe`` (sheet of a model card), ``found`` (branch,
        description, probe, probe_size), ``agree`` (branch), ``leave``.

        Raises:
            Refused, ValueError: it cannot be granted.
        """
        arguments = command.arguments
        if command.name == "train":
            rounds = arguments.get("rounds")
            self._aim(True, self._reached + int(rounds) if rounds is not None else None)
        elif command.name == "target":
            self._aim(self.learner.trains, int(arguments["height"] or 0))
        elif command.name == "pause":
            self._aim(False, None)
        elif command.name == "addresses":
            addresses = tuple(filter(None, str(arguments["addresses"]).split(",")))
            if addresses != self._settings.addresses:
                self._settings = replace(self._settings, addresses=addresses)
                self._show_presence()
        elif command.name == "revoke":
            subject, why = str(arguments["subject"]), str(arguments.get("why") or "")
            signed = revoke(self._signer, self.charter, subject=subject, why=why, now=self.now)
            self._take(self.publish(signed))
        elif command.name == "season":
            self._take(self.publish(self.next_season()))
        elif command.name == "audit":
            self._auditor.begin(str(arguments["branch"]), int(arguments["height"] or 0))
        elif command.name == "checkout":
            self._check_out(arguments["release"])
        elif command.name == "describe":
            self.catalog.describe(str(arguments["sheet"]))
        elif command.name in ("found", "agree"):
            self._grow(command)
        elif command.name == "leave":
            self.publish(replace(self._presence(), left=True))
        else:
            raise ValueError(f"unknown command {command.name!r}")

    def _grow(self, command: Command) -> None:
        """Found a branch or agree to one. Whether it could be was told to the owner before; what came in between is
        said in the event."""
        path = str(command.arguments["branch"])
        try:
            if command.name == "agree":
                self.growth.agree(path)
            else:
                digest, size = command.arguments.get("probe"), int(command.arguments.get("probe_size") or 0)
                probe = Probe(path, bytes.fromhex(str(digest)), size) if digest else None
                self.growth.found(path, str(command.arguments.get("description") or ""), probe)
        except Refused as refusal:
            self._refused(self.me, refusal)

    def _check_out(self, revision: object) -> None:
        """Pin this device to a release of its branch, or (None) let it use the head again."""
        if revision is None:
            self.pin.let_go()
        else:
            self.pin.hold(parts_of(self.lineage.path_of(self.pinnable(str(revision)))))

    def _aim(self, trains: bool, target: int | None) -> None:
        self.learner.aim(trains, target)
        self.mixer.go_on()

    @property
    def _reached(self) -> int:
        """How far this node's branch has come, or under gossip the node itself."""
        height = max(0, self.branches[self.branch].chain.height)
        return self.mixer.steps if self.mixer.is_rule else height

    # ============================================================================= questions

    @property
    def model(self) -> tuple[Digest, ...]:
        """The blobs whose sum is the model that this node serves and exports: the one it is pinned to, its own where it
        mixes, else the adapters of the heads along its path. Those of heads may still be on their way."""
        if self.mixer.is_active and not self.pin.parts:
            return self.mixer.model
        return blobs_of(self.parts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The releases that :attr:`model` is the sum of where it does not come from mixing, from where the
        base model begins down."""
        return self.pin.parts or parts_of(self.lineage.heads(self.branch))

    def pinnable(self, revision: str) -> Release:
        """The release that ``revision`` names, if this node can be pinned to it.

        Raises:
            RevisionRefused: it names none, or several.
            Refused: ``other-branch``: it is not of the branch that this node works on.
        """
        release = self.lineage.find(revision)
        if release.branch != self.branch:
            raise Refused(
                "other-branch",
                f"{name_of(release)} is a release of another branch than {self.branch}, on which this node works",
                f"Choose one from `banyan log {self.branch}`",
            )
        return release

    def next_season(self) -> Season:
        """The season that comes next. Raises ``Refused`` with a sentence where this node cannot open it."""
        if self.me not in self.charter.roots:
            raise Refused("not-root", "Only a root key opens a season")
        if self.charter.round.coordination == "gossip":
            raise Refused("no-releases", "Without committees there are no releases that could begin a season")
        if self.newest_season() + 1 >= MOST_SEASONS:
            raise Refused(
                "last-season", f"A network has {MOST_SEASONS} seasons at most, and this is the last"
            )
        return Season(self.newest_season() + 1)

    def history(self, path: str, newest: int | None = None) -> list[dict[str, object]]:
        """The ``newest`` certified releases of a branch (None: all), oldest first, JSON-ready."""
        return self.lineage.pages(path, newest)

    def keep(self) -> set[Digest]:
        """Blobs that must stay in the store: heads, the running round's and archived updates, what we carry."""
        kept = self.learner.keep() | self.mixer.keep() | self._auditor.keep() | self.pin.keep()
        kept |= self.tree.probes_by(self.me)
        for path, branch in self.branches.items():
            kept |= branch.keep()
            probe = self.tree.probe_of(path)
            kept |= {probe.digest} if probe is not None else set()
            for topic in (committee_topic(path), archive_topic(path)):
                kept.update(r.body.blob for r in self.records.each(topic) if isinstance(r.body, Update))
        return kept

    def known_addresses(self) -> dict[NodeId, tuple[str, ...]]:
        """Where members say they are reached."""
        return {member.node: member.addresses for member in self.members if member.addresses}


def _occasion_of(kind: str, body: dict[str, canonical.Plain]) -> tuple[str | int, ...] | None:
    """What a message of this kind may be the only one about, for the kinds that have such a thing."""
    return occasion_of("", from_plain(KINDS[kind], body)) if kind in KINDS else None


def _place_of(record: Record) -> tuple[int, int]:
    """Depth and height of a certified release."""
    assert isinstance(record.body, Opening | CertifiedRelease)
    return len(path_to(record.body.release.branch)), record.body.release.height


def _integer(data: bytes | None) -> int:
    value = canonical.decode(data, max_bytes=16) if data else 0
    return value if isinstance(value, int) else 0
