"""Invites: a right to join in one string that survives mail, chat and line wrapping.

``banyan1…`` is base32 in bech32's alphabet (no 1, b, i or o to misread; BIP 173) of the canonical payload and
the first five bytes of its SHA-256. The payload leaves out what can be derived: the keys inside a chain
follow from one another, the last from the seed. Whoever holds the string can join as often as it allows:
treat it as a key.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Annotated, Final, Self, TypeAlias

from banyan.security import canonical
from banyan.security.canonical import CanonicalError
from banyan.security.delegation import MAX_CHAIN, Chain, CredentialRefused, Delegation, check_chain, delegate
from banyan.security.identity import Identity, Signer
from banyan.security.schema import Digest, Length, Matches, SchemaError, from_plain, to_plain

PREFIX: Final = "banyan1"
MAX_CHARACTERS: Final = 5_120  # eight long addresses and three links fit
_BECH32: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BASE32: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_CHECKSUM: Final = 5  # bytes: a random slip passes once in 10¹²


def _is_address(text: str) -> bool:
    return text.startswith("/") and text.isascii() and text.isprintable() and " " not in text


Address: TypeAlias = Annotated[str, Length(1, 200), Matches(_is_address, "a multiaddr such as /ip4/…/tcp/…")]


@dataclass(frozen=True, slots=True)
class Invite:
    """The right to join ``network``, found at ``addresses`` (multiaddrs ending in ``/p2p/<node id>``).

    ``seed`` is the secret of the throw-away key that the last delegation of ``chain`` is made out to.
    """

    network: Digest
    addresses: Annotated[tuple[Address, ...], Length(0, 8)]
    chain: Annotated[Chain, Length(1, MAX_CHAIN)]
    seed: Annotated[bytes, Length(32, 32)] = field(repr=False)

    @classmethod
    def create(
        cls,
        signer: Signer,
        *,
        network: bytes,
        addresses: tuple[str, ...],
        now: int,
        expires: int,
        until: int,
        scope: str = "/",
        uses: int = 1,
        may_invite: bool = False,
        chain: tuple[Delegation, ...] = (),
        use: int = 0,
        seed: bytes | None = None,
    ) -> Self:
        """A new invite by ``signer``: a root, or the last key of ``chain``.

        An invite by ``chain``'s last key takes ``uses`` of its numbers, from ``use`` on. Joining is possible
        until ``expires`` and memberships end at ``until`` (both ms). ``seed`` is random unless a test gives
        it. Raises :class:`banyan.security.schema.SchemaError` for a field out of bounds and
        :class:`CredentialRefused` for more than ``chain`` grants.
        """
        seed = seed or secrets.token_bytes(32)
        link = delegate(
            signer,
            network=network,
            key=Identity.from_seed(seed).node_id,
            issued=now,
            expires=expires,
            until=until,
            scope=scope,
            may_invite=may_invite,
            uses=uses,
            use=use,
        )
        invite = cls(network, addresses, (*chain, link), seed)
        to_plain(invite)
        check_chain(invite.chain, network=network, roots=None)
        return invite

    @property
    def key(self) -> str:
        """The node id of the invite's throw-away key: its public name, by which it can be revoked."""
        return self.chain[-1].key

    @property
    def signer(self) -> Identity:
        """The throw-away key that signs the joiner's credential."""
        return Identity.from_seed(self.seed)

    def __str__(self) -> str:
        rows = [[getattr(link, name) for name in _ROW] for link in self.chain]
        rows[-1][0] = None  # the last key follows from the seed
        payload = canonical.encode([self.network, self.addresses, self.seed, self.chain[0].author, rows])
        return checksummed(PREFIX, payload)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The invite in ``text``, which may be wrapped or in capitals. Raises :class:`CredentialRefused`.

        The checksum catches slips; the signatures are checked on use
        (:func:`banyan.security.credential.issue`).
        """
        text = "".join(text.split()).lower()
        payload = read_checksummed(PREFIX, text)
        try:
            invite = from_plain(cls, _expand(payload))
        except (CanonicalError, SchemaError, ValueError) as error:
            raise CredentialRefused("malformed", f"This invite is not valid: {error}") from error
        if str(invite) != text:
            raise _slip()
        return invite


_ROW: Final = ("key", "scope", "may_invite", "issued", "expires", "until", "uses", "use", "signature")


def _expand(payload: bytes) -> dict[str, object]:
    """The plain map of an :class:`Invite` from its short form. Raises ValueError or CanonicalError."""
    match canonical.decode(payload, max_bytes=MAX_CHARACTERS):
        case [network, addresses, bytes(seed), author, [*rows]]:
            key = Identity.from_seed(seed).node_id
        case _:
            raise ValueError("its parts are not those of an invite")
    chain: list[dict[str, object]] = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list):
            raise ValueError("a link is not a list")
        link: dict[str, object] = dict(zip(_ROW, row, strict=True))
        if number == len(rows):
            link["key"] = key
        chain.append({**link, "network": network, "author": chain[-1]["key"] if chain else author})
    return {"network": network, "addresses": addresses, "chain": chain, "seed": seed}


def checksummed(prefix: str, payload: bytes) -> str:
    """``payload`` as one word that begins with ``prefix``."""
    return prefix + _to_text(payload + _checksum(prefix, payload))


def read_checksummed(prefix: str, text: str) -> bytes:
    """The payload of a word that :func:`checksummed` wrote; it may be wrapped or in capitals. Raises
    :class:`CredentialRefused` for anything else."""
    text = "".join(text.split()).lower()
    if not text.startswith(prefix):
        raise CredentialRefused(
            "malformed", "This is not an invite", f"An invite is one long word that begins with {prefix}"
        )
    if len(text) > MAX_CHARACTERS:
        raise CredentialRefused("malformed", f"The invite is longer than {MAX_CHARACTERS} characters")
    data = _to_bytes(text.removeprefix(prefix))
    payload, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
    if _checksum(prefix, payload) != checksum or checksummed(prefix, payload) != text:
        raise _slip()
    return payload


def _checksum(prefix: str, payload: bytes) -> bytes:
    return hashlib.sha256(prefix.encode() + payload).digest()[:_CHECKSUM]


def _to_text(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").translate(str.maketrans(_BASE32, _BECH32))


def _to_bytes(text: str) -> bytes:
    if not set(text) <= set(_BECH32):
        raise _slip()
    padded = text.translate(str.maketrans(_BECH32, _BASE32)) + "=" * (-len(text) % 8)
    try:
        return base64.b32decode(padded)
    except ValueError:
        raise _slip() from None


def _slip() -> CredentialRefused:
    return CredentialRefused(
        "altered",
        "The invite was altered or cut off on its way",
        "Copy it again, from its first to last letter",
    )
