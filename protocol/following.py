"""Which branches a node follows, and which topics it keeps in step with others.

It follows its own branch and all above it, and those whose models it mixes with or learns from; a root key follows
every branch, to open them. A seat at a branch makes it follow the children of that branch, for as long as it has it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Protocol

from banyan.protocol.branch import Branch
from banyan.protocol.branch import Host as BranchHost
from banyan.protocol.dormancy import Dormancy
from banyan.protocol.effects import DropRecords, NodeId, Path
from banyan.protocol.learner import Learner
from banyan.protocol.mixing import Mixer
from banyan.protocol.paths import check_path, parent_of, path_to
from banyan.protocol.records import NETWORK_TOPIC, committee_topic, mixing_topic, presence_topic
from banyan.protocol.release import ChildHead
from banyan.protocol.tree import Tree

__all__ = ["Following"]


class Host(BranchHost, Protocol):
    """What is asked of the node, and what the branches that it follows ask of it."""

    branches: dict[Path, Branch]
    learner: Learner
    mixer: Mixer
    dormancy: Dormancy
    is_restoring: bool

    @property
    def branch(self) -> Path: ...
    @property
    def tree(self) -> Tree: ...
    def children_of(self, path: Path) -> tuple[Path, ...]: ...
    def ask_for_releases(self, path: Path, above: int, of: NodeId) -> None: ...


class Following:
    """See the module.

    Args:
        host: the node, whose ``branches`` are kept here.
        besides: branches that its owner wants to follow, too.
        rng: draws whom to ask for the history of a branch.
    """

    def __init__(self, host: Host, besides: Iterable[Path], rng: random.Random) -> None:
        self._host = host
        self._besides = tuple(besides)
        self._rng = rng
        self._own: frozenset[Path] = frozenset()
        """The branches that we follow whatever seats we have."""
        self._ways: frozenset[Path] = frozenset()
        """Those on which we know who is there."""
        self._left: list[Path] = []
        """Those that we may have no reason to follow any more."""

    # ------------------------------------------------------------------------------------ branches

    def look_around(self) -> None:
        """Follow what we have reason to, whatever seats we have: the tree may have grown."""
        self._own = frozenset(self._reasons())
        new = self._own - self._host.branches.keys()
        for path in sorted(new):  # a set's own order is another in every process
            self._host.branches[path] = Branch(path, self._host)
        self._ways = frozenset({*path_to(self._host.branch), *self._host.mixer.branches})

    def tree_grew(self, new: Iterable[Path]) -> None:
        """There are new branches: follow those that concern us."""
        self.look_around()
        for path in new:
            above = parent_of(path)
            if above in self._host.branches:
                self.follow_children(above)

    def head_moved(self, path: Path) -> None:
        """A branch has a new head: we may have got a seat there, or have had but a seat there and have lost it."""
        self.follow_children(path)
        self._left.append(path)

    def follow_children(self, path: Path) -> None:
        """A seat at a branch makes us follow its children, for as long as we have it."""
        branches = self._host.branches
        seated = branches[path].on_committee
        for child in self._host.children_of(path):
            if seated and child not in branches:
                branches[child] = Branch(child, self._host)
                if not self._host.is_restoring:
                    self._catch_up_on(child, path)
            elif not seated and child in branches:
                self._left.append(child)

    def has_reason(self, path: Path) -> bool:
        """Whether we have a reason to follow a branch: it is ours, or we have a seat there or on the one above it."""
        above, branch = self._host.branches.get(parent_of(path) or ""), self._host.branches.get(path)
        seats = [each for each in (above, branch) if each is not None and each.on_committee]
        return path in self._own or bool(seats)

    def leave(self) -> None:
        """Follow no more what we have no reason to. What is in the records is forgotten by :meth:`tidy`."""
        self._left = [path for path in dict.fromkeys(self._left) if not self.has_reason(path)]
        for path in self._left:
            self._host.branches.pop(path, None)

    def tidy(self) -> None:
        """Leave what we have no reason to follow, and forget the records of branches that we follow no more."""
        if not self._left:
            return
        self.leave()
        left, self._left = set(self._left) - self._host.branches.keys(), []
        gone = [record for path in sorted(left) for record in self._host.records.drop_branch(path)]
        if gone:
            self._host.do(DropRecords(tuple(record.id for record in gone)))

    def _reasons(self) -> set[Path]:
        if self._host.me in self._host.charter.roots:
            return {*self._host.tree, *path_to(check_path(self._host.branch))}
        besides = {each for path in self._besides for each in path_to(path)}
        return {*path_to(check_path(self._host.branch)), *self._host.mixer.branches, *besides}

    # ------------------------------------------------------------------------------------ histories

    def quoted(self, path: Path) -> ChildHead | None:
        """The release of a branch that its parent has counted last, where we follow the branch for the parent's sake:
        as good a beginning as the opening, since a quorum of the parent has signed its digest."""
        above = parent_of(path)
        if path in self._own or above not in self._host.branches:
            return None
        head = self._host.branches[above].chain.head
        return next((each for each in head.children if each.branch == path), None) if head else None

    def start_of(self, path: Path) -> int:
        """The first height of a branch that we have use for."""
        quoted = self.quoted(path)
        return quoted.height if quoted is not None else 0

    def ask_for_children(self) -> None:
        """Ask again for the history of the children that our seats make us follow and that we have not heard of: what
        was asked when we took a seat, or the answer, may have got lost."""
        branches = self._host.branches
        for path, branch in branches.items():
            above = parent_of(path)
            if branch.chain.head is None and above in branches and branches[above].on_committee:
                self._catch_up_on(path, above)

    def _catch_up_on(self, child: Path, path: Path) -> None:
        """Ask one who works at or below ``child``, and so has its history, for what we have use for."""
        head = self._host.branches[path].chain.head
        delegates = [seat.member for seat in head.roster if seat.speaks_for == child] if head else []
        if delegates:
            self._host.ask_for_releases(child, self.start_of(child) - 1, self._rng.choice(delegates))

    # ------------------------------------------------------------------------------------ topics

    def topics(self) -> list[str]:
        """What this node keeps in step with others."""
        branches, mixed = self._host.branches, self._host.mixer.branches
        unsure = self._host.branch if self._host.learner.may_have_spoken else ""
        running = [
            committee_topic(path)
            for path, branch in branches.items()
            if branch.on_committee or path == unsure  # what we said there comes back
        ]
        met = map(presence_topic, filter(self.meets, branches))
        return [NETWORK_TOPIC, *branches, *met, *running, *map(mixing_topic, mixed)]

    def asleep(self) -> set[str]:
        """The topics that this node answers for and does not ask about: those of branches that sleep."""
        return {
            topic
            for path in self._host.dormancy.asleep
            for topic in (path, presence_topic(path), committee_topic(path), mixing_topic(path))
        }

    def meets(self, path: Path) -> bool:
        """Whether this node keeps account of who is on a branch: those on its way, and those it is to open."""
        if path in self._ways:
            return True
        return path in self._own and self._host.branches[path].chain.head is None
