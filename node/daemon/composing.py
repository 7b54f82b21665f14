"""Brings together what a model is the sum of, for the owner: to export it, to compare it with another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from banyan.node.daemon.control import BadRequest, ComposeRequest
from banyan.node.daemon.naming import check_known
from banyan.protocol.branch import KEPT_RELEASES
from banyan.protocol.composition import Part, blobs_of, parts_of
from banyan.protocol.peer import Peer

__all__ = ["compose"]


class Fetches(Protocol):
    """Whoever brings blobs into the store: a node's ``Fetcher``."""

    async def fetch(self, digest: bytes, size: int, sources: Sequence[str]) -> str | None:
        """None once the blob is there, else why it cannot be."""


async def compose(request: ComposeRequest, peer: Peer, fetcher: Fetches) -> dict[str, object]:
    """The model that ``request`` asks for, its adapters here in the store.

    ``adapters`` are the blobs whose sum it is, ``parts`` the releases that they are of (none where this node mixes),
    ``page`` the last of these as in the log. Raises :class:`BadRequest`, and ``RevisionRefused``.
    """
    if request.release is not None:
        release = peer.lineage.find(request.release)
        parts = parts_of([release] if request.alone else peer.lineage.path_of(release))
    elif request.branch is not None:
        parts = _newest(request.branch, peer)
    elif peer.mixer.is_active and not peer.pin.parts:
        own = [digest.hex() for digest in peer.model]
        return {"branch": peer.branch, "adapters": own, "parts": [], "page": None, "pinned": False}
    else:
        parts = peer.parts
    await _bring(parts, peer, fetcher)
    last = parts[-1] if parts else None
    pages = peer.lineage.pages(last.branch, only={last.release}) if last is not None else []
    return {
        "branch": last.branch if last is not None else peer.branch,
        "adapters": [blob.hex() for blob in blobs_of(parts)],
        "parts": [
            {"branch": part.branch, "height": part.height, "release": part.release.hex()} for part in parts
        ],
        "page": pages[0] if pages else None,
        "pinned": bool(peer.pin.parts) and parts == peer.pin.parts,
    }


def _newest(path: str, peer: Peer) -> tuple[Part, ...]:
    """What the heads from where the base model begins down to ``path`` add up to."""
    if path not in peer.branches:
        check_known(path, peer.tree.paths, peer.charter.name)
        raise BadRequest(
            f"This node does not follow {path}, so it holds no model of it",
            f"Bring it here: `banyan clone {path}`",
        )
    head = peer.lineage.find(path)  # says so where nothing was released yet
    return parts_of(peer.lineage.heads(head.branch))


async def _bring(parts: Iterable[Part], peer: Peer, fetcher: Fetches) -> None:
    for part in parts:
        for blob, size in part.blobs:
            failure = await fetcher.fetch(blob, size, peer.adapters.holders(part.branch))
            if failure is not None:
                raise BadRequest(
                    f"The adapter of {part.branch}@{part.height} is not here and cannot be fetched: {failure}",
                    f"Members keep the adapters of a branch's newest {KEPT_RELEASES} releases, and those that they are "
                    "pinned to: try again when others are connected, or choose a newer release",
                )
