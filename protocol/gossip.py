"""How records travel: pushed once to those whom they concern, and compared with one peer after another.

Push may fail; comparing (:mod:`~banyan.protocol.sync`) is the guarantee.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from banyan.protocol.card import Card
from banyan.protocol.effects import Effect, NodeId, Path, Send
from banyan.protocol.followers import Followers
from banyan.protocol.followers import Host as FollowersHost
from banyan.protocol.following import Following
from banyan.protocol.messages import (
    KINDS,
    Bundle,
    CertifiedRelease,
    Inventory,
    Opening,
    Presence,
    State,
    Summary,
    Want,
)
from banyan.protocol.paths import parent_of
from banyan.protocol.reader import Reader
from banyan.protocol.records import MARK_BYTES, NETWORK_TOPIC, Record, Records
from banyan.protocol.relay import Relay
from banyan.protocol.release import Release
from banyan.protocol.replay import ReplayGuard
from banyan.protocol.sealing import Sealer
from banyan.protocol.sync import NO_RELEASES, Sync
from banyan.security.admission import Reason
from banyan.security.envelope import Envelope
from banyan.security.errors import Refused
from banyan.security.identity import Signer

__all__ = ["Gossip", "Host"]

GUEST_MESSAGES: Final = 32
"""Messages of one guest that are answered between two syncs of our own: enough to catch up, too few to keep us busy."""

LONGEST_PAUSE: Final = 4
"""Sync intervals between two comparisons of a node that misses nothing."""


class Host(FollowersHost, Protocol):
    """What gossip needs of the node it speaks for."""

    records: Records

    @property
    def branch(self) -> Path: ...
    def do(self, effect: Effect) -> None: ...
    def meet(self, presence: bytes, sender: NodeId) -> None: ...
    def unpack(self, bundle: Bundle, sender: NodeId) -> None: ...
    def told_open(self, path: Path) -> None: ...


class Gossip:
    """One node's part in it.

    Args:
        host: the node.
        following: what it follows.
        signer: its key.
        reader: reads what others say.
        rng: draws whom to talk to.
    """

    def __init__(
        self, host: Host, following: Following, signer: Signer, reader: Reader, rng: random.Random
    ) -> None:
        self._host = host
        self._charter = host.charter
        self._reader = reader
        self._rng = rng
        self.sealer = Sealer(signer, host.charter, reader, host.do)
        self.followers = Followers(host, rng)
        self._relay = Relay(host)
        limits = host.charter.limits
        self._sync = Sync(
            host.records,
            following.topics,
            self._head_of,
            limits.message_bytes,
            following.start_of,
            following.asleep,
        )
        self._guard = ReplayGuard(limits.clock_skew)
        self._asked_lately: dict[NodeId, int] = {}
        self._told_after: dict[tuple[NodeId, str], int] = {}
        self._talkative: Counter[NodeId] = Counter()
        self._mixes = host.charter.round.coordination == "gossip"
        self._found_gap = False
        self._pause = 1
        self._skip = 0

    # ------------------------------------------------------------------------------------ speaking

    def seal(self, message: object) -> Envelope:
        """Sign ``message``."""
        return self.sealer.seal(message, self._host.now)

    def ask_for(self, topic: str, record_ids: Iterable[bytes], of: NodeId) -> None:
        """Ask one peer for records by their ids; nothing is asked of ourselves, or for nothing."""
        marks = tuple(sorted(record_id[:MARK_BYTES] for record_id in record_ids))
        if of != self._host.me and marks:
            self._say(Want(topic, marks, NO_RELEASES), of)

    def ask_for_releases(self, path: Path, above: int, of: NodeId) -> None:
        """Ask one peer for the releases of a branch that are higher than ``above``."""
        if of != self._host.me:
            self._say(Want(path, (), above), of)

    def connected(self, peer: NodeId) -> None:
        """A connection with ``peer`` stands: see to it that both hold the same, and that it knows us."""
        self.followers.connect(peer)
        if not self.compare_with(peer):
            shown = self._presence()
            if shown:
                self._host.do(Send((peer,), shown))

    def _presence(self) -> bytes:
        """Our sign of life: members answer members only."""
        shown = self._host.records.at("presence", self._host.branch, self._host.me)
        return b"" if shown is None else shown.envelope.data

    def _is_known_to(self, peer: NodeId) -> bool:
        """Whether one roster names us both. What else ``peer`` knows of us we cannot tell: what we showed it may have
        got lost."""
        head = self._head_of(self._host.branch)
        return head is not None and head.members >= {peer, self._host.me}

    def _say(self, message: object, to: NodeId) -> None:
        """Sign a message to ``to`` alone."""
        self._host.do(Send((to,), self.seal(message).data))

    def _say_all(self, messages: Iterable[object], to: NodeId) -> None:
        for message in messages:
            self._say(message, to)

    # ------------------------------------------------------------------------------------ pushing

    def push(self, record: Record, but: tuple[NodeId, ...] = (), *, begins: bool = True) -> None:
        """The fast path: releases along the trees of :mod:`~banyan.protocol.relay`, what a committee is to read to all
        of it (from the author), anything else to a few neighbours.

        Args:
            record: what to push.
            but: who has it already.
            begins: whether to bring a release of our own to the top of the trees: others may do so.
        """
        host, body = self._host, record.body
        begins = begins and record.envelope.author == host.me
        to: Sequence[NodeId] = ()
        if record.topic.endswith("#"):
            if begins:
                to = host.branches[record.topic[:-1]].chain.committee
        elif isinstance(body, Opening | CertifiedRelease):
            to = self._relay.next(body.release, record.mark, begins)
            if isinstance(body, Opening) and self._has_asked(self._charter.roots[0]):
                to += self._relay.home(record.mark)  # we spoke for our branch, which may have missed it
        elif isinstance(body, Presence):
            to = self._for_presence(body, record, begins, but)
        else:
            to = self.followers.some(record.topic, but)
            if isinstance(body, Card) and record.envelope.author != host.me:
                to = to[:1]  # a card is not urgent: sync brings it to the rest
        if begins and self._root_waits_for(body):
            to = [*to, self._charter.roots[0]]
        receivers = tuple(node for node in dict.fromkeys(to) if node != host.me and node not in but)
        if receivers:
            host.do(Send(receivers, record.envelope.data))

    def _for_presence(
        self, presence: Presence, record: Record, begins: bool, but: tuple[NodeId, ...]
    ) -> Sequence[NodeId]:
        """Along one tree of its branch; before there is a roster, from its author to some and by sync to the rest, in
        one message with many more. Where there never is one each passes it on to one other."""
        branch = self._host.branches[presence.branch]
        if branch.chain.head is not None and branch.path == self._host.branch:
            return self._relay.among(branch.chain.head, record.mark, begins)
        if begins:
            return self.followers.some(record.topic)
        return self.followers.some(record.topic, but)[:1] if self._mixes else ()

    def _root_waits_for(self, body: object) -> bool:
        """Whether the first root opens the branch above once it has this release; or nothing is ever opened, and the
        root, whom nobody brings to anybody, hears of the others by this."""
        if not isinstance(body, CertifiedRelease):
            return self._mixes and isinstance(body, Presence | State)
        above = self._host.branches.get(parent_of(body.release.branch) or "")
        return above is not None and above.chain.head is None

    # ------------------------------------------------------------------------------------ comparing

    def compare_with(self, peer: NodeId, *, again: bool = False) -> bool:
        """Start anti-entropy with ``peer``, at most twice a sync interval; false if it was asked just now. ``again``:
        even so, since what it has brought makes another question of it."""
        if peer == self._host.me or (self._has_asked(peer) and not again):
            return False
        if len(self._asked_lately) > 4096:
            self._asked_lately.clear()
        self._asked_lately[peer] = self._host.now
        shown = b"" if self._is_known_to(peer) else self._presence()
        self._say_all(self._sync.summaries(shown), peer)
        return True

    def _has_asked(self, peer: NodeId) -> bool:
        asked = self._asked_lately.get(peer)
        return asked is not None and self._host.now - asked < self._charter.gossip.sync_interval // 2

    def compare_with_some(self, settled: bool) -> bool:
        """Start anti-entropy with one random neighbour. To be called once a sync interval; true if it is done.

        It is done every time while something is missing, as a comparison has shown or as the caller knows (not
        ``settled``), else after one interval, two, and then every four.
        """
        if self._found_gap or not settled:
            self._found_gap, self._pause, self._skip = False, 1, 0
        if self._skip:
            self._skip -= 1
            return False
        self._skip, self._pause = self._pause - 1, min(2 * self._pause, LONGEST_PAUSE)
        near = {*self.followers.some(NETWORK_TOPIC), *self.followers.some(self._host.branch)}
        near = {node for node in near if not self._has_asked(node)}
        self._talkative.clear()
        if near:
            self.compare_with(self._rng.choice(sorted(near)))
        return True

    def found_gap(self) -> None:
        """Something was missing here: compare again soon."""
        self._found_gap = True

    def answer(self, sender: NodeId, envelope: Envelope) -> None:
        """Answer a message of anti-entropy, whose signature holds. Raises ``Refused``."""
        if envelope.author != sender:
            raise Refused("forwarded", "A message between two peers came from a third")
        self._guard.check(envelope.author, envelope.seq, envelope.time, self._host.now)
        body = self._reader.control(envelope)
        if isinstance(body, Summary) and body.presence:
            self._host.meet(body.presence, sender)
        if self._host.members.is_guest(sender):
            self._hear_guest(sender)
        elif not (self._host.is_member(sender) or self._awaits(envelope)):
            raise Refused("stranger", "The node has not shown a credential yet")
        match body:
            case Bundle():
                self._host.unpack(body, sender)
            case Summary():
                for each in body.topics:
                    if each.head and self._head_of(each.topic) is None:
                        self._host.told_open(each.topic)
                answers = [*self._sync.on_summary(body)]
                self._note_told(sender, answers)
                self._say_all(answers, sender)
            case Inventory():
                self._say_all(self._sync.on_inventory(body, told=self._has_told(sender, body.topic)), sender)
            case Want():
                self._say_all(self._sync.on_want(body), sender)

    def _awaits(self, envelope: Envelope) -> bool:
        """Whether this may bring what we have lately asked its author for: a branch that opened apart from us consists
        of nodes that have shown us nothing, and what is in a bundle proves itself."""
        asked = self._asked_lately.get(envelope.author)
        recent = asked is not None and self._host.now - asked < self._charter.gossip.sync_interval
        return recent and KINDS[envelope.kind] is Bundle

    def _note_told(self, peer: NodeId, messages: Iterable[object]) -> None:
        """Remember which topics ``peer`` is told all of, and after which question of ours."""
        asked = self._asked_lately.get(peer)
        if len(self._told_after) > 4096:
            self._told_after.clear()
        for message in messages:
            if isinstance(message, Inventory) and asked is not None:
                self._told_after[peer, message.topic] = asked

    def _has_told(self, peer: NodeId, topic: str) -> bool:
        """Whether ``peer``, which answers our last question, has heard since what we hold: where two ask each other at
        once, as when they meet, all that is missing would come twice."""
        asked = self._asked_lately.get(peer)
        return asked is not None and self._told_after.get((peer, topic)) == asked

    def _hear_guest(self, node: NodeId) -> None:
        """A guest says something to this node alone. Raises ``Refused`` if it does so all the time."""
        self._host.members.stays(node, self._host.now)
        self._talkative[node] += 1
        if self._talkative[node] > GUEST_MESSAGES:
            raise Refused(Reason.GUEST_LIMIT.value, "A guest asks more often than this node answers guests")

    def _head_of(self, path: Path) -> Release | None:
        branch = self._host.branches.get(path)
        return branch.chain.head if branch else None
