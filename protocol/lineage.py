"""The tree of releases as one DAG: what a model is the sum of, which releases count which, and what updates reported.

Along a branch each release follows its parent release; between branches an edge leads from a child's release to the
release of the branch above that counted it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

from banyan.protocol.branch import Branch
from banyan.protocol.paths import parent_of
from banyan.protocol.release import ChildHead, Release
from banyan.protocol.revision import resolve
from banyan.security.charter import Charter
from banyan.security.schema import to_plain

__all__ = ["Lineage"]


class Host(Protocol):
    """What a lineage needs of the node it lives at."""

    charter: Charter
    branches: dict[str, Branch]


class Lineage:
    """The releases that one node holds. ``own`` is the branch it works on."""

    def __init__(self, host: Host, own: str) -> None:
        self._host = host
        self._own = own

    # ------------------------------------------------------------------------------------ models

    def find(self, revision: str) -> Release:
        """The release that ``revision`` names. Raises :class:`~banyan.protocol.revision.RevisionRefused`."""
        return resolve(revision, self._own, self._host.branches)

    def heads(self, path: str) -> list[Release]:
        """The newest releases from where the base model of ``path`` begins down to it; a branch that is not open yet
        has none."""
        heads = (self._host.branches[each].chain.head for each in self._host.charter.model_path(path))
        return [head for head in heads if head is not None]

    def path_of(self, release: Release) -> list[Release]:
        """``release`` after those of the branches above it: the whole path as it stood in the last moment in which
        ``release`` was its branch's head, and so before whatever the next one changed."""
        following = self._host.branches[release.branch].chain.at(release.height + 1)
        if following is None:
            return self.heads(release.branch)
        above = (
            self._host.branches[each].chain for each in self._host.charter.model_path(release.branch)[:-1]
        )
        stood = (chain.at_time(following.time - 1) for chain in above)
        return [*(each for each in stood if each is not None), release]

    # ------------------------------------------------------------------------------------ the graph

    def pages(
        self, path: str, newest: int | None = None, only: Collection[bytes] | None = None
    ) -> list[dict[str, object]]:
        """The ``newest`` releases of ``path`` (None: all), oldest first, JSON-ready, with edges to other branches;
        ``only`` those of these digests, since each page costs as much as a certificate's signatures."""
        branch = self._host.branches.get(path)
        if branch is None:
            return []
        above = {
            child.release: release
            for child, release in self._counted(parent_of(path))
            if child.branch == path
        }
        releases = [each for each in branch.chain.releases() if only is None or each.digest in only]
        return [
            branch.page(release)
            | {
                "counted": [_name(child) for child in self._children(release)],
                "counted_in": _name(above[release.digest]) if release.digest in above else None,
                "reported": None if release.reported is None else dict(to_plain(release.reported)),
            }
            for release in (releases if newest is None else releases[-newest:])
        ]

    def neighbours(self, path: str, newest: int | None = None) -> list[dict[str, object]]:
        """The releases of other branches that an edge joins to one of the ``newest`` of ``path``, as :meth:`pages`."""
        branch = self._host.branches.get(path)
        shown = [*branch.chain.releases()] if branch is not None else []
        shown = shown[-newest:] if newest is not None else shown
        names = {release.digest for release in shown}
        joined = {child.release for release in shown for child in self._children(release)}
        joined |= {above.digest for child, above in self._counted(parent_of(path)) if child.release in names}
        return self.elsewhere(path, joined)

    def elsewhere(self, path: str, only: Collection[bytes] | None = None) -> list[dict[str, object]]:
        """Every release of every other branch that this node follows, or ``only`` these, as :meth:`pages`."""
        others = (other for other in sorted(self._host.branches) if other != path)
        return [page for other in others for page in self.pages(other, only=only)]

    def _counted(self, path: str | None) -> Iterator[tuple[ChildHead, Release]]:
        branch = self._host.branches.get(path) if path is not None else None
        for release in branch.chain.releases() if branch is not None else ():
            for child in self._children(release):
                yield child, release

    def _children(self, release: Release) -> Iterable[ChildHead]:
        """The children's releases that ``release`` counted for the first time."""
        before = self._host.branches[release.branch].chain.at(release.height - 1)
        known = {child.release for child in before.children} if before is not None else set()
        return [child for child in release.children if child.release not in known]


def _name(release: Release | ChildHead) -> dict[str, object]:
    digest = release.digest if isinstance(release, Release) else release.release
    return {"branch": release.branch, "height": release.height, "release": digest.hex()}
