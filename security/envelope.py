"""The signed envelope that every message travels in.

On the wire an envelope is ``header ‖ signature``: the canonical msgpack of the map
``{author, body, kind, network, seq, time, v}``, then the 64 raw bytes of the author's Ed25519 signature over
``"banyan/envelope/1\\0" ‖ header``. The signature covers every byte before it and nobody else can vary it, so
no bit can change. ``body`` is a byte string in the header: it is parsed only after the signature is verified.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, TypeAlias

from banyan.security import canonical
from banyan.security.canonical import CanonicalError, Plain
from banyan.security.errors import Refused
from banyan.security.identity import Signer, Verifier, is_node_id, verify
from banyan.security.quick import quick
from banyan.security.schema import Between, Digest, Matches, SchemaError, from_plain, to_bytes

DOMAIN: Final = b"banyan/envelope/1\0"
VERSION: Final = 1
MAX_BYTES: Final = 65_536
_SIGNATURE: Final = 64
_KIND: Final = re.compile(r"[a-z][a-z0-9._/-]{0,31}")


def _is_kind(text: str) -> bool:
    return _KIND.fullmatch(text) is not None


Kind: TypeAlias = Annotated[str, Matches(_is_kind, "a message kind such as update")]


class EnvelopeRefused(Refused):
    """Bytes that are not an envelope of this network; ``reason`` is one of ``too-long``, ``malformed``,
    ``unknown-version``, ``wrong-network``, ``bad-author``, ``bad-signature``."""


@quick
@dataclass(frozen=True, slots=True)
class Envelope:
    """A message whose author is proved. Made only by :func:`seal` and :func:`open_envelope`.

    ``seq`` counts one author's messages upwards; ``time`` is the author's clock in ms; ``id`` is the SHA-256
    of the wire form.
    """

    kind: str
    network: Digest
    author: str
    seq: int
    time: int
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    data: bytes = field(repr=False)
    """The wire form."""

    id: Digest = field(repr=False)

    @property
    def signed(self) -> bytes:
        """The header: every byte that the signature covers, without the domain tag."""
        return self.data[:-_SIGNATURE]

    def content(self) -> dict[str, Plain]:
        """The body, parsed strictly; floats are allowed. Raises :class:`EnvelopeRefused` (``malformed``)."""
        try:
            content = canonical.decode(self.body, max_bytes=len(self.body), floats=True)
        except CanonicalError as error:
            raise EnvelopeRefused("malformed", f"The body of a {self.kind} message: {error.what}") from error
        if not isinstance(content, dict):
            raise EnvelopeRefused("malformed", f"The body of a {self.kind} message is not a map")
        return content


@quick
@dataclass(frozen=True, slots=True)
class _Header:
    author: str
    body: bytes
    kind: Kind
    network: Digest
    seq: Annotated[int, Between(0, 2**63 - 1)]
    time: Annotated[int, Between(0, 2**63 - 1)]
    v: Annotated[int, Between(VERSION, VERSION)]


def seal(
    signer: Signer,
    *,
    network: bytes,
    kind: str,
    seq: int,
    time: int,
    body: Mapping[str, object] | bytes,
    max_bytes: int = MAX_BYTES,
) -> Envelope:
    """Sign ``body``, a map or its canonical encoding, as a message of ``signer``; raises :class:`EnvelopeRefused` if
    peers would refuse it."""
    try:
        packed = body if isinstance(body, bytes) else canonical.encode(dict(body))
        signed = to_bytes(_Header(signer.node_id, packed, kind, network, seq, time, VERSION))
    except (CanonicalError, SchemaError) as error:
        raise EnvelopeRefused("malformed", f"This {kind} message cannot be sent: {error.what}") from error
    if len(signed) + _SIGNATURE > max_bytes:
        raise EnvelopeRefused(
            "too-long",
            f"This {kind} message has {len(signed) + _SIGNATURE} bytes where {max_bytes} are allowed",
        )
    signature = signer.sign(DOMAIN + signed)
    data = signed + signature
    return Envelope(
        kind, network, signer.node_id, seq, time, packed, signature, data, hashlib.sha256(data).digest()
    )


def open_envelope(
    data: bytes, *, network: bytes, verify: Verifier = verify, max_bytes: int = MAX_BYTES
) -> Envelope:
    """The envelope in ``data``, proved to be its author's and of this ``network``.

    Raises :class:`EnvelopeRefused`. Whether the author may say it, and whether it is new, is not judged here.
    """
    if len(data) > max_bytes:
        raise EnvelopeRefused("too-long", f"A message has {len(data)} bytes where {max_bytes} are allowed")
    if len(data) <= _SIGNATURE:
        raise EnvelopeRefused("malformed", "A message is too short to carry a signature")
    signed, signature = data[:-_SIGNATURE], data[-_SIGNATURE:]
    header = _read_header(signed)
    if header.network != network:
        raise EnvelopeRefused("wrong-network", "A message belongs to another network")
    if not is_node_id(header.author):
        raise EnvelopeRefused("bad-author", f"A message names no valid author: {header.author[:60]!r}")
    if not verify(header.author, signature, DOMAIN + signed):
        raise EnvelopeRefused("bad-signature", f"A message is not signed by its author {header.author}")
    return Envelope(
        header.kind,
        header.network,
        header.author,
        header.seq,
        header.time,
        header.body,
        signature,
        data,
        hashlib.sha256(data).digest(),
    )


def _read_header(signed: bytes) -> _Header:
    try:
        plain = canonical.decode(signed, max_bytes=len(signed), max_depth=1, max_items=16)
        version = plain.get("v") if isinstance(plain, dict) else None
        if isinstance(version, int) and version != VERSION:
            raise EnvelopeRefused(
                "unknown-version",
                f"A message has format version {version}; this node knows {VERSION}",
                "Update the older of the two nodes",
            )
        return from_plain(_Header, plain)
    except (CanonicalError, SchemaError) as error:
        raise EnvelopeRefused("malformed", f"A message is not an envelope: {error.what}") from error
