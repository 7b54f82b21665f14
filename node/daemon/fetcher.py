"""Brings blobs into the store: the parts that need the disk in threads, one transfer a blob at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from banyan.node.base_folder import check_room
from banyan.node.daemon.book import AddressBook
from banyan.node.daemon.events import BlobArrived, BlobUnavailableEvent
from banyan.node.daemon.supervisor import describe
from banyan.node.network.errors import NetworkError, RefusedByPeer
from banyan.node.network.transport import Transport
from banyan.node.store import BlobStore, DiskFull, PartialBlob
from banyan.protocol.events import Event
from banyan.security.errors import BanyanError

#: Transfers side by side; each may use several peers.
AT_ONCE = 4

#: Attempts before the answer is "no", and the pause before each but the first (seconds).
PAUSES = (0.0, 0.5, 2.0)

#: Seconds for which a peer that sent false bytes is not asked again.
DISTRUST = 600.0


class Fetcher:
    """Fetches by digest from peers. Two wishes for one blob share one transfer."""

    def __init__(
        self,
        blobs: BlobStore,
        transport: Transport,
        book: AddressBook,
        report: Callable[[Event], None],
    ) -> None:
        self._blobs = blobs
        self._transport = transport
        self._book = book
        self._report = report
        self._limit = trio.CapacityLimiter(AT_ONCE)
        self._running: dict[bytes, trio.Event] = {}
        self._failures: dict[bytes, str] = {}
        self._liars: dict[str, float] = {}
        self.partials: dict[bytes, PartialBlob] = {}

    def wanted(self) -> frozenset[bytes]:
        """Digests of the transfers that run or wait."""
        return frozenset(self._running)

    def distrusted(self) -> frozenset[str]:
        """Peers that are not asked for now, since they sent bytes that were not the blob's."""
        now = trio.current_time()
        self._liars = {peer: until for peer, until in self._liars.items() if until > now}
        return frozenset(self._liars)

    async def fetch(self, digest: bytes, size: int, sources: Sequence[str]) -> str | None:
        """Have the blob in the store. Returns None when it is there, else why not, in a sentence.

        Asks ``sources`` first and whoever else is connected after them. Never raises but for cancellation.
        """
        while (other := self._running.get(digest)) is not None:
            await other.wait()
            if (failure := self._failures.get(digest)) is not None:
                return failure
        done = self._running[digest] = trio.Event()
        self._failures.pop(digest, None)
        failure = "The transfer was cut short."
        try:
            if await trio.to_thread.run_sync(self._blobs.__contains__, digest):
                failure = None
            else:
                async with self._limit:
                    failure = await self._with_retries(digest, size, sources)
        finally:
            del self._running[digest]
            if failure is not None:
                self._failures[digest] = failure
                if len(self._failures) > 1_000:
                    self._failures.clear()
            done.set()
        return failure

    async def _with_retries(self, digest: bytes, size: int, sources: Sequence[str]) -> str | None:
        liars: tuple[str, ...] = ()
        why = "There is nobody to ask."
        for pause in PAUSES:
            await trio.sleep(pause)
            for source in sources:
                await self._book.reach(self._transport, source)
            others = tuple(peer for peer in self._transport.peers() if peer not in sources)
            distrusted = self.distrusted() | set(liars)
            asked = tuple(peer for peer in (*sources, *others) if peer not in distrusted)
            if not asked:
                if distrusted:
                    why = f"Whoever could be asked has sent false bytes ({', '.join(sorted(distrusted))})."
                continue
            try:
                await self._once(digest, size, asked)
            except DiskFull as error:
                why = str(error)
                break
            except (NetworkError, RefusedByPeer) as error:
                why = str(error)
                liars = (*liars, *self._distrust(getattr(error, "liars", ())))
            except (BanyanError, OSError) as error:
                why = describe(error)
            else:
                return None
        self._report(BlobUnavailableEvent(blob=digest.hex(), size=size, why=why, liars=liars))
        return why

    async def _once(self, digest: bytes, size: int, peers: Sequence[str]) -> None:
        began = trio.current_time()
        if size == 0:  # there is nothing to ask anybody for
            await trio.to_thread.run_sync(self._blobs.put, b"")
            return
        sink = await trio.to_thread.run_sync(self._open, digest, size)
        self.partials[digest] = sink
        try:
            report = await self._transport.fetch(digest, size, peers, sink)
        except Exception:
            if sink.failure is not None:  # the disk, not the peers
                raise sink.failure from None
            raise
        finally:
            del self.partials[digest]
        self._distrust(report.liars)
        seconds = trio.current_time() - began
        self._report(BlobArrived(digest.hex(), size, round(seconds, 3), dict(report.received), report.liars))

    def _distrust(self, liars: Sequence[str]) -> Sequence[str]:
        until = trio.current_time() + DISTRUST
        self._liars |= dict.fromkeys(liars, until)
        return liars

    def _open(self, digest: bytes, size: int) -> PartialBlob:
        check_room(self._blobs.root, size)
        return self._blobs.partial(digest, size)


async def answer(
    fetcher: Fetcher,
    digest: bytes,
    size: int,
    sources: Sequence[str],
    deliver: Callable[[str | None], Awaitable[None]],
) -> None:
    """Fetch, then hand the outcome to ``deliver``."""
    await deliver(await fetcher.fetch(digest, size, sources))
