"""How records travel: pushed once to those whom they concern, and compared with one peer after another.

Push may fail; comparing (:mod:`~banyan.protocol.sync`) is the guarantee.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Final, Protocol

from banyan.protocol.effects import Effect, NodeId, Path, Send
from banyan.protocol.followers import Followers
from banyan.protocol.followers import Host as FollowersHost
from banyan.protocol.messages import (
    Bundle,
    CertifiedRelease,
    Inventory,
    Presence,
    Summary,
    Want,
)
from banyan.protocol.paths import parent_of
from banyan.protocol.reader import Reader
from banyan.protocol.records import MARK_BYTES, NETWORK_TOPIC, Record, Records
from banyan.protocol.release import Release
from banyan.protocol.replay import ReplayGuard
from banyan.protocol.sealing import Sealer
from banyan.protocol.sync import NO_RELEASES, Sync
from banyan.security.admission import Reason
from banyan.security.envelope import Envelope
from banyan.security.errors import Refused
from banyan.security.identity import Signer
from banyan.security.scope import covers

__all__ = ["Gossip", "Host"]

GUEST_MESSAGES: Final = 32
"""Messages of one guest that are answered between two syncs of our own: enough to catch up, too few to keep us busy."""


class Host(FollowersHost, Protocol):
    """What gossip needs of the node it speaks for."""

    records: Records

    @property
    def branch(self) -> Path: ...
    def do(self, effect: Effect) -> None: ...
    def topics(self) -> list[str]: ...
    def start_of(self, path: str) -> int: ...
    def follows_for_good(self, path: str) -> bool: ...
    def unpack(self, bundle: Bundle, sender: NodeId) -> None: ...


class Gossip:
    """One node's part in it.

    Args:
        host: the node.
        signer: its key.
        reader: reads what others say.
        rng: draws whom to talk to.
    """

    def __init__(self, host: Host, signer: Signer, reader: Reader, rng: random.Random) -> None:
        self._host = host
        self._charter = host.charter
        self._reader = reader
        self._rng = rng
        self.sealer = Sealer(signer, host.charter, reader, host.do)
        self.followers = Followers(host, rng)
        limits = host.charter.limits
        self._sync = Sync(host.records, host.topics, self._head_of, limits.message_bytes, host.start_of)
        self._guard = ReplayGuard(limits.clock_skew)
        self._asked_lately: dict[NodeId, int] = {}
        self._talkative: Counter[NodeId] = Counter()

    # ------------------------------------------------------------------------------------ speaking

    def seal(self, message: object) -> Envelope:
        """Sign ``message``."""
        return self.sealer.seal(message, self._host.now)

    def ask_for(self, topic: str, record_ids: Iterable[bytes], of: NodeId) -> None:
        """Ask one peer for records by their ids; nothing is asked of ourselves, or for nothing."""
        marks = tuple(sorted(record_id[:MARK_BYTES] for record_id in record_ids))
        if of != self._host.me and marks:
            self._say(Want(topic, marks, NO_RELEASES), of)

    def introduce(self, peer: NodeId) -> None:
        """Show ``peer`` our presence: members answer members only."""
        shown = self._host.records.at("presence", self._host.branch, self._host.me)
        if shown is not None:
            self._host.do(Send((peer,), shown.envelope.data))

    def _say(self, message: object, to: NodeId) -> None:
        """Sign a message to ``to`` alone."""
        self._host.do(Send((to,), self.seal(message).data))

    def _say_all(self, messages: Iterable[object], to: NodeId) -> None:
        for message in messages:
            self._say(message, to)

    # ------------------------------------------------------------------------------------ pushing

    def push(self, record: Record, but: tuple[NodeId, ...] = ()) -> None:
        """The fast path: to the whole committee (from the author), else to a few neighbours."""
        host = self._host
        mine = record.envelope.author == host.me
        if record.topic.endswith("#"):
            if not mine:
                return
            to = [node for node in host.branches[record.topic[:-1]].chain.committee if node != host.me]
        else:
            if isinstance(record.body, CertifiedRelease) and not mine and self._only_looks_on(record.topic):
                return
            to = self.followers.some(record.topic, but)
            if isinstance(record.body, Presence) and not mine:
                to = to[:1]  # a sign of life is not urgent: sync brings it to the rest
            elif isinstance(record.body, CertifiedRelease) and not mine and self._is_from_above(record.topic):
                to = to[: max(1, len(to) // 2)]
            root = self._charter.roots[0]
            if mine and root not in (host.me, *to) and self._is_opening(record.topic):
                to.append(root)
        if to:
            host.do(Send(tuple(to), record.envelope.data))

    def _only_looks_on(self, path: Path) -> bool:
        """Whether we follow a branch only because the first root follows all: passing on what happens in every branch
        would cost it more the more branches there are."""
        return self._host.follows_for_good(path) and not covers(path, self._host.branch)

    def _is_from_above(self, path: Path) -> bool:
        """Whether we only follow a branch that we work below: its news changes what our next training starts from, and
        no round waits for that."""
        followed = self._host.branches.get(path)
        return followed is not None and path != self._host.branch and not followed.on_committee

    def _is_opening(self, topic: str) -> bool:
        """Whether the first root waits for what ``topic`` brings, to open the branch or the one above it."""
        paths = [path for path in (topic, parent_of(topic)) if path] if topic.startswith("/") else []
        branches = self._host.branches
        return any(path in branches and branches[path].chain.head is None for path in paths)

    # ------------------------------------------------------------------------------------ comparing

    def compare_with(self, peer: NodeId) -> None:
        """Start anti-entropy with ``peer``, at most twice a sync interval."""
        host, pause = self._host, self._charter.gossip.sync_interval // 2
        if len(self._asked_lately) > 4096:
            self._asked_lately.clear()
        if peer != host.me and host.now - self._asked_lately.get(peer, -pause) >= pause:
            self._asked_lately[peer] = host.now
            if host.members.get(peer) is None:
                self.introduce(peer)
            self._say_all(self._sync.summaries(), peer)

    def compare_with_some(self) -> None:
        """Start anti-entropy with one random neighbour. To be called once a sync interval."""
        near = {*self.followers.some(NETWORK_TOPIC), *self.followers.some(self._host.branch)}
        self._host.members.tidy(self._host.now)
        self._talkative.clear()
        if near:
            self.compare_with(self._rng.choice(sorted(near)))

    def answer(self, sender: NodeId, envelope: Envelope) -> None:
        """Answer a message of anti-entropy, whose signature holds. Raises ``Refused``."""
        if envelope.author != sender:
            raise Refused("forwarded", "A message between two peers came from a third")
        self._guard.check(envelope.author, envelope.seq, envelope.time, self._host.now)
        if self._host.members.is_guest(sender):
            self._hear_guest(sender)
        elif not self._host.is_member(sender):
            raise Refused("stranger", "The node has not shown a credential yet")
        match body := self._reader.control(envelope):
            case Bundle():
                self._host.unpack(body, sender)
            case Summary():
                self._say_all(self._sync.on_summary(body), sender)
            case Inventory():
                self._say_all(self._sync.on_inventory(body), sender)
            case Want():
                self._say_all(self._sync.on_want(body), sender)

    def _hear_guest(self, node: NodeId) -> None:
        """A guest says something to this node alone. Raises ``Refused`` if it does so all the time."""
        self._host.members.stays(node, self._host.now)
        self._talkative[node] += 1
        if self._talkative[node] > GUEST_MESSAGES:
            raise Refused(Reason.GUEST_LIMIT.value, "A guest asks more often than this node answers guests")

    def _head_of(self, path: Path) -> Release | None:
        branch = self._host.branches.get(path)
        return branch.chain.head if branch else None
