"""Which branches sleep: nobody has been on them, or below them, for as long as the charter's ``dormancy``.

Nobody offers a sleeping branch in comparisons or fetches anything for it, and no round waits for it. Whoever holds its
head still answers for it, and the first who comes back wakes it. What one node knows may differ from what another does,
so nothing that nodes must agree on hangs on it.
"""

from __future__ import annotations

from typing import Protocol

from banyan.protocol.branch import Branch
from banyan.protocol.events import BranchFellAsleep, BranchWoke, Event
from banyan.protocol.members import Members
from banyan.protocol.paths import path_to
from banyan.protocol.tree import Tree
from banyan.security.charter import Charter

__all__ = ["Dormancy", "Host"]


class Host(Protocol):
    """What is asked of the node."""

    now: int
    charter: Charter
    members: Members
    branches: dict[str, Branch]

    @property
    def tree(self) -> Tree: ...
    def tell(self, event: Event) -> None: ...


class Dormancy:
    """Who sleeps, of the branches that a node follows. ``path`` is the one that it works on, which never does."""

    def __init__(self, host: Host, path: str) -> None:
        self._host = host
        self._path = path
        self._dormancy = host.charter.growth.dormancy
        self._alive: dict[str, int] = {}
        self.asleep: set[str] = set()
        """The branches that sleep."""

    def met(self, path: str) -> None:
        """Somebody is on ``path``."""
        for each in path_to(path):
            self._alive[each] = self._host.now
            self._wake(each)

    def head_moved(self, path: str) -> None:
        """A branch has a new head: somebody has worked there, wherever we have not met them."""
        if path in self.asleep and self._host.now - self._last_sign(path) <= self._dormancy:
            self._wake(path)

    def look_around(self) -> None:
        """See who is where, and which branches have fallen asleep. To be called once a sync interval."""
        now, followed = self._host.now, self._host.branches
        oldest = now - self._host.charter.gossip.presence_lifetime
        for path in sorted(self._host.members.inhabited(oldest) | {self._path}):
            self.met(path)
        self._alive = {path: time for path, time in self._alive.items() if path in followed}
        self.asleep &= followed.keys()
        for path in sorted(followed.keys() - self.asleep):
            if now - self._last_sign(path) > self._dormancy:
                self.asleep.add(path)
                self._host.tell(BranchFellAsleep(path, followed[path].chain.height))

    def _wake(self, path: str) -> None:
        if path in self.asleep:
            self.asleep.remove(path)
            branch = self._host.branches.get(path)
            self._host.tell(BranchWoke(path, branch.chain.height if branch is not None else -1))

    def _last_sign(self, path: str) -> int:
        """When somebody was last there (ms): met here, in the newest release, or in the founding."""
        head, claim = self._host.branches[path].chain.head, self._host.tree.founded.get(path)
        times = [self._alive.get(path, 0), self._host.charter.created]
        times += [head.time] if head is not None else []
        times += [claim.time] if claim is not None else []
        return max(times)
