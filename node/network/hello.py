"""The first exchange on every connection: are we on the same network?

The side that dialled sends its :class:`Hello`, the other answers with a :class:`Welcome`, on a stream of
``/banyan/hello/1``. Nothing else is answered before. A node of another network is told so and let go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from banyan.node.network.addresses import ADDRESS_BYTES
from banyan.node.network.errors import RefusedByPeer
from banyan.security.schema import Length

ADDRESSES: Final = 8

_Addresses = Annotated[tuple[Annotated[str, Length(1, ADDRESS_BYTES)], ...], Length(0, ADDRESSES)]
_Reason = Annotated[str, Length(1, 40)]

WRONG_NETWORK: Final = "wrong-network"
CONNECTIONS_FULL: Final = "connections-full"

_SENTENCES: Final = {
    WRONG_NETWORK: (
        "The peer belongs to another Banyan network",
        "Check that the invite is for the network you mean, or ask for a new one",
    ),
    CONNECTIONS_FULL: (
        "The peer has all the connections it allows",
        "Another peer may have room; we try again",
    ),
    "busy": ("The peer has no room for another message now", "It is sent again later"),
    "too-long": ("The peer found the message too long", "Check that both run the same version of Banyan"),
}


@dataclass(frozen=True, slots=True)
class Hello:
    """Which network the caller is on, and where it may be reached later."""

    network: Annotated[bytes, Length(0, 64)]
    addresses: _Addresses


@dataclass(frozen=True, slots=True)
class Welcome:
    """``refused`` is None, or a reason; then the connection ends."""

    refused: _Reason | None
    addresses: _Addresses


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message has reached the inbox, or why not."""

    refused: _Reason | None


def refused_by(peer: str, reason: str) -> RefusedByPeer:
    """The error that tells what ``peer`` told us."""
    what, cure = _SENTENCES.get(reason, (f"The peer refused: {reason}", ""))
    return RefusedByPeer(reason, f"{what} ({peer})", cure)
