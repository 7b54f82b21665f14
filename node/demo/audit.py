"""Who had a say in a release: recomputed from its signed inputs, as any member of a network may.

The certificate is checked against the history, every update's signature against its author, and the rule is run
again on the very blobs that the release names. What the rule gave each update, and how far the release is from the
one without the attackers, come out of that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from banyan.aggregation.errors import AggregationError
from banyan.node.home import Home
from banyan.node.learning.aggregate_job import aggregate
from banyan.node.learning.blobs import Blobs, read_blob
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.store import BlobMissing, BlobStore
from banyan.protocol.chain import Chain
from banyan.protocol.effects import Aggregated
from banyan.protocol.judgement import sums_of
from banyan.protocol.messages import KINDS, CertifiedRelease, Opening, Update, read_body
from banyan.protocol.reader import Reader
from banyan.protocol.records import Record
from banyan.protocol.release import Contribution, Release
from banyan.security.charter import Charter
from banyan.security.envelope import Envelope
from banyan.security.errors import BanyanError, Refused

#: The reason in a summary for an update that was admitted and that the rule then gave no weight.
OUTVOTED: Final = "outvoted"

#: Weights below this are rounding.
NOTHING: Final = 1e-9


class AuditFailed(BanyanError):
    """A certified release does not follow from its signed inputs, or they are not to be had."""


@dataclass(frozen=True, slots=True)
class Audited:
    """One release, recomputed.

    ``weights`` is None for a rule that works column by column. ``displacement`` is the norm of the difference between
    the change and the one without the attackers, over the latter's norm (None: without them there are too few for the
    rule). ``agreement`` is the relative difference of the
    change from ours. ``signed`` counts the inputs whose signature was checked here.
    """

    height: int
    release: str
    leader: str
    cosigners: tuple[str, ...]
    admitted: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    weights: dict[str, float] | None
    blobs: dict[str, bytes]
    displacement: float | None
    agreement: float
    signed: int

    @property
    def used(self) -> tuple[str, ...]:
        """The authors whose update has a share in the release."""
        if self.weights is None:
            return self.admitted
        return tuple(author for author in self.admitted if self.weights[author] > NOTHING)

    @property
    def left_out(self) -> tuple[tuple[str, str], ...]:
        """Everyone else, with the reason."""
        outvoted = ((author, OUTVOTED) for author in self.admitted if author not in self.used)
        return (*self.refused, *outvoted)


class Auditor:
    """Audits one branch from what the nodes at ``homes`` keep on disk; they may be running."""

    def __init__(
        self, charter: Charter, branch: str, homes: Sequence[Home], attackers: Collection[str]
    ) -> None:
        self._charter = charter
        self._reader = Reader(charter.network_id, max_bytes=charter.limits.message_bytes)
        self._branch = branch
        self._homes = homes
        self._attackers = frozenset(attackers)

    def audit(self, height: int) -> Audited | None:
        """The release at ``height``, or None if no node holds it yet. Raises :class:`AuditFailed`, ``Refused``."""
        envelopes = list(self._records())
        chain = self._chain(envelopes)
        release, proof = chain.at(height), chain.proof(height)
        if release is None or proof is None:
            return None
        base = chain.at(height - 1)
        assert base is not None  # a chain has no gaps
        signed = self._check_signatures(release, envelopes)
        blobs = Library([BlobStore(home.blobs) for home in self._homes])
        result = self._recompute(release, base, release.used, release.f, blobs)
        if not result.agrees:
            raise AuditFailed(
                f"Release {height} of {self._branch} differs from what its signed updates give by {result.error:.1g}",
                "This is a bug, or the whole committee lies",
            )
        authors = {each.key: each.source for each in release.used}
        weights = None
        if result.weights is not None:
            weights = {authors[key]: share for key, share in result.weights.items()}
        return Audited(
            height=height,
            release=release.digest.hex(),
            leader=proof.leader,
            cosigners=tuple(sorted(self._read(data).envelope.author for data in proof.certificate)),
            admitted=tuple(sorted(authors.values())),
            refused=tuple((item.source, item.reason) for item in release.left_out),
            weights=weights,
            blobs={each.source: each.blob for each in release.used},
            displacement=self._displacement(release, base, blobs),
            agreement=result.error,
            signed=signed,
        )

    def _records(self) -> Iterator[Envelope]:
        """The signed records on the nodes' disks, each once and verified."""
        seen: set[bytes] = set()
        for home in self._homes:
            for data in stored_records(home):
                if data not in seen:
                    seen.add(data)
                    with suppress(Refused):
                        yield self._reader.open(data)

    def _read(self, data: bytes) -> Record:
        return self._reader.record(self._reader.open(data))

    def _chain(self, envelopes: Iterable[Envelope]) -> Chain:
        """The branch's history, every certificate checked against the one before."""
        bodies = [read_body(e, KINDS[e.kind]) for e in envelopes if e.kind in ("opening", "release")]
        chain = Chain(self._branch, self._charter.committee, self._read)
        for body in bodies:
            if isinstance(body, Opening) and body.release.branch == self._branch and chain.head is None:
                chain.check_opening(body.release)
                chain.open(body.release)
        certified = [body for body in bodies if isinstance(body, CertifiedRelease)]
        for body in sorted(certified, key=lambda body: body.release.height):
            if body.release.branch == self._branch and body.release.height == chain.height + 1:
                chain.verify(body)
                chain.append(body)
        return chain

    def _check_signatures(self, release: Release, envelopes: Iterable[Envelope]) -> int:
        """How many of the release's updates were found and are what their authors signed."""
        found = {envelope.id: envelope for envelope in envelopes if envelope.kind == "update"}
        signed = 0
        for each in release.used:
            envelope = found.get(each.key)
            if envelope is None:
                continue  # closed rounds' updates are kept for a few rounds only
            update = read_body(envelope, Update)
            if (envelope.author, update.blob, update.height) != (each.source, each.blob, release.height):
                raise AuditFailed(f"Release {release.height} credits {each.source} with what it did not sign")
            signed += 1
        return signed

    def _recompute(
        self, release: Release, base: Release, used: tuple[Contribution, ...], f: int, blobs: Blobs
    ) -> Aggregated:
        job = sums_of(replace(release, used=used, f=f), base, self._charter, expected=True)
        try:
            return aggregate(job, blobs=blobs, spec=self._charter.adapter_at(job.branch))
        except BlobMissing as error:
            raise AuditFailed(f"An input of release {release.height} is on no node any more") from error

    def _displacement(self, release: Release, base: Release, blobs: Blobs) -> float | None:
        """With fewer inputs f falls by as many: the rule then keeps as many honest ones as before."""
        honest = tuple(each for each in release.used if each.source not in self._attackers)
        fewer = len(release.used) - len(honest)
        if not fewer:
            return 0.0
        try:
            without = self._recompute(release, base, honest, max(0, release.f - fewer), blobs)
        except AggregationError:
            return None
        spec = self._charter.adapter
        ours, theirs = (
            read_blob(blobs, digest, spec).vector.decode().astype(np.float64)
            for digest in (without.change, release.change)
        )
        return float(np.linalg.norm(theirs - ours) / max(float(np.linalg.norm(ours)), 1e-30))


def stored_records(home: Home) -> list[bytes]:
    """The records in a node's database, read without disturbing the node; none while there is no database."""
    try:
        connection = sqlite3.connect(f"file:{home.database}?mode=ro", uri=True, timeout=10)
    except sqlite3.OperationalError:
        return []
    try:
        return [bytes(data) for (data,) in connection.execute("SELECT data FROM records ORDER BY position")]
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


class Library:
    """Reads from several blob stores; what is written stays in memory."""

    def __init__(self, stores: Sequence[BlobStore]) -> None:
        self._stores = stores
        self._own = MemoryBlobs()

    def read(self, digest: bytes) -> bytes:
        """The blob, from whoever has it. Raises :class:`BlobMissing`."""
        if digest in self._own.data:
            return self._own.read(digest)
        for store in self._stores:
            if digest in store:
                return store.read(digest)
        raise BlobMissing(f"Blob {digest.hex()[:12]} is on no node")

    def put(self, data: bytes) -> bytes:
        """Keep in memory."""
        return self._own.put(data)
