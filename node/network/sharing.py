"""What of the blob store others may have: everything that they can name, but what the owner keeps back."""

from __future__ import annotations

from collections.abc import Callable, Collection

from banyan.node.network.transport import BlobReader, BlobSource, Digest


class SharedBlobs:
    """The blobs of ``source`` but those that ``withheld`` names at the moment; a BlobSource."""

    def __init__(self, source: BlobSource, withheld: Callable[[], Collection[Digest]]) -> None:
        self._source = source
        self._withheld = withheld

    def open(self, digest: Digest) -> BlobReader | None:
        """The blob, or None where it is not here or is kept back: to a peer both look alike."""
        return None if digest in self._withheld() else self._source.open(digest)
