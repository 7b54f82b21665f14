"""What a node may have said before it lost its disk: it must not say anything else.

Whoever contradicts itself is taken for a cheat and shut out. What it had said comes back from the committees when it
compares with them; until then, or until the round would be over without it, it listens.
"""

from __future__ import annotations

from typing import Final, Protocol

from banyan.protocol.effects import Effect, PutState
from banyan.protocol.release import Release
from banyan.security import canonical
from banyan.security.charter import Charter

__all__ = ["ANEW", "Amnesia"]

ANEW: Final = "anew"
"""Under which is kept, on the new disk, when the node began with it."""

PAUSE: Final = 2
"""Sync intervals after the deadline of a round that had begun before that the node waits before it takes part in it
after all: others may lack it."""


class Host(Protocol):
    """What is asked of the node."""

    now: int
    charter: Charter

    def do(self, effect: Effect) -> None: ...


class Amnesia:
    """One node's. ``issued`` (ms) is when its credential was: in a round older than that it has said nothing."""

    def __init__(self, host: Host, issued: int) -> None:
        self._host = host
        self._issued = issued
        self._since = 0

    def restore(self, since: int) -> None:
        """Take up what was kept under :data:`ANEW` before a restart; 0 for nothing."""
        self._since = since

    def begin(self) -> None:
        """The disk is empty."""
        self._since = self._host.now
        self._host.do(PutState(ANEW, canonical.encode(self._since)))

    @property
    def until(self) -> int:
        """When (ms) every round that began before the disk was lost should be over."""
        policies = self._host.charter
        return self._since + policies.round.deadline + PAUSE * policies.gossip.sync_interval

    def covers(self, base: Release) -> bool:
        """Whether the round after ``base`` may hold what this node has forgotten."""
        return self._issued <= base.time < self._since and self._host.now < self.until
