"""Which model is served: what the running node uses, or what its store says where no node runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import trio

from banyan.node import base_folder
from banyan.node.cli.client import Client, NotRunning
from banyan.node.daemon.composing import compose
from banyan.node.daemon.control import ComposeRequest
from banyan.node.home import Home
from banyan.node.learning.blobs import read_layers
from banyan.node.learning.frozen import Frozen
from banyan.node.learning.layout import Vector
from banyan.node.learning.private import find, read
from banyan.node.learning.shared_a import from_bytes
from banyan.node.learning.workplace import frozen_of, together
from banyan.node.serving.errors import ServingError
from banyan.node.store import BlobStore, HomeLock
from banyan.node.stored_core import charter_of, stored_core
from banyan.security.model import AdapterSpec, BaseModel

#: Seconds that fetching adapters may take.
PATIENCE = 600.0


@dataclass(frozen=True, slots=True)
class ChosenRelease:
    """A model of the tree: the branch it is of, the blobs whose sum it is, the releases that they are of (from
    where its base begins down; none where this node mixes its own model). ``private`` names what this device has
    learnt for itself and the model has on top; empty for none."""

    branch: str
    adapters: tuple[bytes, ...]
    parts: tuple[tuple[str, int, str], ...]
    pinned: bool
    private: str = ""

    @classmethod
    def of(cls, composed: Mapping[str, Any]) -> ChosenRelease:
        """The model that :func:`~banyan.node.daemon.composing.compose` has named."""
        return cls(
            composed["branch"],
            tuple(map(bytes.fromhex, composed["adapters"])),
            tuple((each["branch"], each["height"], each["release"]) for each in composed["parts"]),
            composed["pinned"],
        )

    @property
    def name(self) -> str:
        """For people: ``/en@12 (9ab3f1c2)``."""
        if not self.adapters:
            name = f"{self.branch}, which has learnt nothing yet: the base model"
        elif not self.parts:
            name = f"{self.branch}, this node's own model ({self.fingerprint})"
        else:
            branch, height, digest = self.parts[-1]
            name = f"{branch}@{height} ({digest[:8]})"
        return f"{name} and what this device has learnt for itself" if self.private else name

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that tell one model from another, the base's or a parent's change included."""
        return hashlib.sha256(b"".join(self.adapters) + self.private.encode()).hexdigest()[:8]

    def plain(self) -> dict[str, object]:
        """JSON-ready."""
        parts = [{"branch": b, "height": h, "release": r} for b, h, r in self.parts]
        private = {"private": True} if self.private else {}
        return {"branch": self.branch, "releases": parts, "pinned": self.pinned, **private}


def choose(
    home: Home, branch: str | None = None, release: str | None = None, *, private: bool = False
) -> ChosenRelease:
    """The model that this node uses, or the newest of ``branch``, or that at ``release``, its adapters in the store;
    ``private``: with what this device has learnt for itself, if there is any.

    Asks the running node, which may fetch them; where none runs, the store. Raises :class:`BanyanError`: no such branch
    or release, or an adapter that is not here.
    """
    charter_of(home)
    try:
        found = Client(home).post("/compose", {"branch": branch, "release": release}, PATIENCE)
    except NotRunning:
        found = _from_store(home, ComposeRequest(branch=branch, release=release))
    chosen = ChosenRelease.of(found)
    kept = find(home.private, chosen.branch) if private else None
    return chosen if kept is None else replace(chosen, private=kept.delta)


def with_lessons(chosen: ChosenRelease) -> ChosenRelease:
    """``chosen``, which has what this device has learnt for itself. Raises :class:`ServingError` where it has not."""
    if not chosen.private:
        raise ServingError(
            f"Nothing has been learnt privately on {chosen.branch}",
            "First: `banyan train --private --data PATH`",
        )
    return chosen


def model_of(home: Home, spec: AdapterSpec, chosen: ChosenRelease) -> tuple[Vector, Frozen]:
    """What the model adds to its base: B of the first season, in terms of :func:`shared_a_of`, float32 Layout order,
    and what those of all later ones add to it."""
    blobs = BlobStore(home.blobs)
    own = read(home.private, chosen.branch, spec) if chosen.private else {}
    layers = together(read_layers(blobs, chosen.adapters, spec), own)
    vector = layers.pop(0, np.zeros(spec.dimension, np.float32))
    return vector, frozen_of(spec, layers, blobs)


def shared_a_of(home: Home, spec: AdapterSpec) -> dict[str, Vector]:
    """The network's A on a base model. Raises :class:`ServingError` where it is not here yet."""
    blobs = BlobStore(home.blobs)
    if spec.a_digest not in blobs:
        raise ServingError("The network's shared A is not on this device yet", "Fetch it with `banyan up`")
    return from_bytes(blobs.read(spec.a_digest), spec.rank, spec.tensors)


def base_of(home: Home, base: BaseModel, given: Path | None = None) -> Path:
    """The folder of the ``base`` model: ``given``, which is checked, or this node's copy.

    Raises :class:`~banyan.node.learning.errors.ModelError` and :class:`ServingError`.
    """
    if given is not None:
        from banyan.node.learning.base_model import check_fingerprint

        check_fingerprint(given, base)
        return given
    blobs = BlobStore(home.blobs)
    if missing := base_folder.missing(blobs, base):
        size = sum(size for _, size in missing) / 1e6
        raise ServingError(
            f"The base model {base.name} is not on this device: {size:,.1f} MB of it are missing",
            "Give a folder that holds it with --base, or let the node fetch it: `banyan train --data PATH`",
        )
    return base_folder.link(home, blobs, base)


# ------------------------------------------------------------------------------------------ where no node runs


class _Nobody:
    """Fetches nothing: what is in the store is here, and nothing else."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def fetch(self, digest: bytes, size: int, sources: Sequence[str]) -> str | None:
        return None if digest in self._blobs else "no node is running that could fetch it (`banyan up`)"


def _from_store(home: Home, request: ComposeRequest) -> dict[str, Any]:
    with HomeLock(home.root):  # for a moment: no node is to start while its database is being read
        core = stored_core(home)
    return trio.run(compose, request, core, _Nobody(BlobStore(home.blobs)))
