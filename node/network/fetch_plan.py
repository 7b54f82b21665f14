"""Which chunk of a blob to ask of whom: pure bookkeeping, no I/O.

Chunks are handed out in order. Once all are handed out, a peer with nothing to do is given one that another
is still busy with, so that the last chunk of a slow peer holds nobody up. The hash of every chunk is kept
with the peer it came from: when the whole turns out false, they tell who lied, once the truth is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from banyan.node.network.transport import Digest, NodeId

_DUPLICATES = 2  # how many peers may be busy with one chunk at the end


@dataclass(frozen=True, slots=True)
class Chunk:
    """``length`` bytes from ``offset``."""

    index: int
    offset: int
    length: int


class FetchPlan:
    """``size`` bytes in chunks of ``chunk_bytes``, less what is ``present`` already."""

    def __init__(self, size: int, chunk_bytes: int, present: Sequence[tuple[int, int]] = ()) -> None:
        self._chunks = [
            Chunk(index, offset, min(chunk_bytes, size - offset))
            for index, offset in enumerate(range(0, size, chunk_bytes))
        ]
        self._missing = [c.index for c in self._chunks if not _covered(c, present)]
        self._missing.reverse()  # taken from the end
        self._left = set(self._missing)
        self._busy: dict[int, list[NodeId]] = {}
        self._claimed: set[int] = set()
        self._came: dict[int, tuple[NodeId, Digest]] = {}

    @property
    def done(self) -> bool:
        """Every byte is there."""
        return not self._left

    @property
    def complete(self) -> bool:
        """Every byte came through this plan: nothing was present before."""
        return len(self._came) == len(self._chunks)

    @property
    def received(self) -> dict[NodeId, int]:
        """Bytes used, by who gave them."""
        totals: dict[NodeId, int] = {}
        for index, (peer, _) in self._came.items():
            totals[peer] = totals.get(peer, 0) + self._chunks[index].length
        return totals

    def take(self, peer: NodeId) -> Chunk | None:
        """A chunk to ask of ``peer``; None if there is nothing for it now."""
        if self._missing:
            index = self._missing.pop()
        else:
            open_ones = [
                i
                for i, peers in self._busy.items()
                if i not in self._claimed and peer not in peers and len(peers) < _DUPLICATES
            ]
            if not open_ones:
                return None
            index = min(open_ones, key=lambda i: (len(self._busy[i]), i))
        self._busy.setdefault(index, []).append(peer)
        return self._chunks[index]

    def claim(self, chunk: Chunk) -> bool:
        """Somebody gave ``chunk``; whether it is the first copy, and so to be written (:meth:`written`)."""
        if chunk.index in self._claimed:
            return False
        self._claimed.add(chunk.index)
        return True

    def written(self, chunk: Chunk, peer: NodeId, digest: Digest) -> None:
        """The bytes of ``chunk`` that ``peer`` gave are in the sink; ``digest`` is their SHA-256."""
        self._came[chunk.index] = (peer, digest)
        self._left.discard(chunk.index)
        self._busy.pop(chunk.index, None)

    def give_back(self, peer: NodeId) -> None:
        """``peer`` is out: what only it was busy with is to be handed out anew."""
        for index, peers in list(self._busy.items()):
            if peer in peers:
                peers.remove(peer)
                if not peers and index not in self._claimed:
                    del self._busy[index]
                    self._missing.append(index)

    def suppliers(self) -> set[NodeId]:
        """Who gave at least one chunk."""
        return {peer for peer, _ in self._came.values()}

    def liars(self, truth: FetchPlan) -> set[NodeId]:
        """Who gave a chunk that differs from the one in ``truth``, a complete plan of the true blob."""
        return {peer for index, (peer, digest) in self._came.items() if truth._came[index][1] != digest}


def _covered(chunk: Chunk, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(start <= chunk.offset and chunk.offset + chunk.length <= stop for start, stop in ranges)
