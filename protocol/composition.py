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
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from banyan.protocol.release import Digest32, Height, Name, OptionalDigest, OptionalSize, Release

__all__ = ["Part", "blobs_of", "parts_of"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one release adds to a model: its ``adapter``, and to that of its own branch what was ``lifted`` into it.
    Either may be empty."""

    branch: Name
    height: Height
    release: Digest32
    adapter: OptionalDigest
    size: OptionalSize
    lifted: OptionalDigest = b""
    lifted_size: OptionalSize = 0

    @property
    def blobs(self) -> tuple[tuple[bytes, int], ...]:
        """Its adapters that are not empty, with their sizes in bytes."""
        both = ((self.adapter, self.size), (self.lifted, self.lifted_size))
        return tuple((blob, size) for blob, size in both if blob)


def parts_of(path: Iterable[Release]) -> tuple[Part, ...]:
    """The parts of the model of the last release of ``path``, which has one release of each branch from where its base
    model begins down; branches that are not open yet are left out."""
    releases = [*path]
    return tuple(
        Part(
            each.branch,
            each.height,
            each.digest,
            each.adapter,
            each.adapter_size,
            *((each.lifted, each.lifted_size) if each is releases[-1] else ()),
        )
        for each in releases
    )


def blobs_of(parts: Iterable[Part]) -> tuple[bytes, ...]:
    """The blobs whose float32 sum, in this order, is the model that ``parts`` make."""
    return tuple(blob for part in parts for blob, _ in part.blobs)
