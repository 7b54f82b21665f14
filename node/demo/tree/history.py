"""Which models there were: of every branch at every release, as sums of adapters, and what a lift did to each child."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from banyan.node.demo.audit import Auditor
from banyan.node.home import Home
from banyan.node.store import BlobStore
from banyan.protocol.composition import blobs_of, parts_of
from banyan.protocol.paths import parent_of, path_to
from banyan.protocol.release import Release
from banyan.security.charter import Charter

Model = tuple[bytes, ...]
"""The blobs of the adapters whose sum a model is; none for the base model."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What one lift did: the models of ``branch`` and of each child, before and after it."""

    branch: str
    height: int
    children: tuple[tuple[str, int], ...]
    own: tuple[Model, Model]
    of_children: dict[str, tuple[Model, Model]]


@dataclass
class History:
    """The releases of every branch that were seen, certified; ``blobs`` keeps what the nodes may throw away."""

    charter: Charter
    homes: Sequence[Home]
    blobs: BlobStore
    releases: dict[str, list[Release]] = field(default_factory=dict)

    def look(self) -> list[Release]:
        """Read what the nodes have on disk; the releases that are new. Raises ``Refused`` for a false certificate."""
        new: list[Release] = []
        for branch in self.charter.branches:
            known = self.releases.get(branch, [])
            found = Auditor(self.charter, branch, self.homes, ()).history()
            complete = []
            for release in found:
                if not self._keep(blob for blob, _ in release.blobs):
                    break  # it is on its way to the disk
                complete.append(release)
            if len(complete) > len(known):
                self.releases[branch] = complete
                new += complete[len(known) :]
        return sorted(new, key=lambda release: release.time)

    def _keep(self, blobs: Iterable[bytes]) -> bool:
        """Whether all of these are in our store now."""
        for blob in blobs:
            if blob not in self.blobs:
                held = next((s for s in (BlobStore(h.blobs) for h in self.homes) if blob in s), None)
                if held is None:
                    return False
                self.blobs.put(held.read(blob))
        return True

    def head(self, branch: str) -> Release | None:
        """The newest of a branch."""
        return self.releases[branch][-1] if self.releases.get(branch) else None

    def model(self, branch: str, at: Mapping[str, int]) -> Model:
        """The model of ``branch`` with each branch of its path at a height; those not in ``at`` are not open."""
        path = [self.releases[each][at[each]] for each in path_to(branch) if each in at]
        return blobs_of(parts_of(path)) if path and path[-1].branch == branch else ()

    def heights(self, time: int, *, before: Release | None = None) -> dict[str, int]:
        """How far each branch was at ``time`` (ms); without ``before`` and what came after it in its branch."""
        at = {}
        for branch, releases in self.releases.items():
            there = [
                each.height
                for each in releases
                if each.time <= time
                and not (before is not None and branch == before.branch and each.height >= before.height)
            ]
            if there:
                at[branch] = there[-1]
        return at

    def moves(self) -> list[Moved]:
        """Every lift, in the order of time."""
        made = []
        for branch, releases in self.releases.items():
            for release in releases:
                if not release.lift:
                    continue
                before, after = self.heights(release.time, before=release), self.heights(release.time)
                after[branch] = release.height
                below = [each for each in before if parent_of(each) == branch]
                made.append(
                    Moved(
                        branch,
                        release.height,
                        tuple((child.branch, child.height) for child in release.children),
                        (self.model(branch, before), self.model(branch, after)),
                        {child: (self.model(child, before), self.model(child, after)) for child in below},
                    )
                )
        return sorted(made, key=lambda each: self.releases[each.branch][each.height].time)
