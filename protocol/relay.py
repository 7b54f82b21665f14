"""Whom a release is passed on to: trees over a roster, laid out anew for each release.

Everybody computes the same trees from the roster and the release alone, so that one message a member and tree brings it
to all in logarithmically many steps. There are two, one in the order of the other reversed: who passes on in one is a
leaf in the other, and a member misses a release only where both its ways are cut (SplitStream: Castro et al., 2003).
Who keeps a release to itself delays it for those below, until their next sync.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from banyan.protocol.branch import Branch
from banyan.protocol.effects import NodeId, Path
from banyan.protocol.members import Members
from banyan.protocol.paths import parent_of, path_to
from banyan.protocol.release import Release
from banyan.security.charter import Charter
from banyan.security.scope import covers

__all__ = ["Relay", "adopter_of", "line_of", "next_in_line"]

BRINGERS: Final = 2
"""Delegates of a branch that bring it a release from above: one may be away, or keep it to itself."""


def next_in_line(
    line: Sequence[str],
    me: str,
    mark: bytes,
    is_gone: Callable[[str], bool],
    *,
    fanout: int,
    begins: bool,
    both: bool,
) -> Iterator[str]:
    """To whom ``me`` sends what is called ``mark``; some may come twice.

    Args:
        line: the members in an order that all share; ``me`` need not stand there.
        mark: the release's, at least four bytes: says where the line begins.
        is_gone: whom to pass over; those below such a member are served in its stead.
        fanout: to how many each passes it on in one tree.
        begins: whether ``me`` brings it to the top of the trees, besides to those below itself.
        both: along both trees, for what is urgent; else along the first.
    """
    n, turn = len(line), int.from_bytes(mark[:4], "big")
    here = line.index(me) if me in line else None
    for forward in (True, False) if both else (True,):
        above = [-1] if begins else []  # places in the tree; the top hangs below place -1
        if here is not None:
            above.append((here - turn if forward else turn - 1 - here) % n)
        while above:
            first = (above.pop() + 1) * fanout
            for place in range(first, min(first + fanout, n)):
                node = line[(turn + place if forward else turn - 1 - place) % n]
                if is_gone(node):
                    above.append(place)
                elif node != me:
                    yield node


def adopter_of(name: str, line: Sequence[str]) -> str:
    """Who of ``line`` passes on to ``name``, which does not stand there."""
    return line[int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % len(line)]


class Host(Protocol):
    """What is asked of the node."""

    charter: Charter
    me: NodeId
    now: int
    members: Members
    branches: dict[str, Branch]

    @property
    def branch(self) -> Path: ...


class Relay:
    """One node's place in the trees."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def next(self, release: Release, mark: bytes, begins: bool) -> list[NodeId]:
        """To whom this node sends ``release``, some perhaps twice: along both trees of its own roster, since the next
        round waits for them; to the committee above; and down, branch by branch, along one tree of each roster on this
        node's way. ``begins``: whether it is among those who have closed the round and bring the release to all."""
        host, path, upper = self._host, release.branch, release
        to = self._along(line_of(release), mark, begins, both=True)
        above = host.branches.get(parent_of(path) or "")
        if above is not None:
            to += self._along(above.chain.committee, mark, begins)
        if begins:
            to += self._to_the_uncounted(release, mark)
        for each in path_to(host.branch):
            lower = host.branches[each].chain.head
            if each == path or lower is None or not covers(path, each):
                continue
            to += self._along(line_of(lower), mark, self._brings(upper, each, mark))
            upper = lower
        return to + self._adopted(release)

    def among(self, head: Release, mark: bytes, begins: bool) -> list[NodeId]:
        """To whom this node sends what is for the members of its own branch alone, whose head is ``head``."""
        return self._along(line_of(head), mark, begins) + self._adopted(head)

    def home(self, mark: bytes) -> list[NodeId]:
        """To whom this node sends what it has heard for all of its branch: the top of one tree of it."""
        head = self._host.branches[self._host.branch].chain.head
        return [] if head is None else self._along(line_of(head), mark, True)

    def _along(
        self, line: Sequence[NodeId], mark: bytes, begins: bool, *, both: bool = False
    ) -> list[NodeId]:
        fanout = self._host.charter.gossip.fanout
        follow = next_in_line(
            line, self._host.me, mark, self._is_gone, fanout=fanout, begins=begins, both=both
        )
        return list(follow)

    def _brings(self, upper: Release, path: Path, mark: bytes) -> bool:
        """Whether this node is one of those who bring ``path`` what comes from above ``upper``."""
        delegates = [seat.member for seat in upper.roster if seat.speaks_for == path]
        if self._host.me not in delegates:
            return False
        turn = int.from_bytes(mark[:4], "big") % len(delegates)
        here = (node for node in delegates[turn:] + delegates[:turn] if not self._is_gone(node))
        return self._host.me in [node for _, node in zip(range(BRINGERS), here, strict=False)]

    def _to_the_uncounted(self, release: Release, mark: bytes) -> list[NodeId]:
        """The way down to children that have no delegates yet."""
        counted = {seat.speaks_for for seat in release.roster}
        heads = (branch.chain.head for branch in self._host.branches.values())
        children = [head for head in heads if head is not None and parent_of(head.branch) == release.branch]
        lines = [line_of(head) for head in children if head.branch not in counted]
        return [node for line in lines for node in self._along(line, mark, True)]

    def _adopted(self, release: Release) -> list[NodeId]:
        """Those who work on our branch without a seat, guests and newcomers, each in the care of one who has one."""
        host = self._host
        head = release if release.branch == host.branch else host.branches[host.branch].chain.head
        if head is None or not covers(release.branch, host.branch) or host.me not in head.members:
            return []
        line = line_of(head)
        others = sorted(host.members.on(host.branch) - head.members)
        return [node for node in others if adopter_of(node, line) == host.me and not self._is_gone(node)]

    def _is_gone(self, node: NodeId) -> bool:
        """Whether nothing was heard of ``node`` for a lifetime, or it is shut out."""
        host, member = self._host, self._host.members.get(node)
        if member is None:
            return node in host.members.quarantined
        return host.now - member.seen > host.charter.gossip.presence_lifetime


def line_of(release: Release) -> tuple[NodeId, ...]:
    """The roster's members, in its order."""
    if "line" not in release.memo:
        release.memo["line"] = tuple(seat.member for seat in release.roster)
    line: tuple[NodeId, ...] = release.memo["line"]
    return line
