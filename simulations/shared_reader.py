"""One reader for all nodes of a process: what one has said the others need not open and parse again.

Whether a signature holds and what a message says hangs on its bytes alone, so the receiver would find what the sender
put in. Any bytes that nobody here has signed, such as a tampered message, are opened and parsed as ever.
"""

from __future__ import annotations

from typing import Final

from banyan.protocol.messages import CONTROL
from banyan.protocol.reader import Reader, Recent
from banyan.security.envelope import Envelope
from banyan.security.identity import Verifier, verify

__all__ = ["SharedReader"]

ROOM: Final = 256 << 20
"""Bytes of messages that the devices of a world remember together."""


class SharedReader(Reader):
    """A :class:`~banyan.protocol.reader.Reader` that also remembers control messages, for the one that gets them."""

    def __init__(self, network: bytes, verify: Verifier = verify, *, max_bytes: int) -> None:
        super().__init__(network, verify, max_bytes=max_bytes, room=ROOM)
        self._controls: Recent[object] = Recent(ROOM // 8)

    def control(self, envelope: Envelope) -> object:
        known = self._controls.get(envelope.id)
        return known if known is not None else super().control(envelope)

    def said(self, envelope: Envelope, message: object) -> None:
        super().said(envelope, message)
        if envelope.kind in CONTROL:
            self._envelopes.put(envelope.data, envelope, len(envelope.data))
            self._controls.put(envelope.id, message, len(envelope.data))
