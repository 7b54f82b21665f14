"""What a node needs from its network before it can learn: the shared A and the base model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from banyan.node import base_folder
from banyan.node.daemon.events import Joining
from banyan.node.daemon.fetcher import Fetcher
from banyan.node.home import Home
from banyan.node.learning.base_manifest import check_content, check_manifest
from banyan.node.network.transport import Transport
from banyan.node.store import BlobStore
from banyan.protocol.events import Event
from banyan.security.charter import Charter
from banyan.security.errors import BanyanError

#: Seconds between two attempts to get what is missing.
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0)


class Missing(BanyanError):
    """Something that training needs could not be had from anybody."""


class Provisions:
    """Fetches A for every node, and the base model for those that train; checks both by their hashes."""

    def __init__(
        self,
        home: Home,
        blobs: BlobStore,
        fetcher: Fetcher,
        transport: Transport,
        charter: Charter,
        report: Callable[[Event], None],
        *,
        local_base: Path | None = None,
        trains: bool = False,
    ) -> None:
        self._home = home
        self._blobs = blobs
        self._fetcher = fetcher
        self._transport = transport
        self._charter = charter
        self._report = report
        self._local_base = local_base
        self._trains = trains
        self.base: Path | None = None
        self._ready = trio.Event()
        self._wanted = trio.Event()
        if trains:
            self._wanted.set()

    def keep(self) -> frozenset[bytes]:
        """Blobs that this node needs whatever the core says: charter, A, base."""
        files = (entry.digest for entry in self._charter.base.files)
        return frozenset((self._charter.network_id, self._charter.adapter.a_digest, *files))

    def progress(self) -> dict[str, object] | None:
        """How far the base model is, or None when nothing is on its way."""
        sizes = {entry.digest: entry.size for entry in self._charter.base.files}
        total = sum(sizes.values())
        if self._ready.is_set() or not self._wanted.is_set() or not total:
            return None
        partial = {digest: part.received for digest, part in self._fetcher.partials.items()}
        have = sum(
            size if digest in self._blobs else partial.get(digest, 0) for digest, size in sizes.items()
        )
        return {"phase": "fetching the base model", "bytes": have, "total": total}

    async def base_folder(self) -> Path:
        """The base model's folder; waits until it and A are here."""
        self._wanted.set()
        await self._ready.wait()
        assert self.base is not None
        return self.base

    async def run(self) -> None:
        """Bring everything here; returns when it is. Waits, and says for what."""
        attempt = 0
        while (missing := await self._gather(base=False)) is not None:
            attempt = await self._wait(missing, attempt)
        await self._wanted.wait()
        check_manifest(self._charter.base)
        if self._local_base is not None:
            await trio.to_thread.run_sync(
                base_folder.import_folder, self._local_base, self._blobs, self._charter.base
            )
        while (missing := await self._gather(base=True)) is not None:
            attempt = await self._wait(missing, attempt)
        folder = await trio.to_thread.run_sync(base_folder.link, self._home, self._blobs, self._charter.base)
        await trio.to_thread.run_sync(check_content, folder, self._charter.base)
        self.base = folder
        self._ready.set()

    async def _wait(self, missing: str, attempt: int) -> int:
        self._report(Joining(step="waiting", detail=missing))
        await trio.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
        return attempt + 1

    async def _gather(self, *, base: bool) -> str | None:
        """Fetch what is missing; None if all is here, else what is not and why."""
        adapter = self._charter.adapter
        wanted = [("the shared A", adapter.a_digest, adapter.a_size)]
        if base:
            wanted += [(entry.name, entry.digest, entry.size) for entry in self._charter.base.files]
        for name, digest, size in wanted:
            failure = await self._fetcher.fetch(digest, size, ())
            if failure is not None:
                return f"{name} ({size:,} bytes) is not here yet: {failure}"
        return None
