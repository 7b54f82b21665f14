"""How people name a release, as in git: ``/en@12``, ``/en`` (its head), ``/en~2`` (two before it), ``9ab3f1c2``.

Without a path ``@12``, ``@`` and ``@~2`` are of the node's own branch. (A shell takes a bare ``~2`` for itself.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Protocol

from banyan.protocol.chain import Chain
from banyan.protocol.release import Release
from banyan.security.errors import Refused
from banyan.security.scope import is_path

__all__ = ["RevisionRefused", "name_of", "resolve"]

LEAST_DIGITS: Final = 4
"""The fewest digits of a release's id that name it."""

SHOWN: Final = 5
"""Candidates that a refusal names at most."""

_SHAPE: Final = re.compile(
    rf"(?:(?P<id>[0-9a-f]{{{LEAST_DIGITS},64}})|(?P<path>/[^@~]*)?(?:@(?P<height>\d{{0,12}}))?)(?:~(?P<back>\d{{0,12}}))?"
)


class RevisionRefused(Refused):
    """A text that names no release, or more than one."""


class Followed(Protocol):
    """A branch whose releases this node holds."""

    @property
    def chain(self) -> Chain: ...


def name_of(release: Release) -> str:
    """How a release is named to people: ``/en@12 (9ab3f1c2)``."""
    return f"{release.branch}@{release.height} ({release.digest.hex()[:8]})"


def resolve(text: str, own: str, branches: Mapping[str, Followed]) -> Release:
    """The one release that ``text`` names among those of ``branches``; ``own`` is the branch of a text without a path.

    Raises:
        RevisionRefused: ``bad-revision`` (not of this form), ``unknown-branch``, ``unknown-release``,
            ``ambiguous-release`` (its message names the candidates).
    """
    found = _SHAPE.fullmatch(text.strip().lower())
    if found is None or not text.strip():
        raise RevisionRefused(
            "bad-revision",
            f"{text!r} does not name a release",
            f"Write /en/medical@12, /en/medical~2, /en/medical, or at least {LEAST_DIGITS} digits of its id",
        )
    if found["id"]:
        release = _by_id(found["id"], branches)
    else:
        release = _by_place(found["path"] or own, found["height"] or None, branches)
    back = found["back"]
    return release if back is None else _before(release, int(back or 1), branches[release.branch].chain)


def _by_id(prefix: str, branches: Mapping[str, Followed]) -> Release:
    hits = [
        release
        for path in sorted(branches)
        for release in branches[path].chain.releases()
        if release.digest.hex().startswith(prefix)
    ]
    if not hits:
        raise RevisionRefused(
            "unknown-release",
            f"No release here has an id that begins with {prefix}",
            "See `banyan log --all` for those that this node knows",
        )
    if len(hits) > 1:
        names = ", ".join(f"{hit.branch}@{hit.height} ({hit.digest.hex()[:12]})" for hit in hits[:SHOWN])
        more = f" and {len(hits) - SHOWN} more" if len(hits) > SHOWN else ""
        raise RevisionRefused(
            "ambiguous-release", f"{prefix} may be {names}{more}", "Give more digits, or PATH@HEIGHT"
        )
    return hits[0]


def _by_place(path: str, height: str | None, branches: Mapping[str, Followed]) -> Release:
    if not is_path(path) or path not in branches:
        raise RevisionRefused(
            "unknown-branch",
            f"This node does not follow {path}",
            f"It follows {', '.join(sorted(branches))}",
        )
    chain = branches[path].chain
    head = chain.head
    release = head if height is None else chain.at(int(height))
    if head is None:
        raise RevisionRefused(
            "unknown-release", f"{path} has no release yet", "See `banyan status` for what it waits for"
        )
    if release is None:
        raise RevisionRefused(
            "unknown-release",
            f"{path} has no release {height} here",
            f"It has {chain.first} to {head.height}: see `banyan log {path}`",
        )
    return release


def _before(release: Release, back: int, chain: Chain) -> Release:
    found = chain.at(release.height - back)
    if found is None:
        raise RevisionRefused(
            "unknown-release",
            f"{back} before {release.branch}@{release.height} there is no release here",
            f"The oldest is {release.branch}@{chain.first}",
        )
    return found
