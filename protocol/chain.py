"""A branch's certified history: which release follows which, and the proof of each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator

from banyan.protocol.agreement import quorum_of
from banyan.protocol.messages import CertifiedRelease, Vote
from banyan.protocol.records import Record
from banyan.protocol.release import Release, committee_of, opening
from banyan.security.charter import CommitteePolicy
from banyan.security.errors import Refused

__all__ = ["Chain", "ReleaseRefused"]


class ReleaseRefused(Refused):
    """A release without a valid certificate, or one that does not follow our head."""


class Chain:
    """The releases of ``branch`` from its opening to its head, each verified against the one before. It may also begin
    with a later release whose digest is certified elsewhere.

    Args:
        branch: the branch's path.
        policy: how committees are drawn.
        read: the record in an envelope, its signature verified; or raises ``Refused``.
    """

    def __init__(self, branch: str, policy: CommitteePolicy, read: Callable[[bytes], Record]) -> None:
        self.branch = branch
        self.head: Release | None = None
        self.committee: tuple[str, ...] = ()
        """Who closes the running round, in the order of leading; empty before the opening."""
        self.closers: tuple[str, ...] = ()
        """Who has closed the round before, and so has the head's blobs."""
        self._policy = policy
        self._read = read
        self._releases: list[Release] = []
        self._proofs: dict[int, CertifiedRelease] = {}

    @property
    def height(self) -> int:
        """The height of the head; -1 before the opening."""
        return self.head.height if self.head else -1

    def at(self, height: int) -> Release | None:
        place = height - self._releases[0].height if self._releases else -1
        return self._releases[place] if 0 <= place < len(self._releases) else None

    @property
    def first(self) -> int:
        """The height of the oldest release here; -1 before the opening."""
        return self._releases[0].height if self._releases else -1

    def at_time(self, time: int) -> Release | None:
        """The newest release that is no newer than ``time`` (ms): times never fall along a branch."""
        place = bisect_right(self._releases, time, key=lambda release: release.time)
        return self._releases[place - 1] if place else None

    def lineage(self, most: int) -> list[bytes]:
        """The digests of the newest ``most`` releases, from the head backwards."""
        return [release.digest for release in self._releases[: -most - 1 : -1]]

    def proof(self, height: int) -> CertifiedRelease | None:
        return self._proofs.get(height)

    def __len__(self) -> int:
        """How many releases are here."""
        return len(self._releases)

    def releases(self) -> Iterator[Release]:
        return iter(self._releases)

    def check_opening(self, release: Release) -> None:
        """Whether ``release`` may be height 0; that the charter's first root signed it is the caller's to check.

        Raises:
            ReleaseRefused: ``bad-opening``, or ``fork`` if the branch is open with another roster.
        """
        if self.head is not None:
            raise ReleaseRefused("fork", f"{self.branch} is already open")
        members = {seat.member for seat in release.roster}
        as_opened = opening(self.branch, release.roster, release.time, release.adapter, release.adapter_size)
        if release != as_opened or len(members) != len(release.roster):
            raise ReleaseRefused("bad-opening", f"This is not an opening of {self.branch}")

    def open(self, release: Release) -> None:
        """Begin with height 0, which :meth:`check_opening` has passed."""
        self._append(release)

    def append(self, certified: CertifiedRelease) -> None:
        """Make ``certified`` the new head: :meth:`verify` has passed it, or its digest is certified elsewhere."""
        self._proofs[certified.release.height] = certified
        self._append(certified.release)

    def _append(self, release: Release) -> None:
        self._releases.append(release)
        self.head = release
        self.closers = self.committee
        self.committee = committee_of(release, self._policy)

    def verify(self, certified: CertifiedRelease) -> None:
        """Check that ``certified`` is the next release after our head, and its certificate.

        Raises:
            ReleaseRefused: ``fork`` (it contradicts our history), ``bad-certificate``.
        """
        release, head = certified.release, self.head
        if head is None or release.height != head.height + 1 or release.parent != head.digest:
            raise ReleaseRefused(
                "fork", f"Release {release.height} of {self.branch} does not follow our head"
            )
        committee, signers = self.committee, self.signers(certified)
        if not signers.issubset(committee) or len(signers) != len(certified.certificate):
            raise ReleaseRefused(
                "bad-certificate", "The certificate has signatures from outside the committee"
            )
        if len(signers) < quorum_of(len(committee)):
            needed = quorum_of(len(committee))
            raise ReleaseRefused(
                "bad-certificate", f"The certificate has {len(signers)} of {needed} signatures"
            )
        if certified.leader != committee[certified.view % len(committee)]:
            raise ReleaseRefused("bad-certificate", "The certificate names a leader whose turn it was not")

    def signers(self, certified: CertifiedRelease) -> set[str]:
        """Who has precommitted to the release; that they are its committee is what :meth:`verify` checks.

        Raises:
            ReleaseRefused: ``bad-certificate``: the certificate holds something else.
        """
        release = certified.release
        digest = release.digest
        return {self._cosigner(data, release, certified.view, digest) for data in certified.certificate}

    def _cosigner(self, data: bytes, release: Release, view: int, digest: bytes) -> str:
        """The author of one precommit for exactly this release."""
        record = self._read(data)
        expected = (release.branch, release.height, view, "precommit", digest)
        vote = record.body
        if (
            not isinstance(vote, Vote)
            or (vote.branch, vote.height, vote.view, vote.phase, vote.release) != expected
        ):
            raise ReleaseRefused("bad-certificate", "The certificate holds a signature on something else")
        return record.envelope.author
