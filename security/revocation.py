"""Revocations: a root takes back a membership or an invite, for everybody and for ever.

A revocation names one key. It ends that key's membership and everything granted through it, whenever that was
signed: whoever holds a compromised key chooses the date. It cannot be undone; a new invite starts afresh.
Being a grow-only set it needs no order, so gossip alone spreads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Final

from banyan.security.charter import Charter
from banyan.security.delegation import Signature, Time, signed_bytes
from banyan.security.errors import Refused
from banyan.security.identity import NodeId, Signer, Verifier, verify
from banyan.security.schema import Digest, Length, Printable

DOMAIN: Final = b"banyan/revocation/1\0"


class RevocationRefused(Refused):
    """A revocation that revokes nothing; ``reason`` is ``wrong-network``, ``untrusted-root`` or
    ``altered``."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """``author``, a root, revokes ``subject``: a member's node id, a delegate's, or an invite's key."""

    network: Digest
    subject: NodeId
    why: Annotated[str, Length(0, 200), Printable]
    """For people; signed, but not judged."""

    time: Time
    author: NodeId
    signature: Signature = field(repr=False)


def revoke(signer: Signer, charter: Charter, *, subject: str, why: str, now: int) -> Revocation:
    """Sign the revocation of ``subject``. Raises :class:`RevocationRefused` if ``signer`` is no root, or for
    a root.

    A root cannot be revoked: the roots *are* the network; found a new one without it.
    """
    unsigned = Revocation(charter.network_id, subject, why, now, signer.node_id, bytes(64))
    _check_parties(unsigned, charter)
    return replace(unsigned, signature=signer.sign(signed_bytes(DOMAIN, unsigned)))


def check_revocation(revocation: Revocation, charter: Charter, *, verify: Verifier = verify) -> None:
    """Whether everybody must honour ``revocation``. Raises :class:`RevocationRefused` saying why not."""
    _check_parties(revocation, charter)
    if not verify(revocation.author, revocation.signature, signed_bytes(DOMAIN, revocation)):
        raise RevocationRefused("altered", "The revocation was altered: its signature does not hold")


def _check_parties(revocation: Revocation, charter: Charter) -> None:
    if revocation.network != charter.network_id:
        raise RevocationRefused("wrong-network", "The revocation is for another network")
    if revocation.author not in charter.roots:
        raise RevocationRefused(
            "untrusted-root", "Only a founder of the network can revoke", "Ask a founder to do it"
        )
    if revocation.subject in charter.roots:
        raise RevocationRefused(
            "untrusted-root", "A founder's key cannot be revoked", "Found a new network without it"
        )
