"""How a branch comes to be open: its members gather, one of them tells the charter's first root, the root opens it.

The root signs every opening, so its part grows with the number of branches; by having spokesmen it does not grow with
the number of members.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Protocol

from banyan.protocol.branch import Branch
from banyan.protocol.effects import Digest, Effect, NodeId, Path, SetTimer
from banyan.protocol.members import Members
from banyan.protocol.messages import Opening
from banyan.protocol.paths import parent_of, path_to
from banyan.protocol.release import Layer, Release, Seat, committee_of, opening
from banyan.security.charter import Charter

__all__ = ["Founding"]

SPOKESMEN: Final = 1
"""Members of a branch that compare with the root in one sync interval, while it or one above it is not open to them; in
the next, others do."""

HURRY: Final = 8
"""While newcomers turn up, those who wait on a branch compare so many times in a sync interval: in as many steps as the
logarithm of their number they all know each other. More is sooner, and more comparisons that cross."""

PROOF: Final = 4
"""Sync intervals for which the root waits for an opening that somebody told it of: it may have made that itself and
lost its disk. Nobody can keep a branch closed for longer by telling it so."""

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
    def do(self, effect: Effect) -> None: ...
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
        self._told_open: dict[Path, int] = {}
        """When this node first heard that a branch is open of which it has no opening."""
        self._since = 0

    def start(self) -> None:
        """The node is switched on."""
        self._since = self._host.now
        self._newcomer = dict.fromkeys(self._host.branches, self._host.now)

    def met(self, path: Path) -> None:
        """A member of ``path`` has been seen for the first time."""
        self._newcomer[path] = self._host.now
        if self._opens and self._is_closed(path):
            self._host.do(SetTimer(f"open|{path}", self._host.now + self._interval))

    def told_open(self, path: Path) -> None:
        """Somebody says that ``path`` is open."""
        if self._opens and path in self._host.branches and self._is_closed(path):
            self._told_open.setdefault(path, self._host.now)

    def waits(self) -> bool:
        """Whether this node hears by comparing only of what it waits for: who else waits on its branch, and of all who
        wait where it is to open a branch. That one above is open it is told, by those who speak for it or along the
        trees of its own."""
        if self._opens:
            return any(map(self._is_closed, self._host.branches))
        return self._is_closed(self._host.branch)

    def soon(self, path: Path) -> int | None:
        """In how many ms a newcomer on ``path`` is a reason to compare again: it may know others; None: it is none."""
        if path != self._host.branch or self._never_opens or not self._is_closed(path):
            return None
        return self._hurried

    def gathered(self, path: Path) -> int:
        """How many of those who are live on a branch could take part in one round."""
        here = self._host.members.live(self._host.now, path)
        guests = sum(member.guest for member in here)
        return len(here) - guests + min(guests, self._host.charter.round.f)

    def go_on(self) -> None:
        """Do what there is to do. To be called once a sync interval."""
        if self._opens:
            for path in sorted(filter(self._is_closed, self._host.branches)):
                self._open_if_due(path)
        elif not self._never_opens:
            self.speak()

    def speak(self) -> None:
        """Compare with the root if it is this node's turn; a little later while newcomers turn up so quickly that the
        root would hear of half of them."""
        if not self._speaks():
            return
        if self._gathers(self._host.branch):
            self._host.do(SetTimer("speak", self._host.now + self._hurried))
        else:
            self._host.compare_with(self._host.charter.roots[0])

    def _speaks(self) -> bool:
        """Whether it is this node's turn to compare with the root: who waits on its branch, and whether the branches
        above are open, of which nobody else may tell a branch that opened beside them. The turn goes round, so that
        nobody can keep a branch closed by saying nothing."""
        host, path = self._host, self._host.branch
        if host.now == self._since or not any(map(self._is_closed, path_to(path))):
            return False
        turn = host.now // self._interval
        here = [member.node for member in host.members.live(host.now, path) if not member.guest]
        drawn = sorted(here, key=lambda node: hashlib.sha256(f"{path}|{turn}|{node}".encode()).digest())
        return host.me in drawn[:SPOKESMEN]

    def _gathers(self, path: Path) -> bool:
        """Whether newcomers turn up on a closed branch, one soon after the other; for one interval from the start at
        most, or a crowd could put off the opening."""
        if not self._is_closed(path) or self._host.now - self._since >= self._interval:
            return False
        return self._host.now - self._newcomer[path] < 2 * self._hurried

    @property
    def _hurried(self) -> int:
        """ms between two comparisons while newcomers turn up."""
        return self._interval // HURRY

    @property
    def _interval(self) -> int:
        return self._host.charter.gossip.sync_interval

    @property
    def _never_opens(self) -> bool:
        """Whether nothing is ever opened in this network."""
        return self._host.charter.round.coordination == "gossip"

    @property
    def _opens(self) -> bool:
        """Whether this node opens branches."""
        return self._host.me == self._host.charter.roots[0] and not self._never_opens

    def _is_closed(self, path: Path) -> bool:
        return self._host.branches[path].chain.head is None

    def open(self, path: Path) -> None:
        """The time has come to open ``path``, if nobody new came."""
        if self._opens and path in self._host.branches and self._is_closed(path):
            self._open_if_due(path)

    def _open_if_due(self, path: Path) -> None:
        """Open a branch where enough members are and nobody new came lately."""
        host = self._host
        if host.now - self._newcomer.get(path, 0) < self._interval:
            return
        if path in self._told_open and host.now - self._told_open[path] < PROOF * self._interval:
            return  # asked again at every interval
        branch, gathered, ready = host.branches[path], self.gathered(path), self._ready_children(path)
        enough = gathered >= branch.need or len(ready) >= branch.transfer.need
        if enough or (gathered and host.caretakers(path)):
            here = host.members.live(host.now, path)
            members = [Seat(member.node, 0, path) for member in here if not member.guest]
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
