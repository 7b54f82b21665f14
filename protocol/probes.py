"""The probe sets of branches: brought to where releases and lifts may have to be tried, and set aside where they cannot
be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from banyan.protocol.chain import Chain
from banyan.protocol.effects import Digest, Effect, FetchBlob, NodeId, Path
from banyan.protocol.events import Event, ProbeRefused
from banyan.protocol.tree import Tree
from banyan.security.charter import Charter

__all__ = ["Probes"]


class Followed(Protocol):
    """What is asked of a branch that the node follows."""

    @property
    def chain(self) -> Chain: ...
    def probe_answered(self) -> None: ...


class Host(Protocol):
    """What is asked of the node."""

    charter: Charter
    me: NodeId
    refusals: Counter[str]

    @property
    def branch(self) -> Path: ...
    @property
    def branches(self) -> Mapping[Path, Followed]: ...
    @property
    def tree(self) -> Tree: ...
    def do(self, effect: Effect) -> None: ...
    def tell(self, event: Event) -> None: ...
    def has_blob(self, digest: Digest) -> bool: ...


class Probes:
    """Those that a node has use for."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._unreadable: set[Digest] = set()
        self._asked: dict[Digest, bool] = {}
        """What was asked for, and whether the first answer is out."""

    def of(self, path: Path) -> Digest | None:
        """The probe set of a branch, once it is here; None where there is none or it cannot be read."""
        probe = self._host.tree.probe_of(path)
        usable = (
            probe is not None and self._host.has_blob(probe.digest) and probe.digest not in self._unreadable
        )
        return probe.digest if probe is not None and usable else None

    def awaits(self, path: Path) -> bool:
        """Whether the probe set of a branch may be on its way: what is tried without it would not be tried as the
        charter wants. One that could not be brought at the first attempt is waited for no longer."""
        probe = self._host.tree.probe_of(path)
        return probe is not None and self._asked.get(probe.digest, False)

    def fetch_all(self) -> None:
        """Bring the probe sets of the branches whose releases and lifts this node may have to try."""
        for path in sorted(self._host.branches):
            self.fetch(path)

    def fetch(self, path: Path) -> None:
        """Bring that of one branch, if this node may have to try something there."""
        probe = self._host.tree.probe_of(path)
        if probe is not None and not self._host.has_blob(probe.digest) and self._tries(path):
            sources = dict.fromkeys((*self._host.branches[path].chain.committee, *self._host.charter.roots))
            claim = self._host.tree.founded.get(path)
            sources |= dict.fromkeys([claim.founder] if claim is not None else ())
            others = tuple(node for node in sources if node != self._host.me)
            self._asked.setdefault(probe.digest, True)
            self._host.do(FetchBlob(probe.digest, probe.size, others))

    def blob_fetched(self, digest: Digest) -> None:
        """A blob is here, or cannot be brought: if it is a probe set, what has waited for that goes on."""
        if self._asked.get(digest):
            self._asked[digest] = False
            for branch in [*self._host.branches.values()]:
                branch.probe_answered()

    def refused(self, path: Path, reason: str) -> None:
        """That of a branch cannot be read."""
        probe = self._host.tree.probe_of(path)
        if probe is not None and probe.digest not in self._unreadable:
            self._unreadable.add(probe.digest)
            self._host.refusals[reason] += 1
            self._host.tell(ProbeRefused(path, probe.digest.hex(), reason))

    def _tries(self, path: Path) -> bool:
        """Whether this node works on a branch or has a seat there."""
        head = self._host.branches[path].chain.head
        return path == self._host.branch or (head is not None and self._host.me in head.members)
