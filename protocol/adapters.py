"""The adapters that a node's model is the sum of: which are still to come, and whom to ask for them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Protocol

from banyan.protocol.branch import Branch
from banyan.protocol.effects import Digest, Effect, FetchBlob, NodeId, Path
from banyan.protocol.members import Members
from banyan.protocol.paths import parent_of, path_to
from banyan.protocol.relay import line_of
from banyan.security.charter import Charter
from banyan.security.scope import covers

__all__ = ["Adapters"]

SIBLINGS: Final = 8
"""Members of its own branch that a node asks for an adapter when committees do not bring it."""


class Host(Protocol):
    """What is asked of the node."""

    charter: Charter
    me: NodeId
    members: Members
    branches: dict[Path, Branch]

    @property
    def branch(self) -> Path: ...
    def do(self, effect: Effect) -> None: ...
    def has_blob(self, digest: Digest) -> bool: ...


class Adapters:
    """See the module. ``rng`` draws who is asked first."""

    def __init__(self, host: Host, rng: random.Random) -> None:
        self._host = host
        self._rng = rng
        self._model_path = host.charter.model_path(host.branch)

    def fetch(self, path: Path, *, again: bool = False) -> None:
        """Bring what our model is a sum of from the head of a branch; ``again``: it did not come at the first
        attempt."""
        for blob, size in self._wanted_of(path):
            if self._host.has_blob(blob):
                sources: list[NodeId] = []
            else:
                sources = sorted(self._sources(path, again), key=self._host.members.is_guest)
            self._host.do(FetchBlob(blob, size, tuple(sources)))

    def missing(self) -> list[Path]:
        """The branches on our way of whose head something that our model is a sum of is not here."""
        ways, has_blob = self._model_path, self._host.has_blob
        return [path for path in ways if not all(has_blob(blob) for blob, _ in self._wanted_of(path))]

    def holders(self, path: Path) -> tuple[NodeId, ...]:
        """Whom to ask for an old adapter of ``path``: whoever may have closed a round since, or serves it still."""
        return tuple(self._sources(path, again=True))

    def _wanted_of(self, path: Path) -> tuple[tuple[Digest, int], ...]:
        """What our model has of the head of a branch: its adapter, and of our own what was lifted into it, too."""
        head = self._host.branches[path].chain.head
        if head is None or path not in self._model_path:
            return ()
        if path == self._host.branch:
            return head.blobs
        return head.handed_down

    def _sources(self, path: Path, again: bool) -> list[NodeId]:
        """Whom to ask for an adapter of ``path``: the committee next to us on the way up, so that an adapter comes
        down the tree and no committee serves all who live below it; at the second attempt also those above and
        some of our siblings, as for our own branch at once. In random order, so that nobody is the first choice of
        all."""
        me, own, branches = self._host.me, self._host.branch, self._host.branches
        chain = branches[path].chain
        between = [each for each in path_to(own) if covers(path, each) and each != path]
        rings = [chain.closers or chain.committee, *(branches[each].chain.committee for each in between)]
        mine = [number for number, ring in enumerate(rings) if me in ring]
        rings = rings[: min(mine, default=len(rings))][::-1] or rings[:1]
        widely = again or path == own
        if widely:
            head = branches[own].chain.head
            siblings = line_of(head) if head is not None else ()
            rings += [chain.committee, tuple(self._rng.sample(siblings, min(SIBLINGS, len(siblings))))]
        above = branches.get(parent_of(path) or "")
        if above is not None and chain.height == 0:  # it begins with what was lifted there
            rings = [above.chain.closers, above.chain.committee, *rings]
        elif above is not None:
            rings.append(above.chain.committee)
        asked = rings if widely else rings[:1]
        drawn = [node for ring in asked for node in self._shuffled(ring)]
        return [node for node in dict.fromkeys(drawn) if node != me]

    def _shuffled(self, nodes: Sequence[NodeId]) -> list[NodeId]:
        return self._rng.sample(nodes, len(nodes))
