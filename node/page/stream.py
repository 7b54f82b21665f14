"""The event log as server-sent events (WHATWG HTML, section 9.2), which a browser takes up again where it broke off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Final, Protocol

import trio

from banyan.node.daemon.control import plain_event
from banyan.node.store import StoredEvent

#: Events that a page gets to begin with, and that it may have missed before it is told that some are left out.
FIRST, MISSED = 200, 1_000

#: Events read at once. A reader that is slow holds up only itself, and no more than these wait for it.
BATCH: Final = 100

#: Seconds between signs of life while nothing happens, so that a dead connection is noticed.
PULSE: Final = 15.0


class Log(Protocol):
    """The event log of a node."""

    @property
    def position(self) -> int: ...

    async def events_after(self, after: int | None, limit: int, kind: str | None) -> list[StoredEvent]: ...

    async def wait_beyond(self, position: int) -> None: ...


async def events(log: Log, after: int | None) -> AsyncIterator[bytes]:
    """What happened past ``after``, then what happens, until the node stops.

    Without ``after``, or with one that this log has never reached or that lies too far back, it begins with the newest
    :data:`FIRST`; in the last case a ``gap`` is said before.
    """
    yield b"retry: 2000\n\n"
    if after is not None and log.position - after > MISSED:
        yield b"event: gap\ndata: {}\n\n"
        after = None
    if after is None or after > log.position:
        found = await log.events_after(None, FIRST, None)
    else:
        found = await log.events_after(after, BATCH, None)
    position = after if after is not None and after <= log.position else log.position
    while True:
        for event in found:
            position = event.position
            yield _framed(event)
            if event.kind == "node-stopping":
                return
        while log.position <= position:
            with trio.move_on_after(PULSE):
                await log.wait_beyond(position)
                break
            yield b": still here\n\n"
        found = await log.events_after(position, BATCH, None)


def _framed(event: StoredEvent) -> bytes:
    """JSON in ASCII has no line breaks, so nothing that a peer says can end the frame."""
    return b"id: %d\ndata: %s\n\n" % (
        event.position,
        json.dumps(plain_event(event), separators=(",", ":")).encode("ascii"),
    )
