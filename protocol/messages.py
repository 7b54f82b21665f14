"""What peers say to each other: the body of every envelope, one frozen dataclass a kind.

*Records* are kept, gossiped and synced: presence, opening, update, state, draft, trial, proposal, vote, certified
release, accusation, revocation, season, card, founding, consent. *Control* messages pass once between two peers:
summary, inventory, want, bundle. Every message travels in a signed envelope whose ``kind`` names its class here
(:data:`KINDS`).

All bounds are checked when a body is read, before anything is done with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar

from banyan.protocol.card import Card
from banyan.protocol.release import Change, Release
from banyan.protocol.season import Season
from banyan.security import canonical
from banyan.security.charter import PROBE_BYTES
from banyan.security.credential import Credential
from banyan.security.envelope import Envelope
from banyan.security.evidence import Evidence
from banyan.security.quick import quick
from banyan.security.revocation import Revocation
from banyan.security.schema import Between, Length, Printable, fields_to_plain, from_plain, to_bytes, to_plain
from banyan.security.scope import Path

__all__ = [
    "CONTROL",
    "KINDS",
    "Accusation",
    "BranchFounding",
    "Bundle",
    "CertifiedRelease",
    "Consent",
    "Draft",
    "Inventory",
    "Opening",
    "Presence",
    "Proposal",
    "State",
    "Summary",
    "TopicSummary",
    "Trial",
    "Update",
    "Vote",
    "Want",
    "body_of",
    "pack",
    "read_body",
]

Digest32 = Annotated[bytes, Length(32, 32)]
OptionalDigest = Annotated[bytes, Length(0, 32)]
Node = Annotated[str, Length(1, 80)]
Branch = Annotated[str, Length(1, 200)]
Height = Annotated[int, Between(0, 2**40)]
View = Annotated[int, Between(-1, 2**20)]
Size = Annotated[int, Between(1, 2**40)]
Mark = Annotated[bytes, Length(12, 12)]
"""The first bytes of a record's name in sync: enough to tell records apart, short enough to list many."""


# --------------------------------------------------------------------------------------------- records


@dataclass(frozen=True, slots=True)
class Presence:
    """A sign of life: a node's credential, where to reach it, and the branch it works on. Renewed periodically."""

    branch: Branch
    credential: Credential
    addresses: Annotated[tuple[Annotated[str, Length(1, 256)], ...], Length(0, 8)]
    left: bool = False


@quick
@dataclass(frozen=True, slots=True)
class Update:
    """One node's signed delta for one round: its blob holds the change of the adapter against ``base``."""

    branch: Branch
    height: Height
    base: Digest32
    blob: Digest32
    size: Size
    credential: Credential
    loss_before: float | None
    loss_after: float | None
    fell: Change | None = None
    """By how much the loss on the author's own held-out rows has fallen over the charter's ``patience`` releases, in
    this season; None where it cannot tell."""


@dataclass(frozen=True, slots=True)
class State:
    """Where one node's own model stands where no committee leads: its blob holds the whole model, the sum along the
    branch's path. ``height`` is the release that the branch stands still at (0 where it never has any), ``step`` counts
    this node's steps since. The newest one counts."""

    branch: Branch
    height: Height
    step: Annotated[int, Between(1, 2**40)]
    blob: Digest32
    size: Size
    credential: Credential
    loss_before: float | None
    loss_after: float | None


@dataclass(frozen=True, slots=True)
class Opening:
    """The charter's first root opens a branch: height 0, with its first roster and no adapter yet."""

    release: Release


@dataclass(frozen=True, slots=True)
class Draft:
    """The leader of one view asks the round's voters to try the model it is about to propose: ``attempt`` counts the
    rules that it has come to."""

    branch: Branch
    height: Height
    view: Annotated[int, Between(0, 2**20)]
    attempt: Annotated[int, Between(0, 3)]
    adapter: Digest32
    size: Size


@dataclass(frozen=True, slots=True)
class Trial:
    """A voter's word on a drafted model: by how much ``adapter`` in the place of the head's raises the mean loss over
    ``rows`` of its own held-out rows (None and 0: it does not say), and over the branch's probe set (``probed``; None
    where there is none, or none here). Lower than zero is better."""

    branch: Branch
    height: Height
    adapter: Digest32
    change: Change | None
    rows: Annotated[int, Between(0, 2**31)]
    probed: Change | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A leader's release for one view of a round. ``valid_view`` is the earlier view in which a quorum already found
    this same release good, or -1, and ``proof`` that quorum's prevote envelopes."""

    branch: Branch
    height: Height
    view: Annotated[int, Between(0, 2**20)]
    valid_view: View
    proof: Annotated[tuple[Annotated[bytes, Length(1, 1024)], ...], Length(0, 64)]
    release: Release


@quick
@dataclass(frozen=True, slots=True)
class Vote:
    """A committee member's word on one view: for ``release``, or for none of it (empty).

    A ``precommit`` for a release is a co-signature: a quorum of them is its certificate.
    """

    branch: Branch
    height: Height
    view: Annotated[int, Between(0, 2**20)]
    phase: Literal["prevote", "precommit"]
    release: OptionalDigest
    reason: Annotated[str, Length(0, 80)]


@dataclass(frozen=True, slots=True)
class CertifiedRelease:
    """A release with its certificate: the precommit envelopes of a quorum of its committee, one view."""

    release: Release
    leader: Node
    view: Annotated[int, Between(0, 2**20)]
    certificate: Annotated[tuple[Annotated[bytes, Length(1, 1024)], ...], Length(1, 64)]


@dataclass(frozen=True, slots=True)
class Accusation:
    """``culprit`` cheated, and here is the proof: anyone checks it with nothing but the culprit's id."""

    culprit: Node
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class BranchFounding:
    """There is to be a branch ``branch`` below the one above it. Its author's foundings are numbered from 0, and it may
    say one thing only under each number, so that nobody founds without bound. ``probe`` is the SHA-256 of the branch's
    probe set, if it is to have one."""

    branch: Path
    description: Annotated[str, Length(0, 200), Printable]
    number: Annotated[int, Between(0, 4_095)]
    credential: Credential
    probe: OptionalDigest = b""
    probe_size: Annotated[int, Between(0, PROBE_BYTES)] = 0


@dataclass(frozen=True, slots=True)
class Consent:
    """Its author agrees that there be a branch ``branch``, with the seat that it has at the branch above after the
    release ``height`` of that."""

    branch: Path
    height: Height
    credential: Credential


# --------------------------------------------------------------------------------------------- control


@quick
@dataclass(frozen=True, slots=True)
class TopicSummary:
    """One topic in eight bytes and a head: equal fingerprints mean equal sets of records.

    ``height`` is the head's; of a node that has none, the first that it has use for.
    """

    topic: Annotated[str, Length(1, 210)]
    fingerprint: Annotated[bytes, Length(8, 8)]
    height: Height
    head: OptionalDigest


@dataclass(frozen=True, slots=True)
class Summary:
    """What the sender has, in short: the start of anti-entropy. With its ``presence`` a sender that may be a stranger
    shows in the same message that it may be answered; else that is empty."""

    topics: Annotated[tuple[TopicSummary, ...], Length(0, 256)]
    presence: Annotated[bytes, Length(0, 65_536)] = b""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The marks of every record of ``topic`` whose first byte lies in ``first``..``last`` (both included)."""

    topic: Annotated[str, Length(1, 210)]
    first: Annotated[int, Between(0, 255)]
    last: Annotated[int, Between(0, 255)]
    marks: Annotated[tuple[Mark, ...], Length(0, 4000)]


@dataclass(frozen=True, slots=True)
class Want:
    """Please send these records of ``topic``, and its releases above the height ``above``."""

    topic: Annotated[str, Length(1, 210)]
    marks: Annotated[tuple[Mark, ...], Length(0, 4000)]
    above: Annotated[int, Between(-1, 2**40)]


@dataclass(frozen=True, slots=True)
class Bundle:
    """Several records in one message: each is a signed envelope of its own author."""

    records: Annotated[tuple[Annotated[bytes, Length(1, 65_536)], ...], Length(1, 512)]


KINDS: Final[dict[str, type[Any]]] = {
    "presence": Presence,
    "opening": Opening,
    "update": Update,
    "state": State,
    "draft": Draft,
    "trial": Trial,
    "proposal": Proposal,
    "vote": Vote,
    "release": CertifiedRelease,
    "accusation": Accusation,
    "revocation": Revocation,
    "season": Season,
    "card": Card,
    "founding": BranchFounding,
    "consent": Consent,
    "summary": Summary,
    "inventory": Inventory,
    "want": Want,
    "bundle": Bundle,
}
CONTROL: Final = frozenset({"summary", "inventory", "want", "bundle"})
_NAMES: Final = {kind: name for name, kind in KINDS.items()}

Body = TypeVar("Body")


def body_of(message: object) -> tuple[str, dict[str, object]]:
    """The ``kind`` and the plain body under which ``message`` is sealed."""
    return _NAMES[type(message)], to_plain(message)


def pack(message: object) -> tuple[str, bytes]:
    """The ``kind`` of ``message`` and its body's canonical encoding. A release in it is not encoded again."""
    kind = _NAMES[type(message)]
    if not isinstance(message, Opening | Proposal | CertifiedRelease):
        return kind, to_bytes(message)
    plain = fields_to_plain(message, but="release")
    packed = {name: canonical.encode(value) for name, value in plain.items()}
    return kind, canonical.encode_map({**packed, "release": message.release.encoded})


def read_body(envelope: Envelope, kind: type[Body]) -> Body:
    """The body of a verified envelope as ``kind``; raises a ``Refused`` if it is anything else."""
    return from_plain(kind, envelope.content())
