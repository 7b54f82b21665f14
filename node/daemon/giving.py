"""Giving a branch what was learnt privately: once, in its next round, and then it is kept apart no longer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import trio

from banyan.node.daemon.control import BadRequest
from banyan.node.daemon.events import PrivateShared
from banyan.node.learning.private import find, forget
from banyan.node.store import Database, StoredEvent
from banyan.protocol.events import Event
from banyan.protocol.learner import PENDING
from banyan.security import canonical

#: Where the branch is kept whose next round is given what was learnt privately.
KEY = "node/share"


class Owner(Protocol):
    """What giving needs of the member it is for."""

    def branch(self) -> str: ...

    def height(self) -> int: ...

    async def retarget(self, target: int | None, state: dict[str, bytes]) -> None:
        """Take part until the height ``target``; keep that and ``state`` in the same instant, and begin at once."""


class Giving:
    """One member's. ``follow`` gives the events of a kind from a position on."""

    def __init__(
        self,
        owner: Owner,
        folder: Path,
        database: Database,
        follow: Callable[[], AsyncIterator[StoredEvent]],
        report: Callable[[Event], None],
    ) -> None:
        self._owner = owner
        self._folder = folder
        self._database = database
        self._follow = follow
        self._report = report
        self._given = database.state().get(KEY, b"").decode()

    @property
    def source(self) -> Path | None:
        """The folder of what the next round of this node's branch is to be given; None: nothing is."""
        return self._folder if self._given and self._given == self._owner.branch() else None

    async def begin(self) -> dict[str, object]:
        """Give in the next round. It ends with a private-shared event. Raises :class:`BadRequest`."""
        branch = self._owner.branch()
        if find(self._folder, branch) is None:
            raise BadRequest(
                f"Nothing has been learnt privately for {branch}",
                "First: `banyan train --private --data PATH`",
            )
        self._given = branch
        await self._owner.retarget(None, {KEY: branch.encode()})  # until it is announced, in whatever round
        return {"branch": branch, "height": self._owner.height()}

    async def run(self) -> None:
        """Forget what was learnt privately once an update carries it: from then on the core keeps it, used or not."""
        state = await trio.to_thread.run_sync(self._database.state)
        for digest in _announced(
            state.get(PENDING + self._owner.branch(), b"")
        ):  # where a kill came between the two
            await self._announced(digest.hex(), self._owner.height() + 1)
        async for event in self._follow():
            await self._announced(str(event.body["blob"]), int(str(event.body["height"])))

    async def _announced(self, blob: str, height: int) -> None:
        branch = self._owner.branch()
        kept = find(self._folder, branch)
        if kept is None or kept.update != blob:
            return
        await trio.to_thread.run_sync(forget, self._folder, branch)
        self._given = ""
        await self._owner.retarget(height, {KEY: b""})
        self._report(PrivateShared(branch, height, blob))


def _announced(data: bytes) -> list[bytes]:
    """The blobs of the update that the core has announced for the running round."""
    found = canonical.decode(data, max_bytes=1024) if data else []
    return [each for each in found if isinstance(each, bytes)] if isinstance(found, list) else []
