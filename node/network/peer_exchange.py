"""Telling each other of peers: ``/banyan/peers/1``. What is learnt is a candidate to dial, never a fact.

The request is an empty header; the answer lists peers that the other side has reached itself lately.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import trio

from banyan.node.network.address_book import AddressBook
from banyan.node.network.addresses import ADDRESS_BYTES
from banyan.node.network.connection import Connection
from banyan.node.network.frames import PEERS_PROTOCOL, FrameStream
from banyan.security.schema import Between, Length

#: Together below the limit for a header even if every address is as long as allowed.
PEERS: Final = 16
ADDRESSES: Final = 2


@dataclass(frozen=True, slots=True)
class PeersRequest:
    """How many peers the asker has use for."""

    wanted: Annotated[int, Between(1, PEERS)]


@dataclass(frozen=True, slots=True)
class Peers:
    """Addresses, each ending in the id of the peer that was reached there."""

    addresses: Annotated[tuple[Annotated[str, Length(1, ADDRESS_BYTES)], ...], Length(0, PEERS * ADDRESSES)]


class PeerExchange:
    """Both sides of the exchange, over one address book."""

    def __init__(self, book: AddressBook, timeout: float) -> None:
        self._book = book
        self._timeout = timeout

    async def answer(self, connection: Connection, frames: FrameStream) -> None:
        with trio.fail_after(self._timeout):
            request = await frames.receive_header(PeersRequest)
            recent = self._book.recent(request.wanted, without=connection.peer)
            told = tuple(address for peer in recent for address in peer.addresses[:ADDRESSES])
            await frames.send_header(Peers(told))

    async def ask(self, connection: Connection) -> None:
        """Note what the peer knows. Raises NetworkError, Refused or TooSlowError."""
        with trio.fail_after(self._timeout):
            async with connection.exchange(PEERS_PROTOCOL) as frames:
                await frames.send_header(PeersRequest(PEERS))
                answer = await frames.receive_header(Peers)
        self._book.add(answer.addresses)
