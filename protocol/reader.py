"""Reads what arrives: opens envelopes, parses bodies, and remembers both for as long as they come again.

A record reaches a node several times: pushed, in a bundle, as a vote inside a proposal or a certificate. Whether
its signature holds and what it says depends on its bytes alone, so either is found out once.
"""

from __future__ import annotations

import hashlib
from typing import Final, Generic, TypeVar

from banyan.protocol.messages import CONTROL, KINDS, read_body
from banyan.protocol.records import Record, record_of
from banyan.security.envelope import Envelope, open_envelope
from banyan.security.errors import Refused
from banyan.security.identity import Verifier, verify

__all__ = ["Reader", "Recent"]

ROOM: Final = 2 << 20
"""Bytes of messages that one node remembers to have read."""

Value = TypeVar("Value")


class Reader:
    """Opens and parses the messages of one network. What is refused is not remembered.

    Nodes that live in one process may share a reader: an answer hangs on nothing but the bytes.

    Args:
        network: the network's id.
        verify: checks signatures.
        max_bytes: the longest message of the network.
        room: bytes of messages to remember.
    """

    def __init__(
        self, network: bytes, verify: Verifier = verify, *, max_bytes: int, room: int = ROOM
    ) -> None:
        self._network = network
        self._verify = verify
        self._max_bytes = max_bytes
        self._envelopes: Recent[Envelope] = Recent(room)
        self._records: Recent[Record] = Recent(room)

    def id_of(self, data: bytes) -> bytes:
        """The id that the envelope in ``data`` has, if it is one."""
        known = self._envelopes.get(data)
        return known.id if known is not None else hashlib.sha256(data).digest()

    def open(self, data: bytes) -> Envelope:
        """The envelope in ``data``, its signature verified. Raises ``EnvelopeRefused``."""
        known = self._envelopes.get(data)
        if known is not None:
            return known
        opened = open_envelope(data, network=self._network, verify=self._verify, max_bytes=self._max_bytes)
        if opened.kind not in CONTROL:  # those pass once between two peers
            self._envelopes.put(data, opened, len(data))
        return opened

    def control(self, envelope: Envelope) -> object:
        """The body of a verified control message. Raises ``Refused``: malformed."""
        return read_body(envelope, KINDS[envelope.kind])

    def record(self, envelope: Envelope) -> Record:
        """The record in a verified ``envelope``. Raises ``Refused``: no record, or malformed."""
        known = self._records.get(envelope.id)
        if known is not None:
            return known
        kind = KINDS.get(envelope.kind)
        if kind is None or envelope.kind in CONTROL:
            raise Refused("unknown-kind", f"Nobody here knows a record called {envelope.kind}")
        record = record_of(envelope, read_body(envelope, kind))
        self._remember(record)
        return record

    def said(self, envelope: Envelope, message: object) -> None:
        """Remember what was made here: a record of ours comes back in certificates and bundles."""
        if envelope.kind not in CONTROL:
            self._remember(record_of(envelope, message))

    def _remember(self, record: Record) -> None:
        envelope = record.envelope
        self._envelopes.put(envelope.data, envelope, len(envelope.data))
        self._records.put(envelope.id, record, len(envelope.data))


class Recent(Generic[Value]):
    """A dictionary that forgets what has not been asked for while ``room`` bytes of other things came in.

    Two generations: what is found in the old one moves to the new; when the new one is full it becomes the old.
    """

    def __init__(self, room: int) -> None:
        self._half = room // 2
        self._new: dict[bytes, tuple[Value, int]] = {}
        self._old: dict[bytes, tuple[Value, int]] = {}
        self._size = 0

    def get(self, key: bytes) -> Value | None:
        found = self._new.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                return None
            self.put(key, *found)
        return found[0]

    def put(self, key: bytes, value: Value, size: int) -> None:
        if key in self._new:
            return
        if self._size + size > self._half:
            self._old, self._new, self._size = self._new, {}, 0
        self._new[key] = (value, size)
        self._size += size
