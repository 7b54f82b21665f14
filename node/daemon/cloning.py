"""Brings the whole model of a branch here: base model, shared A, and the adapters from the root down to it.

One clone at a time. It goes on in the daemon when whoever asked has left, and what has arrived stays, so that asking
again goes on from there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trio

from banyan.node import base_folder
from banyan.node.daemon.fetcher import Fetcher
from banyan.node.daemon.provisions import Provisions
from banyan.node.learning.base_manifest import check_manifest
from banyan.node.network.transport import Transport
from banyan.node.store import BlobStore
from banyan.security.charter import Charter
from banyan.security.errors import BanyanError

#: Seconds that the branch's newest release may take to be heard of, once all else is here.
PATIENCE = 60.0

Phase = Literal["none", "importing", "fetching", "waiting", "adapters", "done", "failed"]


class CloneFailed(BanyanError):
    """Something of the model could not be had."""


@dataclass
class _Clone:
    """One clone. ``wanted`` are size and name by digest; ``before`` what each peer had sent when it began."""

    branch: str
    folder: Path | None
    wanted: Mapping[bytes, tuple[int, str]]
    here_before: int
    before: Mapping[str, int]
    phase: Phase = "fetching"
    model: Mapping[str, object] | None = None
    error: BanyanError | None = None


class Cloning:
    """The clones of one node. ``compose`` brings the adapters of a branch and names them; ``opened`` says whether the
    branch's newest release is known here."""

    def __init__(
        self,
        charter: Charter,
        blobs: BlobStore,
        fetcher: Fetcher,
        transport: Transport,
        provisions: Provisions,
        compose: Callable[[str], Awaitable[Mapping[str, object]]],
        opened: Callable[[str], bool],
    ) -> None:
        self._charter = charter
        self._blobs = blobs
        self._fetcher = fetcher
        self._transport = transport
        self._provisions = provisions
        self._compose = compose
        self._opened = opened
        self._now: _Clone | None = None
        self._asked = trio.Event()
        self._work = trio.CancelScope()

    async def begin(self, branch: str, folder: Path | None) -> None:
        """Clone ``branch``, in place of any clone under way; with the base model of ``folder`` where given.

        Raises :class:`~banyan.node.store.DiskFull` where the whole does not fit, and
        :class:`~banyan.node.learning.errors.ModelError` for a base model that could run code.
        """
        ground = self._charter.foundation_of(branch)
        check_manifest(ground.base)
        adapter = ground.adapter
        wanted = {entry.digest: (entry.size, entry.name) for entry in ground.base.files}
        wanted[adapter.a_digest] = (adapter.a_size, "the shared A")
        here = await trio.to_thread.run_sync(self._received, wanted)
        missing = sum(size for size, _ in wanted.values()) - here
        if missing:
            base_folder.check_room(self._blobs.root, missing)
        self._work.cancel()
        self._now = _Clone(branch, folder, wanted, here, self._bytes_from_peers())
        self._asked.set()

    async def run(self) -> None:
        """Work on what is asked for, for ever."""
        while True:
            self._asked = trio.Event()
            clone = self._now
            with trio.CancelScope() as self._work:
                if clone is not None and clone.phase not in ("done", "failed"):
                    try:
                        await self._bring(clone)
                    except BanyanError as error:
                        clone.phase, clone.error = "failed", error
                    except OSError as error:
                        what = f"The disk refused ({error.strerror or error})"
                        clone.phase, clone.error = "failed", CloneFailed(what, "Mend that and clone again")
                await self._asked.wait()

    async def _bring(self, clone: _Clone) -> None:
        if clone.folder is not None:
            clone.phase = "importing"
            await trio.to_thread.run_sync(
                base_folder.import_folder, clone.folder, self._blobs, self._charter.base_at(clone.branch)
            )
        clone.phase = "fetching"
        failures: list[str] = []

        async def fetch(digest: bytes, size: int, name: str) -> None:
            failure = await self._fetcher.fetch(digest, size, ())
            if failure is not None:
                failures.append(f"{name} ({size:,} bytes) could not be fetched. {failure}")

        async with trio.open_nursery() as nursery:
            for digest, (size, name) in clone.wanted.items():
                nursery.start_soon(fetch, digest, size, name)
        if failures:
            others = f" So it is with {len(failures) - 1} more of its files." if len(failures) > 1 else ""
            raise CloneFailed(
                failures[0].rstrip(".") + "." + others,
                "What has arrived stays: `banyan clone` again goes on from there, when other nodes are connected, or "
                "with --from and a folder that has the base model",
            )
        await self._provisions.base_folder(clone.branch)
        clone.phase = "waiting"
        with trio.move_on_after(PATIENCE) as waited:
            while not self._opened(clone.branch):
                await trio.sleep(0.1)
        if waited.cancelled_caught:
            raise CloneFailed(
                f"The base model is here; of {clone.branch} nobody has told this node a release within "
                f"{PATIENCE:.0f} s",
                "See `banyan status` for who is connected, and clone again: nothing is fetched twice",
            )
        clone.phase = "adapters"
        clone.model = await self._compose(clone.branch)
        clone.phase = "done"

    def status(self) -> dict[str, object]:
        """JSON-ready: ``bytes`` of ``total`` are here, of them ``here_before``; ``sources`` is what each peer sent."""
        clone = self._now
        if clone is None:
            return {"phase": "none"}
        sources = {
            peer: received - clone.before.get(peer, 0) for peer, received in self._bytes_from_peers().items()
        }
        return {
            "branch": clone.branch,
            "phase": clone.phase,
            "base": self._charter.base_at(clone.branch).name,
            "bytes": self._received(clone.wanted),
            "total": sum(size for size, _ in clone.wanted.values()),
            "here_before": clone.here_before,
            "sources": {peer: count for peer, count in sources.items() if count > 0},
            "dropped": sorted(self._fetcher.distrusted()),
            "model": clone.model,
            "error": clone.error.what if clone.error is not None else None,
            "cure": clone.error.cure if clone.error is not None else None,
        }

    def _received(self, wanted: Mapping[bytes, tuple[int, str]]) -> int:
        """How many bytes of ``wanted`` are here, whole blobs and parts of others."""
        partial = {digest: part.received for digest, part in self._fetcher.partials.items()}
        return sum(
            size
            if digest in self._blobs
            else partial[digest]
            if digest in partial
            else self._blobs.received(digest)
            for digest, (size, _) in wanted.items()
        )

    def _bytes_from_peers(self) -> dict[str, int]:
        return {peer: traffic.received for peer, traffic in self._transport.traffic().items()}
