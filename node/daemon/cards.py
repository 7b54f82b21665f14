"""The model cards of a running node: what it holds, and its own branch's, kept true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from banyan.node.catalog.describing import DescriptionError, Words, base_of, sheet
from banyan.node.daemon.clock import Clock
from banyan.node.daemon.control import BadRequest
from banyan.node.daemon.driver import Driver
from banyan.node.store import BlobStore
from banyan.protocol.card import Probe
from banyan.protocol.catalog import plain_entry
from banyan.protocol.effects import Command
from banyan.protocol.peer import Peer
from banyan.security.charter import Charter
from banyan.security.errors import Refused
from banyan.security.model import BaseModel

#: Seconds between two looks at whether the branch's card should be signed anew.
PAUSE = 5.0


class Cards:
    """``core`` gives the running core or raises ``BadRequest``; ``renew`` is the owner's interval in seconds."""

    def __init__(
        self,
        charter: Charter,
        blobs: BlobStore,
        driver: Driver,
        core: Callable[[], Peer],
        clock: Clock,
        renew: Callable[[], float],
    ) -> None:
        self._charter = charter
        self._blobs = blobs
        self._driver = driver
        self._core = core
        self._clock = clock
        self._renew = renew

    def entries(self, branch: str | None = None) -> list[dict[str, object]]:
        """The cards that this node holds, of all branches or one, by path; JSON-ready."""
        catalog = self._core().catalog
        found = catalog if branch is None else [catalog.of(branch)]
        return [plain_entry(entry) for entry in found if entry is not None]

    async def describe(self, words: Words) -> dict[str, object]:
        """Sign the card of this node's branch anew with ``words``.

        Raises :class:`BadRequest` where this node may not speak for its branch, or cannot describe its model.
        """
        peer = self._core()
        try:
            text = await trio.to_thread.run_sync(self._sheet, peer, words)
            peer.catalog.check_sheet(text)
        except (Refused, DescriptionError) as error:
            raise BadRequest(error.what, error.cure) from None
        await self._driver.give(Command("describe", {"sheet": text}))
        return {"branch": peer.branch}

    async def run(self) -> None:
        """Sign the branch's card anew whenever that is this node's turn, for ever."""
        while True:
            await trio.sleep(PAUSE)
            peer = self._driver.peer
            if peer is None or not peer.catalog.is_due(self._clock(), round(self._renew() * 1000)):
                continue
            try:
                await self.describe(Words())
            except BadRequest:
                continue  # the base model is still on its way, or a round has just moved the lead on

    def _sheet(self, peer: Peer, words: Words) -> str:
        known = peer.catalog.of(peer.branch)
        before = known.card.sheet if known is not None else None
        base = self._charter.base_at(peer.branch)
        sizes = base_of(self._config(base), base)
        return sheet(peer.branch, words, before, self._charter, sizes, _probes(peer))

    def _config(self, base: BaseModel) -> Path:
        files = {entry.name: entry.digest for entry in base.files}
        if "config.json" not in files or files["config.json"] not in self._blobs:
            raise DescriptionError("The base model is not here yet", "Wait until it is fetched")
        return self._blobs.path(files["config.json"])


def _probes(peer: Peer) -> tuple[Probe, ...]:
    """The newest loss that the members reported, as far as this node has seen their updates."""
    for page in reversed(peer.history(peer.branch)):
        reported, height = page["reported"], page["height"]
        if isinstance(reported, dict) and isinstance(height, int):
            return (Probe("loss", float(reported["loss_after"]), height, 0, "reported"),)
    return ()
