"""Branch paths: ``/`` is the master, ``/en/medical`` a branch below it, as in a file system."""

from __future__ import annotations

from functools import lru_cache

from banyan.security.errors import Refused
from banyan.security.scope import is_path

__all__ = ["ROOT", "PathRefused", "check_path", "children_in", "parent_of", "path_to"]

ROOT = "/"


class PathRefused(Refused):
    """A string that names no possible branch."""


def check_path(path: str) -> str:
    """Return ``path`` unchanged if it is a well-formed branch path.

    Raises:
        PathRefused: it is not; the message shows a correct example.
    """
    if not is_path(path):
        raise PathRefused(
            "bad-path",
            f"{path!r} is not a branch path",
            "Write it like /en/medical: lower-case letters, digits, - and _, at most 8 levels",
        )
    return path


@lru_cache(maxsize=4096)
def parent_of(path: str) -> str | None:
    """``/en/medical`` -> ``/en``; the root has none."""
    if path == ROOT:
        return None
    return path.rsplit("/", 1)[0] or ROOT


@lru_cache(maxsize=16)
def children_in(branches: tuple[str, ...]) -> dict[str | None, tuple[str, ...]]:
    """The children of each of ``branches`` that has any, in their order; not to be changed: it is made once a tree."""
    children: dict[str | None, tuple[str, ...]] = {}
    for path in branches:
        above = parent_of(path)
        children[above] = (*children.get(above, ()), path)
    return children


@lru_cache(maxsize=4096)
def path_to(path: str) -> tuple[str, ...]:
    """Every branch from the root down to ``path``: ``/a/b`` -> ``("/", "/a", "/a/b")``."""
    above = parent_of(path)
    return (path,) if above is None else (*path_to(above), path)
