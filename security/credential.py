"""Credentials: how a node proves that it is a member, to any other member, with no server.

A credential says *this node is a member of this network, for this branch, until then*. It is signed by a root
itself, or by the last key of a delegation chain that starts at one (usually the throw-away key of an invite,
with which the joiner signs its own credential), or, in an ``open`` network, by the node alone, which proves
nothing but possession of the key.

What no signature can prevent without a server: two people using one number of one invite. Each alone is
valid; both together are proof (:func:`conflict`), and a node that has seen one refuses the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from banyan.security.charter import Charter
from banyan.security.delegation import (
    Chain,
    CredentialRefused,
    Delegation,
    Signature,
    Time,
    Use,
    altered,
    check_age,
    check_chain,
    check_not_revoked,
    check_use,
    delegate,
    signed_bytes,
    too_much,
    untrusted_root,
    wrong_network,
)
from banyan.security.identity import NodeId, Signer, Verifier, verify
from banyan.security.invite import Invite
from banyan.security.schema import Digest, to_bytes
from banyan.security.scope import Path, covers

__all__ = [
    "Credential",
    "CredentialRefused",
    "Delegation",
    "Invite",
    "check",
    "check_grant",
    "check_invite",
    "check_time",
    "conflict",
    "delegate",
    "is_guest",
    "issue",
    "root_credential",
    "self_credential",
]

DOMAIN: Final = b"banyan/credential/1\0"
_CENTURY: Final = 100 * 365 * 86_400_000


@dataclass(frozen=True)
class Credential:
    """``member`` belongs to ``network``, under the branch ``scope``, from ``issued`` to ``expires`` (ms).

    ``author`` signed it: the last key of ``chain``, a root (no chain), or the member itself in an open
    network. Travels as a canonical map (``schema.to_plain`` / ``from_plain``).
    """

    network: Digest
    member: NodeId
    scope: Path
    issued: Time
    expires: Time
    use: Use
    """Which of the invite's numbers it spends, from 1; 0 without an invite."""

    chain: Chain
    author: NodeId
    signature: Signature = field(repr=False)

    @cached_property
    def digest(self) -> bytes:
        """The SHA-256 of the canonical encoding: a key for remembering that this one was checked."""
        return hashlib.sha256(to_bytes(self)).digest()

    @cached_property
    def signed(self) -> bytes:
        """What the signature covers."""
        return signed_bytes(DOMAIN, self)

    @property
    def self_signed(self) -> bool:
        """Whether nobody but the member vouches for it: a root's own, or a guest's (:func:`is_guest`)."""
        return not self.chain and self.author == self.member

    @cached_property
    def keys(self) -> frozenset[str]:
        """Every node id whose revocation ends this membership: the member's and all that vouch for it."""
        return frozenset(
            {self.member, self.author} | {key for link in self.chain for key in (link.author, link.key)}
        )

    def reaches(self, path: str) -> bool:
        """Whether the member may take part in the branch ``path``."""
        return covers(self.scope, path)


def issue(invite: Invite, member: str, now: int, use: int = 1, *, skew: int = 0) -> Credential:
    """The credential with which ``member`` joins, signed with the key inside ``invite`` as its number ``use``.

    Everything that can be checked without the charter is, so that a joiner hears at once what is wrong.
    ``skew`` is the clock difference (ms) to tolerate. Raises :class:`CredentialRefused`.
    """
    check_chain(invite.chain, network=invite.network, roots=None)
    check_age(invite.chain, now, skew)
    last = invite.chain[-1]
    check_use(use, last)
    return _sign(invite.signer, last.network, member, last.scope, now, last.until, use, invite.chain)


def root_credential(signer: Signer, charter: Charter, now: int, member: str | None = None) -> Credential:
    """A credential that a root signs with its own key: for itself, or directly for ``member``."""
    return _sign(signer, charter.network_id, member or signer.node_id, "/", now, now + _CENTURY)


def self_credential(signer: Signer, charter: Charter, now: int) -> Credential:
    """A guest's own credential, which only an open network accepts."""
    return root_credential(signer, charter, now)


def is_guest(credential: Credential, charter: Charter) -> bool:
    """Whether nobody but its holder vouches for a membership, as open networks allow. Guests may learn, follow, serve
    blobs and contribute; members, for whom a root has vouched, decide."""
    return credential.self_signed and credential.member not in charter.roots


def check(
    credential: Credential,
    charter: Charter,
    now: int,
    revoked: Collection[str] = frozenset(),
    *,
    verify: Verifier = verify,
) -> None:
    """Whether ``credential`` makes its member a member now. Raises :class:`CredentialRefused` saying why not.

    ``revoked`` holds the revoked node ids: members, delegates, and the keys of invites. Revoking a key also
    revokes everything granted through it: a thief of the key could back-date his signatures.
    """
    check_grant(credential, charter, verify=verify)
    check_time(credential, charter, now)
    _check_revoked(credential, revoked)


def check_grant(credential: Credential, charter: Charter, *, verify: Verifier = verify) -> None:
    """Whether its author signed it and had the right to: what time does not change. Raises :class:`CredentialRefused`
    saying why not."""
    if credential.network != charter.network_id:
        raise wrong_network()
    _check_author(credential, charter, verify)
    if not verify(credential.author, credential.signature, credential.signed):
        raise altered()


def check_time(credential: Credential, charter: Charter, now: int) -> None:
    """Whether the membership has begun at ``now`` (ms) and not ended. Raises :class:`CredentialRefused`."""
    skew = charter.limits.clock_skew
    if now > credential.expires + skew:
        raise CredentialRefused("expired", "The membership has expired", "Ask for a new invite")
    if credential.issued > now + skew:
        raise CredentialRefused(
            "not-yet-valid", "The membership begins in the future", "Check the clocks of both devices"
        )


def check_invite(
    invite: Invite,
    charter: Charter,
    now: int,
    revoked: Collection[str] = frozenset(),
    *,
    verify: Verifier = verify,
) -> None:
    """Whether somebody could join with ``invite`` now. Raises :class:`CredentialRefused` saying why not."""
    check_chain(invite.chain, network=charter.network_id, roots=charter.roots, verify=verify)
    check_age(invite.chain, now, charter.limits.clock_skew)
    check_not_revoked(invite.chain, revoked)


def conflict(first: Credential, second: Credential) -> bool:
    """Whether two valid credentials together prove that one number of an invite was given out twice.

    That is: where their chains part, one key gave the same number to two. Keep the one seen first: neither its
    time nor its bytes can say which is the older, since the holder of a leaked invite chooses both, and a
    sitting member should not be ousted by a latecomer.
    """
    way: list[Delegation | Credential] = [*first.chain, first]
    other_way: list[Delegation | Credential] = [*second.chain, second]
    for depth, (one, other) in enumerate(zip(way, other_way, strict=False)):
        if one != other:
            (taker, numbers), (other_taker, other_numbers) = _taken(one), _taken(other)
            shared = numbers.start < other_numbers.stop and other_numbers.start < numbers.stop
            return depth > 0 and shared and taker != other_taker  # a root's own numbers are not limited
    return False


def _taken(step: Delegation | Credential) -> tuple[str, range]:
    """Whom a step of the way serves, and which of the numbers of the step before it takes."""
    if isinstance(step, Delegation):
        return step.key, range(step.use, step.use + step.uses)
    return step.member, range(step.use, step.use + 1)


def _sign(
    signer: Signer,
    network: bytes,
    member: str,
    scope: str,
    issued: int,
    expires: int,
    use: int = 0,
    chain: tuple[Delegation, ...] = (),
) -> Credential:
    unsigned = Credential(network, member, scope, issued, expires, use, chain, signer.node_id, bytes(64))
    return replace(unsigned, signature=signer.sign(unsigned.signed))


def _check_author(credential: Credential, charter: Charter, verify: Verifier) -> None:
    """Whether the author had the right to grant what the credential claims."""
    if not credential.chain:
        if credential.author in charter.roots:
            return
        if charter.admission != "open" or not credential.self_signed:
            raise untrusted_root()
        return
    check_chain(credential.chain, network=charter.network_id, roots=charter.roots, verify=verify)
    last = credential.chain[-1]
    if credential.author != last.key:
        raise altered()
    check_use(credential.use, last)
    check_age(credential.chain, credential.issued, charter.limits.clock_skew)
    if not covers(last.scope, credential.scope):
        raise too_much(f"it opens {credential.scope} where only {last.scope} was granted")
    if credential.expires > last.until:
        raise too_much("its membership lasts longer than the invite allows")


def _check_revoked(credential: Credential, revoked: Collection[str]) -> None:
    if credential.member in revoked:
        raise CredentialRefused("revoked", "The membership was revoked", "Ask a founder of the network")
    check_not_revoked(credential.chain, revoked)
