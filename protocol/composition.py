"""What a model of the tree is the sum of: the one place that says so, for training, serving, export and scores.

With B of a branch meaning what the branch adds to the model above it, the model at a path is ``W + s·(Σ B)·A`` over the
branches from where its base model W begins down (:meth:`~banyan.security.charter.Charter.model_path`): from the root,
or from the nearest branch on the way that has another base. Adapters on two bases are never added up, and nothing is
lifted from one to the other. A lift moves the part C that a branch's children share: ``B += C`` there, and ``B -= C``
in every child, whose models stay what they are. Both happen in one act, the certified release of the branch above,
because nothing is written twice: a release keeps what its own members taught (``adapter``) apart from what was lifted
into it (``lifted``), which its children hold already, and so

    ``B = adapter + lifted - lifted of the branch above``.

Along a path these telescope: a model is the sum of the *adapters* from there down and of what was *lifted* into its
last branch. The models of the children are sums in which a lift above them does not appear; they are the same before
and after it to the last bit, at whatever release of the branch above a device stands.

All this holds in every season by itself. What a branch held when it left one stays part of the sum, in terms of that
season's A (:mod:`banyan.protocol.season`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

from banyan.protocol.release import (
    Digest32,
    Height,
    Layer,
    Name,
    OptionalDigest,
    OptionalSize,
    Release,
    SeasonNumber,
)
from banyan.security.model import MOST_SEASONS
from banyan.security.quick import quick
from banyan.security.schema import Length

__all__ = ["Part", "blobs_of", "parts_of", "split"]


@quick
@dataclass(frozen=True, slots=True)
class Part:
    """What one release adds to a model: its ``adapter``, and to that of its own branch what was ``lifted`` into it.
    Either may be empty. ``frozen`` is the same of earlier seasons."""

    branch: Name
    height: Height
    release: Digest32
    adapter: OptionalDigest
    size: OptionalSize
    lifted: OptionalDigest = b""
    lifted_size: OptionalSize = 0
    season: SeasonNumber = 0
    frozen: Annotated[tuple[Layer, ...], Length(0, MOST_SEASONS - 1)] = ()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What it adds in each season, the newest last."""
        newest = Layer(self.season, self.adapter, self.size, self.lifted, self.lifted_size)
        return (*self.frozen, newest)

    @property
    def blobs(self) -> tuple[tuple[bytes, int], ...]:
        """Its adapters that are not empty, with their sizes in bytes."""
        pairs = (
            pair
            for each in self.layers
            for pair in ((each.adapter, each.adapter_size), (each.lifted, each.lifted_size))
        )
        return tuple((blob, size) for blob, size in pairs if blob)


def parts_of(path: Iterable[Release]) -> tuple[Part, ...]:
    """The parts of the model of the last release of ``path``, which has one release of each branch from where its base
    model begins down; branches that are not open yet are left out."""
    releases = [*path]
    return tuple(_part(each, is_last=each is releases[-1]) for each in releases)


def _part(release: Release, *, is_last: bool) -> Part:
    lifted = (release.lifted, release.lifted_size) if is_last else (b"", 0)
    frozen = release.frozen
    if not is_last:
        frozen = tuple(replace(each, lifted=b"", lifted_size=0) for each in frozen if each.adapter)
    learned = (release.adapter, release.adapter_size)
    return Part(release.branch, release.height, release.digest, *learned, *lifted, release.season, frozen)


def blobs_of(parts: Iterable[Part]) -> tuple[bytes, ...]:
    """The blobs whose sum is the model that ``parts`` make: those of each season, in this order, in terms of its A."""
    return tuple(blob for part in parts for blob, _ in part.blobs)


def split(parts: Iterable[Part], season: int) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The blobs of ``parts`` that are of ``season``, and those that are of others."""
    layers = [
        (each.season, blob) for part in parts for each in part.layers for blob in (each.adapter, each.lifted)
    ]
    here = tuple(blob for number, blob in layers if blob and number == season)
    return here, tuple(blob for number, blob in layers if blob and number != season)
