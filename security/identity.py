"""A node's identity: one Ed25519 key, and the libp2p peer id derived from it as its only name.

A node id is the base58 of an *identity multihash* of the libp2p public key message: the 6 bytes
``00 24 08 01 12 20`` and the 32-byte key itself. So a node id alone verifies a signature, and nobody hands
out names. (libp2p specs, peer-ids: keys of at most 42 bytes are inlined, not hashed.)
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Protocol, Self, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from banyan.security.errors import Refused
from banyan.security.key_file import IdentityError, read_key, write_key
from banyan.security.schema import Matches

__all__ = [
    "BadNodeId",
    "Identity",
    "IdentityError",
    "NodeId",
    "Signer",
    "Verifier",
    "is_node_id",
    "node_id_of",
    "public_key",
    "verify",
]

_MULTIHASH: Final = bytes.fromhex("002408011220")
_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGIT: Final = {character: value for value, character in enumerate(_ALPHABET)}
_ID_LENGTH: Final = 52  # the prefix fixes the magnitude: every Ed25519 node id has 52 characters

# Public keys of order 1, 2, 4 or 8: their y with the sign bit cleared, and the two non-canonical spellings.
# Under such a key anyone can sign anything, so no identity has one. Same list as libsodium's
# ge25519_has_small_order.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(y)
    for y in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


class BadNodeId(Refused):
    """Text that is not the node id of an Ed25519 key; reason ``bad-node-id``."""

    def __init__(self, node_id: str) -> None:
        super().__init__(
            "bad-node-id", f"{node_id[:60]!r} is not a node id", "A node id begins with 12D3KooW"
        )
        self.args = (node_id,)


class Signer(Protocol):
    """Whoever can sign as a node. :class:`Identity` is the real one; simulations bring a fast fake."""

    @property
    def node_id(self) -> str: ...

    def sign(self, message: bytes, /) -> bytes: ...


class Verifier(Protocol):
    """The counterpart of a :class:`Signer`: :func:`verify` is the real one."""

    def __call__(self, node_id: str, signature: bytes, message: bytes, /) -> bool: ...


class Identity:
    """One node's private key. Satisfies :class:`Signer`."""

    __slots__ = ("_key", "node_id")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.node_id: str = node_id_of(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Self:
        """A new identity from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The identity of a 32-byte secret seed (RFC 8032); raises ValueError for another length."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, which libp2p needs to build its own key. Never log or send them."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes, /) -> bytes:
        """The 64-byte signature of ``message``; the caller puts a domain tag in front."""
        return self._key.sign(message)

    def save(self, path: str | os.PathLike[str], passphrase: str | None = None) -> None:
        """Write the key as PKCS#8 PEM, mode 0600, encrypted if there is a passphrase.

        The file appears whole or not at all. Raises :class:`IdentityError` if it already exists: a lost key
        is a lost identity, so nothing here overwrites one.
        """
        write_key(Path(path), self._key, passphrase)

    @classmethod
    def load(cls, path: str | os.PathLike[str], passphrase: str | None = None) -> Self:
        """Read a key written by :meth:`save`; raises :class:`IdentityError` saying what is wrong with it."""
        return cls(read_key(Path(path), passphrase))

    def __repr__(self) -> str:
        return f"Identity({self.node_id})"


def verify(node_id: str, signature: bytes, message: bytes, /) -> bool:
    """Whether the node ``node_id`` signed ``message``. False, never an exception, for anything that is wrong.

    Only one byte string is accepted as a given signature: OpenSSL refuses S ≥ L and recomputes R's encoding.
    """
    try:
        _public_key_object(node_id).verify(signature, message)
    except (InvalidSignature, BadNodeId, ValueError):
        return False
    return True


def node_id_of(public_key: bytes) -> str:
    """The node id of a raw 32-byte Ed25519 public key."""
    if len(public_key) != 32:
        raise ValueError(f"an Ed25519 public key has 32 bytes, not {len(public_key)}")
    number = int.from_bytes(_MULTIHASH + public_key, "big")
    characters = []
    while number:
        number, digit = divmod(number, 58)
        characters.append(_ALPHABET[digit])
    return "1" + "".join(reversed(characters))  # the multihash's one leading zero byte is written "1"


@lru_cache(maxsize=8192)
def public_key(node_id: str) -> bytes:
    """The raw 32-byte public key in a node id; raises :class:`BadNodeId` for any other text."""
    if len(node_id) != _ID_LENGTH:
        raise BadNodeId(node_id)
    number = 0
    for character in node_id:
        digit = _DIGIT.get(character)
        if digit is None:
            raise BadNodeId(node_id)
        number = number * 58 + digit
    # The length and the prefix together leave exactly one spelling of each id.
    if number >= 1 << (38 * 8):
        raise BadNodeId(node_id)
    data = number.to_bytes(38, "big")
    key = data[6:]
    if data[:6] != _MULTIHASH or key[:31] + bytes([key[31] & 0x7F]) in _SMALL_ORDER:
        raise BadNodeId(node_id)
    return key


def is_node_id(text: object) -> bool:
    """Whether ``text`` is a well-formed node id."""
    try:
        return isinstance(text, str) and bool(public_key(text))
    except BadNodeId:
        return False


NodeId: TypeAlias = Annotated[str, Matches(is_node_id, "a node id (12D3KooW…)")]


@lru_cache(maxsize=8192)
def _public_key_object(node_id: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public_key(node_id))
