"""Coming back: peers once reached, or named by the owner, are dialled again until they answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import trio

from banyan.node.network.address_book import AddressBook
from banyan.node.network.errors import NetworkError
from banyan.node.network.peer_exchange import PeerExchange
from banyan.node.network.swarm import Swarm
from banyan.node.network.transport import NodeId
from banyan.security.errors import Refused

#: Attempts at once.
_AT_ONCE = 4
#: How often more peers are looked for while there are too few, in seconds.
_LOOK_AGAIN = 30.0


class StayingConnected:
    """A service: :meth:`run` it; :meth:`wake` it when something changed."""

    def __init__(
        self,
        swarm: Swarm,
        book: AddressBook,
        exchange: PeerExchange,
        *,
        wanted_peers: int,
        clock: Callable[[], int],
    ) -> None:
        self._swarm = swarm
        self._book = book
        self._exchange = exchange
        self._wanted_peers = wanted_peers
        self._clock = clock
        self._woken = trio.Event()
        self._places = trio.CapacityLimiter(_AT_ONCE)
        self._dialling: set[NodeId] = set()
        self._asked: set[NodeId] = set()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Dial whoever is due, ask new peers for more, sleep until the next is due."""
        async with trio.open_nursery() as nursery:
            while True:
                self._woken = trio.Event()
                connected = set(self._swarm.links.peers())
                for peer in sorted(connected - self._asked):
                    nursery.start_soon(self._ask, peer)
                self._asked = connected
                for peer in self._due(connected):
                    self._dialling.add(peer)
                    nursery.start_soon(self._dial, peer)
                with trio.move_on_after(self._idle_time(connected)):
                    await self._woken.wait()

    def _due(self, connected: set[NodeId]) -> list[NodeId]:
        now = self._clock()
        due = self._book.due(now)
        if len(connected) < self._wanted_peers:
            due += self._book.strangers(now)[:_AT_ONCE]
        return [peer for peer in due if peer not in connected and peer not in self._dialling]

    def _idle_time(self, connected: set[NodeId]) -> float:
        """Seconds until there is something to do of its own accord."""
        due_at = self._book.next_due(without=connected | self._dialling)
        wait = math.inf if due_at is None else max(0.05, (due_at - self._clock()) / 1000)
        return min(wait, _LOOK_AGAIN) if len(connected) < self._wanted_peers else wait

    async def _dial(self, peer: NodeId) -> None:
        try:
            async with self._places:
                with suppress(NetworkError, Refused):  # the book knows, and says when to try again
                    await self._swarm.connect(peer)
        finally:
            self._dialling.discard(peer)
            self.wake()

    async def _ask(self, peer: NodeId) -> None:
        connection = self._swarm.links.best(peer)
        if connection is None or len(self._swarm.links.peers()) >= self._wanted_peers:
            return
        with suppress(NetworkError, Refused, trio.TooSlowError):  # it is a courtesy
            await self._exchange.ask(connection)
            self.wake()
