"""Performs what the core wants done beyond this node's memory: messages, transfers, jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from banyan.node.daemon.fetcher import Fetcher
from banyan.node.daemon.jobs import Jobs
from banyan.node.daemon.outbox import Outbox
from banyan.protocol.effects import (
    Aggregate,
    BlobFetched,
    Evaluate,
    FetchBlob,
    InputEvent,
    Mix,
    Send,
    Train,
)


class NodeHands:
    """Implements :class:`~banyan.node.daemon.driver.Hands` with this node's outbox, fetcher and jobs."""

    def __init__(
        self,
        outbox: Outbox,
        fetcher: Fetcher,
        jobs: Jobs,
        deliver: Callable[[InputEvent], Awaitable[None]],
    ) -> None:
        self._outbox = outbox
        self._fetcher = fetcher
        self._jobs = jobs
        self._deliver = deliver
        self._wishes: list[FetchBlob] = []
        self._wished = trio.Event()

    def send(self, effect: Send) -> None:
        """Put the message into the outbox."""
        self._outbox.put(effect.to, effect.data)

    def work(self, effect: Train | Aggregate | Mix | Evaluate) -> None:
        """Queue the job."""
        self._jobs.start(effect)

    def fetch(self, effect: FetchBlob) -> None:
        """Begin the transfer soon; its end is told to the core."""
        self._wishes.append(effect)
        self._wished.set()

    async def run(self) -> None:
        """Carry out transfers, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                wishes, self._wishes = self._wishes, []
                for wish in wishes:
                    nursery.start_soon(self._fetch, wish)
                self._wished = trio.Event()
                await self._wished.wait()

    async def _fetch(self, wish: FetchBlob) -> None:
        failure = await self._fetcher.fetch(wish.digest, wish.size, wish.sources)
        if failure is None and wish.inspect is not None:
            self._jobs.start(wish.inspect)  # and its end is the answer
        else:
            await self._deliver(BlobFetched(wish.digest, failure))
