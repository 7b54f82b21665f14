"""Signs what a node says: each message under a sequence number of its own, which no restart repeats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from banyan.protocol.effects import Effect, PutState
from banyan.protocol.messages import CONTROL, pack
from banyan.protocol.reader import Reader
from banyan.protocol.sync import room_in
from banyan.security import canonical
from banyan.security.charter import Charter
from banyan.security.envelope import Envelope, seal
from banyan.security.identity import Signer

__all__ = ["Sealer"]

SEQUENCE_STEP: Final = 1024
"""Sequence numbers reserved on disk at once: one write per so many messages, and none used twice."""


class Sealer:
    """See the module.

    Args:
        signer: the node's key.
        charter: the network's.
        reader: remembers what was said, since it comes back in bundles and certificates.
        do: takes the effects.
    """

    def __init__(
        self, signer: Signer, charter: Charter, reader: Reader, do: Callable[[Effect], None]
    ) -> None:
        self._signer = signer
        self._network = charter.network_id
        self._message_bytes = charter.limits.message_bytes
        self._reader = reader
        self._do = do
        self._seq = 0
        self._reserved = 0

    def restore(self, reserved: int) -> None:
        """Go on above every number that may have been used before a restart."""
        self._seq = self._reserved = reserved

    def start(self, now: int) -> None:
        """Go on above ``now`` (ms): a lost disk does not make us repeat ourselves."""
        self._seq = self._reserved = max(self._seq, now)

    def seal(self, message: object, now: int) -> Envelope:
        """``message``, signed at ``now`` (ms). Raises ``EnvelopeRefused`` if that is too long to be sent, for a record
        in the bundle that brings it to a latecomer."""
        self._seq += 1
        if self._seq >= self._reserved:
            self._reserved = self._seq + SEQUENCE_STEP
            self._do(PutState("seq", canonical.encode(self._reserved)))
        kind, body = pack(message)
        envelope = seal(
            self._signer,
            network=self._network,
            kind=kind,
            seq=self._seq,
            time=now,
            body=body,
            max_bytes=self._message_bytes if kind in CONTROL else room_in(self._message_bytes),
        )
        self._reader.said(envelope, message)
        return envelope
