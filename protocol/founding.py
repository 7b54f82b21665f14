"""How a branch comes to be open: its members gather, one of them tells the charter's first root, the root opens it.

The root signs every opening, so its part grows with the number of branches; by having spokesmen it does not grow with
the number of members.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from banyan.protocol.branch import Branch
from banyan.protocol.effects import Digest, NodeId, Path
from banyan.protocol.members import Members
from banyan.protocol.messages import Opening
from banyan.protocol.paths import parent_of, path_to
from banyan.protocol.release import Layer, Release, Seat, committee_of, opening
from banyan.security.charter import Charter

__all__ = ["Founding"]

SPOKESMEN: Final = 1
"""Members of a branch that compare with the root in one sync interval, while it or one above it is not open to them; in
the next, others do."""

SEATS: Final = 192


class Host(Protocol):
    """What founding needs of the node it happens at."""

    charter: Charter
    me: NodeId
    now: int
    members: Members
    branches: dict[str, Branch]

    @property
    def branch(self) -> Path: ...
    def children_of(self, path: Path) -> tuple[Path, ...]: ...
    def compare_with(self, peer: NodeId) -> None: ...
    def caretakers(self, path: Path) -> tuple[Seat, ...]: ...


class Founding:
    """One node's part in it, as the root or as a member.

    Args:
        host: the node.
        publish: signs an opening and makes it known.
    """

    def __init__(self, host: Host, publish: Callable[[Opening], None]) -> None:
        self._host = host
        self._publish = publish
        self._newcomer: dict[Path, int] = {}
        self._since = 0

    def start(self) -> None:
        """The node is switched on."""
        self._since = self._host.now
        self._newcomer = dict.fromkeys(self._host.branches, self._host.now)

    def met(self, path: Path) -> None:
        """A member of ``path`` has been seen for the first time."""
        self._newcomer[path] = self._host.now

    def gathered(self, path: Path) -> int:
        """How many of those who are live on a branch could take part in one round."""
        here = self._host.members.live(self._host.now, path)
        guests = sum(member.guest for member in here)
        return len(here) - guests + min(guests, self._host.charter.round.f)

    def go_on(self) -> None:
        """Do what there is to do. To be called once a sync interval."""
        if self._host.charter.round.coordination == "gossip":
            return  # nothing is ever opened
        if self._host.me == self._host.charter.roots[0]:
            self._open_branches()
        elif self._speaks():
            self._host.compare_with(self._host.charter.roots[0])

    def _speaks(self) -> bool:
        """Whether it is this node's turn to compare with the root: who waits on its branch, and whether the branches
        above are open, of which nobody else may tell a branch that opened beside them. The turn goes round, so that
        nobody can keep a branch closed by saying nothing."""
        host, path = self._host, self._host.branch
        if host.now == self._since or all(host.branches[each].chain.head for each in path_to(path)):
            return False
        turn = host.now // host.charter.gossip.sync_interval
        here = [member.node for member in host.members.live(host.now, path) if not member.guest]
        drawn = sorted(here, key=lambda node: hashlib.sha256(f"{path}|{turn}|{node}".encode()).digest())
        return host.me in drawn[:SPOKESMEN]

    def _open_branches(self) -> None:
        """Open every branch where enough members are and nobody new came lately."""
        host = self._host
        closed = sorted(path for path, branch in host.branches.items() if branch.chain.head is None)
        here: dict[Path, list[Seat]] = {}
        guests: Counter[Path] = Counter()
        for member in host.members.live(host.now):
            if member.guest:
                guests[member.branch] += 1
            else:
                here.setdefault(member.branch, []).append(Seat(member.node, 0, member.branch))
        for path in closed:
            if host.now - self._newcomer.get(path, 0) < host.charter.gossip.sync_interval:
                continue
            members, ready = here.get(path, []), self._ready_children(path)
            branch, gathered = host.branches[path], len(members) + min(guests[path], host.charter.round.f)
            enough = gathered >= branch.need or len(ready) >= branch.transfer.need
            if enough or (gathered and host.caretakers(path)):
                first = self._first_seats(path, members, ready)
                self._publish(Opening(opening(path, first, host.now, *self._inherited(path))))

    def _inherited(self, path: Path) -> tuple[Digest, int, int, tuple[Layer, ...]]:
        """What a new branch begins with: all that was lifted into the one above, whose model it so starts from, and the
        season of that; nothing where it has another base model."""
        above = self._host.branches.get(parent_of(path) or "")
        if above is None or not self._host.charter.is_alike(above.path, path):
            return b"", 0, 0, ()
        head = above.chain.head
        if head is None:
            return b"", 0, 0, ()
        frozen = tuple(
            Layer(each.season, each.lifted, each.lifted_size, b"", 0) for each in head.frozen if each.lifted
        )
        return head.lifted, head.lifted_size, head.season, frozen

    def _ready_children(self, path: Path) -> list[Release]:
        """The heads of the children of ``path`` that could contribute to its first round."""
        children = (self._host.branches.get(child) for child in self._host.children_of(path))
        heads = (child.chain.head for child in children if child is not None)
        return [head for head in heads if head is not None and head.height > 0]

    def _first_seats(self, path: Path, members: list[Seat], ready: list[Release]) -> list[Seat]:
        """One seat each, though it be a member and a child's delegate; delegates first, and caretakers with them."""
        policy = self._host.charter.committee
        delegates = [Seat(member, 0, head.branch) for head in ready for member in committee_of(head, policy)]
        delegates += self._host.caretakers(path)
        seats = {seat.member: seat for seat in (*delegates, *members)}
        return sorted(seats.values(), key=lambda seat: seat.speaks_for == path)[:SEATS]
