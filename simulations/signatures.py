"""Signatures a hundred times cheaper than Ed25519, for worlds of thousands of devices.

A :class:`FastSigner` has the interface, the node id and the 64 bytes of a real one, and :func:`fast_verify` refuses a
message that was altered or that another signer signed. What it does not have is secrecy: a node's key is derived from
its id, so only code that keeps to the :class:`~banyan.security.identity.Signer` interface, as every simulated device
and attacker does, cannot forge.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from banyan.security.identity import node_id_of

__all__ = ["FastSigner", "fast_verify"]


class FastSigner:
    """The fast counterpart of :class:`~banyan.security.identity.Identity`. Satisfies ``Signer``.

    Args:
        seed: 32 bytes; equal seeds make equal signers.
    """

    __slots__ = ("_key", "node_id")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise ValueError(f"a seed has 32 bytes, not {len(seed)}")
        self.node_id: str = node_id_of(hashlib.sha256(b"banyan/fast-signer/1\0" + seed).digest())
        self._key = _key_of(self.node_id)

    def sign(self, message: bytes, /) -> bytes:
        """The 64-byte tag of ``message``: keyed BLAKE2b (RFC 7693)."""
        return hashlib.blake2b(message, key=self._key).digest()


def fast_verify(node_id: str, signature: bytes, message: bytes, /) -> bool:
    """Whether the :class:`FastSigner` called ``node_id`` signed ``message``. Satisfies ``Verifier``."""
    return hmac.compare_digest(hashlib.blake2b(message, key=_key_of(node_id)).digest(), signature)


@lru_cache(maxsize=1 << 16)
def _key_of(node_id: str) -> bytes:
    return hashlib.blake2b(node_id.encode(), digest_size=32, person=b"banyan/fast").digest()
