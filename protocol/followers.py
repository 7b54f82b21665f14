"""Who follows a topic, as far as this node knows: whom its gossip goes to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

from banyan.protocol.branch import Branch
from banyan.protocol.effects import NodeId
from banyan.protocol.members import Members
from banyan.protocol.neighbourhood import kin_of
from banyan.protocol.paths import parent_of
from banyan.protocol.tree import Tree
from banyan.security.charter import Charter
from banyan.security.scope import covers

__all__ = ["Followers", "Host"]


class Host(Protocol):
    """What is asked of the node."""

    charter: Charter
    me: NodeId
    now: int
    members: Members
    branches: dict[str, Branch]

    @property
    def tree(self) -> Tree: ...
    def is_member(self, node: NodeId) -> bool: ...


class Followers:
    """See the module. ``rng`` draws among them."""

    def __init__(self, host: Host, rng: random.Random) -> None:
        self._host = host
        self._rng = rng
        self.connected: set[NodeId] = set()
        self._moves = 0
        self._state: tuple[int, ...] = ()
        self._of: dict[str, list[NodeId]] = {}

    def connect(self, node: NodeId) -> None:
        """A connection with ``node`` stands."""
        self.connected.add(node)
        self.moved()

    def disconnect(self, node: NodeId) -> None:
        """It is gone."""
        self.connected.discard(node)
        self.moved()

    def moved(self) -> None:
        """Who follows what may be another now: look anew."""
        self._moves += 1

    def some(self, topic: str, but: tuple[NodeId, ...] = ()) -> list[NodeId]:
        """Up to ``fanout`` nodes that follow ``topic``, drawn at random. In an open network nobody vouches for at most
        half of them, however many there are."""
        near, fanout = self.of(topic), self._host.charter.gossip.fanout
        near = self._rng.sample(near, min(len(near), fanout + len(but)))
        drawn = [node for node in near if node not in but][:fanout]
        if self._host.charter.admission != "open":
            return drawn
        others = [node for node in drawn if not self._host.is_member(node)]
        if len(others) <= fanout // 2:
            return drawn
        members = [node for node in self.of(topic) if node not in but and self._host.is_member(node)]
        most = fanout - fanout // 2
        return self._rng.sample(members, min(len(members), most)) + others[: fanout // 2]

    def of(self, topic: str) -> Sequence[NodeId]:
        """Everybody who follows ``topic``, sorted."""
        host = self._host
        state = (host.members.version, self._moves, host.now // host.charter.gossip.presence_interval)
        if state != self._state:
            self._state = state
            self._of.clear()
        known = self._of.get(topic)
        if known is None:
            everybody = self._mixing(topic[:-1]) if topic.endswith("~") else self._following(topic)
            known = self._of[topic] = sorted(everybody - {host.me} - host.members.quarantined.keys())
        return known

    def _following(self, topic: str) -> set[NodeId]:
        """Members at or below the branch, the committees of it, of its parent and of what we follow below it, and
        whoever is connected and not known to be elsewhere."""
        below = topic.removesuffix("!") if topic.startswith("/") else "/"
        near = set(self._host.members.near(self._host.now, below))
        for path, branch in self._host.branches.items():
            if covers(below, path) or path == parent_of(below):
                near.update(branch.chain.committee)
        for node in self.connected:
            member = self._host.members.get(node)
            if member is None or covers(below, member.branch):
                near.add(node)
        return near

    def _mixing(self, path: str) -> set[NodeId]:
        """Who mixes with the members of ``path``, and whoever is connected."""
        those = (path, *kin_of(path, self._host.charter.alike(path, self._host.tree)))
        live = self._host.members.live(self._host.now)
        return {member.node for member in live if member.branch in those} | self.connected
