"""Takes messages to peers, so that a slow or dead peer holds up nobody but itself."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence

import trio

from banyan.node.daemon.book import AddressBook
from banyan.node.network.errors import NetworkError, PeerUnreachable, RefusedByPeer
from banyan.node.network.transport import Transport

#: Messages waiting for one peer; beyond it the oldest is dropped (anti-entropy brings what mattered).
QUEUE = 256

#: Messages delivered in one go.
TOGETHER = 16

#: How often a peer that says it is busy is asked again, and the pause in between (seconds).
BUSY_ATTEMPTS = 4
BUSY_PAUSE = 0.25


class Outbox:
    """One queue and at most one sending task for each peer. Delivery is best effort, order is kept."""

    def __init__(self, transport: Transport, book: AddressBook) -> None:
        self._transport = transport
        self._book = book
        self._queues: dict[str, deque[bytes]] = {}
        self._wanted = trio.Event()
        self._new: list[str] = []
        self.counters: Counter[str] = Counter()

    def put(self, peers: Iterable[str], data: bytes) -> None:
        """Send ``data`` to each of ``peers`` soon. Never blocks, never fails."""
        for peer in peers:
            queue = self._queues.get(peer)
            if queue is None:
                queue = self._queues[peer] = deque()
                self._new.append(peer)
                self._wanted.set()
            if len(queue) >= QUEUE:
                queue.popleft()
                self.counters["dropped.queue-full"] += 1
            queue.append(data)

    async def run(self) -> None:
        """Send what is put, for ever."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    new, self._new = self._new, []
                    for peer in new:
                        nursery.start_soon(self._empty, peer)
                    self._wanted = trio.Event()
                    await self._wanted.wait()
        finally:
            self._queues.clear()
            self._new.clear()

    async def _empty(self, peer: str) -> None:
        queue = self._queues[peer]
        try:
            while queue:
                if not await self._book.reach(self._transport, peer):
                    self.counters["dropped.unreachable"] += len(queue)  # sync will bring what mattered
                    return
                batch = [queue.popleft() for _ in range(min(TOGETHER, len(queue)))]
                taken = await self._deliver(peer, batch)
                self.counters["sent"] += taken
                if not taken:
                    self.counters["dropped.failed"] += 1  # the first; the others are tried again
                queue.extendleft(reversed(batch[max(1, taken) :]))
        finally:
            self._queues.pop(peer, None)

    async def _deliver(self, peer: str, batch: Sequence[bytes]) -> int:
        """How many of ``batch``, the first ones, ``peer`` has taken."""
        for attempt in range(BUSY_ATTEMPTS):
            try:
                return await self._transport.send(peer, *batch)
            except RefusedByPeer as error:
                if error.reason != "busy":
                    return 0
                await trio.sleep(BUSY_PAUSE * 2**attempt)
            except PeerUnreachable:
                self._book.failed(peer)
                return 0
            except NetworkError:
                return 0
        return 0
