"""What came in, in order: a peer is up before its first message, and down after its last."""

from __future__ import annotations

import trio

from banyan.node.network.transport import Arrival, MessageArrived, NodeId, PeerDown, PeerUp


class Inbox:
    """Feeds a bounded channel. Messages wait for room; the state of links is told as soon as there is some.

    A peer that comes and goes while nobody reads costs nothing: only the difference to what was told last is
    ever told.
    """

    def __init__(self, capacity: int) -> None:
        self._send, self.arrivals = trio.open_memory_channel[Arrival](capacity)
        self._up: set[NodeId] = set()
        self._told: set[NodeId] = set()
        self._changed = trio.Event()
        self._turn = trio.Lock()

    def link(self, peer: NodeId, *, up: bool) -> None:
        """``peer`` is connected now, or no longer."""
        (self._up.add if up else self._up.discard)(peer)
        self._changed.set()

    async def message(self, peer: NodeId, data: bytes) -> None:
        """Hand over one message, waiting for room; the caller bounds the time."""
        async with self._turn:
            if peer in self._up and peer not in self._told:
                await self._send.send(PeerUp(peer))
                self._told.add(peer)
            await self._send.send(MessageArrived(peer, data))

    async def run(self) -> None:
        """Tell of links that come and go."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            for peer in sorted(self._told - self._up):
                async with self._turn:
                    await self._send.send(PeerDown(peer))
                    self._told.discard(peer)
            for peer in sorted(self._up - self._told):
                async with self._turn:
                    if peer in self._up and peer not in self._told:
                        await self._send.send(PeerUp(peer))
                        self._told.add(peer)

    def close(self) -> None:
        """The readers' loop ends once they have taken what is left."""
        self._send.close()
