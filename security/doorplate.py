"""Where an open network is: its id and some addresses in one string that may be published.

``banyanopen1…`` is written like an invite (:mod:`~banyan.security.invite`) and holds no secret: whoever comes with it
is a guest. A closed network refuses them at the door.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Self

from banyan.security import canonical
from banyan.security.canonical import CanonicalError
from banyan.security.delegation import CredentialRefused
from banyan.security.invite import MAX_CHARACTERS, Address, checksummed, read_checksummed
from banyan.security.schema import Digest, Length, SchemaError, from_plain, to_bytes, to_plain

__all__ = ["PREFIX", "Doorplate"]

PREFIX: Final = "banyanopen1"


@dataclass(frozen=True, slots=True)
class Doorplate:
    """The open network ``network`` is found at ``addresses`` (multiaddrs ending in ``/p2p/<node id>``)."""

    network: Digest
    addresses: Annotated[tuple[Address, ...], Length(1, 8)]

    def __str__(self) -> str:
        return checksummed(PREFIX, to_bytes(self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The doorplate in ``text``, which may be wrapped or in capitals. Raises :class:`CredentialRefused`."""
        payload = read_checksummed(PREFIX, text)
        try:
            plate = from_plain(cls, canonical.decode(payload, max_bytes=MAX_CHARACTERS))
        except (CanonicalError, SchemaError) as error:
            raise CredentialRefused("malformed", f"This is no address of a network: {error}") from error
        to_plain(plate)
        return plate

    @staticmethod
    def is_one(text: str) -> bool:
        """Whether ``text`` looks like a doorplate rather than an invite."""
        return "".join(text.split()).lower().startswith(PREFIX)
