"""What a node needs from its network before it can learn: the shared A and the base model of its branch, and of a
branch that it learns from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
from banyan.protocol.paths import ROOT
from banyan.security.charter import Charter
from banyan.security.errors import BanyanError

#: Seconds between two attempts to get what is missing.
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0)


class Missing(BanyanError):
    """Something that training needs could not be had from anybody."""


class Provisions:
    """Fetches A for every node, and base models for those that train; checks all by their hashes."""

    def __init__(
        self,
        home: Home,
        blobs: BlobStore,
        fetcher: Fetcher,
        transport: Transport,
        charter: Charter,
        report: Callable[[Event], None],
        *,
        branch: str = ROOT,
        local_base: Path | None = None,
        trains: bool = False,
    ) -> None:
        """``branch`` is the one this node works on, ``local_base`` a folder of its base model, ``trains`` whether the
        base is wanted from the start."""
        self._home = home
        self._blobs = blobs
        self._fetcher = fetcher
        self._transport = transport
        self._charter = charter
        self._report = report
        self._branch = branch
        self._local_base = local_base
        self._ready: dict[str, trio.Event] = {}
        self._wanted = trio.Event()
        if trains:
            self._want(branch)

    def keep(self) -> frozenset[bytes]:
        """Blobs that this node needs whatever the core says: charter, A, base."""
        grounds = self._charter.foundations.values()
        files = (entry.digest for each in grounds for entry in each.base.files)
        return frozenset((self._charter.network_id, *(each.adapter.a_digest for each in grounds), *files))

    def progress(self) -> dict[str, object] | None:
        """How far the base models are that are on their way, or None when nothing is."""
        coming = [path for path, ready in self._ready.items() if not ready.is_set()]
        files = [entry for path in coming for entry in self._charter.base_at(path).files]
        sizes = {entry.digest: entry.size for entry in files}
        total = sum(sizes.values())
        if not total:
            return None
        partial = {digest: part.received for digest, part in self._fetcher.partials.items()}
        have = sum(
            size if digest in self._blobs else partial.get(digest, 0) for digest, size in sizes.items()
        )
        return {"phase": "fetching the base model", "bytes": have, "total": total}

    async def base_folder(self, branch: str | None = None) -> Path:
        """The folder of the base model of ``branch`` (None: of this node's own); waits until it and its A are here."""
        branch = branch or self._branch
        await self._want(branch).wait()
        return base_folder.place(self._home, self._charter.base_at(branch))

    def _want(self, branch: str) -> trio.Event:
        """Have the base model of ``branch`` brought; set once it is here."""
        path = self._charter.foundation_of(branch).path
        if path not in self._ready:
            self._ready[path] = trio.Event()
            self._wanted.set()
        return self._ready[path]

    async def run(self) -> None:
        """Bring A here, and every base model that is wanted, for ever. Waits, and says for what."""
        await self._bring(lambda: self._gather(self._branch, base=False))
        while True:
            for path in [path for path, ready in self._ready.items() if not ready.is_set()]:
                await self._settle(path)
            self._wanted = trio.Event()
            if all(ready.is_set() for ready in self._ready.values()):
                await self._wanted.wait()

    async def _settle(self, path: str) -> None:
        base = self._charter.base_at(path)
        check_manifest(base)
        own = self._charter.is_alike(path, self._branch)
        if self._local_base is not None and own:
            await trio.to_thread.run_sync(base_folder.import_folder, self._local_base, self._blobs, base)
        await self._bring(lambda: self._gather(path, base=True))
        folder = await trio.to_thread.run_sync(base_folder.link, self._home, self._blobs, base)
        await trio.to_thread.run_sync(check_content, folder, base)
        self._ready[path].set()

    async def _bring(self, gather: Callable[[], Awaitable[str | None]]) -> None:
        attempt = 0
        while (missing := await gather()) is not None:
            self._report(Joining(step="waiting", detail=missing))
            await trio.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
            attempt += 1

    async def _gather(self, branch: str, *, base: bool) -> str | None:
        """Fetch what ``branch`` is built on and is missing; None if all is here, else what is not and why."""
        ground = self._charter.foundation_of(branch)
        wanted = [("the shared A", ground.adapter.a_digest, ground.adapter.a_size)]
        if base:
            wanted += [(entry.name, entry.digest, entry.size) for entry in ground.base.files]
        for name, digest, size in wanted:
            failure = await self._fetcher.fetch(digest, size, ())
            if failure is not None:
                return f"{name} ({size:,} bytes) is not here yet: {failure}"
        return None
