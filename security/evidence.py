"""Evidence of equivocation: two envelopes of one author that contradict each other.

Signing two different updates for one round, or two releases for one height, splits honest nodes; the two
signatures are their own proof, which anyone checks with nothing but the author's id. What counts as *the same
occasion* is the protocol's knowledge: it gives every kind of message that must be unique a *slot*, such as
(branch, height), and an author may fill each slot of a kind with one content only.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Annotated, Protocol, Self

from banyan.security.canonical import Plain
from banyan.security.envelope import MAX_BYTES, Envelope, EnvelopeRefused, open_envelope
from banyan.security.errors import Refused
from banyan.security.identity import Verifier, verify
from banyan.security.schema import Length


class EvidenceRefused(Refused):
    """Two messages that prove nothing; ``reason`` is one of ``malformed``, ``different-network``,
    ``different-author``, ``different-kind``, ``no-slot``, ``different-slot``, ``same-content``."""


class SlotOf(Protocol):
    """The slot that a message fills, or None if its kind has none. May raise ``Refused`` for a malformed
    body."""

    def __call__(self, kind: str, body: dict[str, Plain], /) -> Hashable | None: ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """The wire forms of two contradictory envelopes, in ascending order so that one pair is one evidence.

    Travels as a canonical map (``schema.to_plain`` / ``from_plain``).
    """

    first: Annotated[bytes, Length(1, MAX_BYTES)] = field(repr=False)
    second: Annotated[bytes, Length(1, MAX_BYTES)] = field(repr=False)

    @classmethod
    def of(cls, a: Envelope, b: Envelope) -> Self:
        """The evidence that ``a`` and ``b`` are; :func:`check_equivocation` says whether they are any."""
        return cls(*sorted((a.data, b.data)))

    def prove(self, *, network: bytes, slot_of: SlotOf, verify: Verifier = verify) -> str:
        """The node id of the proven equivocator. Raises :class:`EvidenceRefused` if nothing is proved."""
        if self.first >= self.second:
            raise EvidenceRefused("malformed", "The two messages are equal or out of order")
        try:
            a = open_envelope(self.first, network=network, verify=verify)
            b = open_envelope(self.second, network=network, verify=verify)
        except EnvelopeRefused as error:
            raise EvidenceRefused("malformed", f"The evidence is not sound: {error.what}") from error
        check_equivocation(a, b, slot_of=slot_of)
        return a.author


def check_equivocation(a: Envelope, b: Envelope, *, slot_of: SlotOf) -> None:
    """Whether two *opened* envelopes prove that their author equivocated.

    The same network, author, kind and slot, but another body. The same body sent again with another sequence
    number or time is no offence. Raises :class:`EvidenceRefused` if they do not prove it.
    """
    if a.network != b.network:
        raise EvidenceRefused("different-network", "The two messages belong to different networks")
    if a.author != b.author:
        raise EvidenceRefused("different-author", "The two messages have different authors")
    if a.kind != b.kind:
        raise EvidenceRefused("different-kind", "The two messages are of different kinds")
    if a.body == b.body:
        raise EvidenceRefused("same-content", "The two messages say the same")
    if _slot(a, slot_of) != _slot(b, slot_of):
        raise EvidenceRefused("different-slot", "The two messages are about different occasions")


def _slot(envelope: Envelope, slot_of: SlotOf) -> Hashable:
    try:
        slot = slot_of(envelope.kind, envelope.content())
    except Refused as error:
        raise EvidenceRefused("malformed", f"A message in the evidence is not sound: {error.what}") from error
    if slot is None:
        raise EvidenceRefused("no-slot", f"An author may send any number of {envelope.kind} messages")
    return slot
