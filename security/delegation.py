"""Delegations: how a root key lets another key admit members, link by link, with no server.

A *delegation* says, signed by its author: this key may admit so many members, under this branch, until then;
and, if ``may_invite``, may pass on a part of that right. A *chain* of at most :data:`MAX_CHAIN` of them leads
from a root in the charter to the key that signs a credential. Every link may only narrow what the link before
it allows, so the whole chain is judged from its own bytes and the charter.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Annotated, Final, TypeAlias

from banyan.security import canonical
from banyan.security.errors import Refused
from banyan.security.identity import NodeId, Signer, Verifier, verify
from banyan.security.schema import Between, Digest, Length, to_plain
from banyan.security.scope import Path, covers

DOMAIN: Final = b"banyan/delegation/1\0"
MAX_CHAIN: Final = 3
MAX_USES: Final = 10_000

Time: TypeAlias = Annotated[int, Between(0, 2**53)]  # ms since the epoch
Use: TypeAlias = Annotated[int, Between(0, MAX_USES)]
Signature: TypeAlias = Annotated[bytes, Length(64, 64)]


class CredentialRefused(Refused):
    """An invite or credential that admits nobody. ``reason`` is one of

    ``malformed`` (not an invite or credential at all), ``altered`` (a signature or checksum does not hold),
    ``wrong-network``, ``untrusted-root``, ``scope`` (claims more than it was granted), ``over-used``,
    ``not-yet-valid``, ``expired``, ``revoked``.
    """


@dataclass(frozen=True, slots=True)
class Delegation:
    """The right to admit members, given by ``author`` to ``key``."""

    network: Digest
    author: NodeId
    key: NodeId
    """Who gets the right: a member's key, or the throw-away key inside an invite."""

    scope: Path
    """The branch, with all below it, that admitted members may join."""

    may_invite: bool
    """Whether ``key`` may delegate further."""

    issued: Time
    expires: Time
    """Until when ``key`` may admit; ms."""

    until: Time
    """When memberships that come of it end at the latest; ms."""

    uses: Annotated[int, Between(1, MAX_USES)]
    """How many members may come of it. They are numbered 1 to ``uses``, and each number is good for one."""

    use: Use
    """The first of its author's numbers that this takes; it takes ``uses`` of them. 0 for a root, whose numbers
    are not limited."""

    signature: Signature = field(repr=False)


Chain: TypeAlias = Annotated[tuple[Delegation, ...], Length(0, MAX_CHAIN)]


def delegate(
    signer: Signer,
    *,
    network: bytes,
    key: str,
    issued: int,
    expires: int,
    until: int,
    scope: str = "/",
    may_invite: bool = False,
    uses: int = 1,
    use: int = 0,
) -> Delegation:
    """Sign the right to admit ``uses`` members over to ``key``; ``use`` is 0 if ``signer`` is a root.

    Whether ``signer`` has that right is what :func:`check_chain` finds out.
    """
    unsigned = Delegation(
        network, signer.node_id, key, scope, may_invite, issued, expires, until, uses, use, bytes(64)
    )
    return replace(unsigned, signature=signer.sign(signed_bytes(DOMAIN, unsigned)))


def signed_bytes(domain: bytes, document: object) -> bytes:
    """What the signature of a document with a ``signature`` field covers: its domain tag and every other
    field."""
    plain = to_plain(document)
    del plain["signature"]
    return domain + canonical.encode(plain)


def check_chain(
    chain: tuple[Delegation, ...],
    *,
    network: bytes,
    roots: Collection[str] | None,
    verify: Verifier = verify,
) -> None:
    """Whether each link was rightly made by the one before, the first by one of ``roots``; time apart.

    ``roots`` may be None for one who does not have the charter yet. Raises :class:`CredentialRefused`.
    """
    if not 1 <= len(chain) <= MAX_CHAIN:
        raise CredentialRefused(
            "malformed", f"An invite has {len(chain)} links where 1 to {MAX_CHAIN} can be"
        )
    if any(link.network != network for link in chain):
        raise wrong_network()
    if roots is not None and chain[0].author not in roots:
        raise untrusted_root()
    for granted, link in pairwise(chain):
        _check_narrower(granted, link)
    for link in chain:
        if not verify(link.author, link.signature, signed_bytes(DOMAIN, link)):
            raise altered()


def _check_narrower(granted: Delegation, link: Delegation) -> None:
    if link.author != granted.key:
        raise altered()
    if not granted.may_invite:
        raise too_much("it was made by a member who may not invite others")
    if not covers(granted.scope, link.scope):
        raise too_much(f"it opens {link.scope} where only {granted.scope} was granted")
    if link.expires > granted.expires or link.until > granted.until or link.issued > granted.expires:
        raise too_much("it lasts longer than the right it comes from")
    check_use(link.use, granted)
    check_use(link.use + link.uses - 1, granted)


def check_use(use: int, granted: Delegation) -> None:
    """Whether the number ``use`` is one that ``granted`` gave."""
    if not 1 <= use <= granted.uses:
        times = "once" if granted.uses == 1 else f"{granted.uses} times"
        raise CredentialRefused(
            "over-used",
            f"The invite may be used {times}, and this would be use number {use}",
            "Ask for a new invite",
        )


def check_age(chain: tuple[Delegation, ...], issued: int, skew: int) -> None:
    """Whether something signed at ``issued`` (ms) by the last key of ``chain`` was signed in its time."""
    last = chain[-1]
    if issued > last.expires + skew:
        raise CredentialRefused("expired", "The invite has expired", "Ask for a new invite")
    if issued + skew < last.issued:
        raise CredentialRefused(
            "not-yet-valid", "The invite is not valid yet", "Check this device's clock, and the inviter's"
        )


def check_not_revoked(chain: tuple[Delegation, ...], revoked: Collection[str]) -> None:
    """Whether every key along ``chain`` still stands."""
    if any(link.author in revoked or link.key in revoked for link in chain):
        raise CredentialRefused(
            "revoked", "The invite behind this membership was revoked", "Ask for a new invite"
        )


def altered() -> CredentialRefused:
    return CredentialRefused(
        "altered", "The invite was altered: a signature in it does not hold", "Ask for it again"
    )


def wrong_network() -> CredentialRefused:
    return CredentialRefused(
        "wrong-network", "The invite is for another network", "Ask a member of this network for an invite"
    )


def untrusted_root() -> CredentialRefused:
    return CredentialRefused(
        "untrusted-root",
        "The invite does not come from a founder of this network",
        "Ask a member of this network for an invite",
    )


def too_much(why: str) -> CredentialRefused:
    return CredentialRefused(
        "scope", f"The invite claims more than was granted: {why}", "Ask for a new invite"
    )
