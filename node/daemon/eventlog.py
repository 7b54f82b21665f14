"""The one list of events behind log lines, ``banyan status``, the dashboard and tests."""

from __future__ import annotations

import logging
from collections import deque

import trio

from banyan.node.daemon.clock import Clock
from banyan.node.store import StoredEvent
from banyan.protocol.events import Event, plain

log = logging.getLogger("banyan.events")

#: Events a person should look at; the rest is the ordinary course of things.
WARNINGS = frozenset(
    {
        "blob-unavailable",
        "disk-trouble",
        "file-refused",
        "hook-failed",
        "job-failed",
        "leader-changed",
        "memory-lost",
        "node-quarantined",
        "peer-muted",
        "proposal-refused",
        "round-waiting",
        "service-restarted",
        "update-refused",
        "version-rejected",
        "worker-restarted",
    }
)


class EventLog:
    """Gives every event its place, keeps the newest in memory, and holds them ready for the store.

    Events are not promises: those not yet stored when a node is killed are lost, the state they speak of is
    not. At most ``keep`` wait for the store; while the disk is full the oldest of them give way.
    """

    def __init__(self, clock: Clock, last_position: int = 0, keep: int = 2_000) -> None:
        self._clock = clock
        self._position = last_position
        self._recent: deque[StoredEvent] = deque(maxlen=keep)
        self._unstored: deque[StoredEvent] = deque(maxlen=keep)
        self._arrived = trio.Event()

    @property
    def position(self) -> int:
        """The place of the newest event."""
        return self._position

    def emit(self, event: Event) -> None:
        """Take ``event`` in: log it, wake those who follow."""
        body = plain(event)
        kind = str(body.pop("event"))
        self._position += 1
        stored = StoredEvent(self._position, self._clock(), kind, body)
        self._recent.append(stored)
        self._unstored.append(stored)
        level = logging.WARNING if kind in WARNINGS else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, "%s %s", kind, " ".join(f"{key}={_brief(value)}" for key, value in body.items()))
        self._arrived.set()

    def take_unstored(self) -> list[StoredEvent]:
        """What the store has not seen yet; it counts as stored from now on."""
        events = list(self._unstored)
        self._unstored.clear()
        return events

    def give_back(self, events: list[StoredEvent]) -> None:
        """The store could not take them: hold them for the next attempt."""
        self._unstored.extendleft(reversed(events))

    def after(self, position: int, limit: int, kind: str | None = None) -> list[StoredEvent]:
        """At most ``limit`` events past ``position`` that are still in memory, oldest first."""
        found = (event for event in self._recent if event.position > position)
        return [event for event in found if kind is None or event.kind == kind][:limit]

    @property
    def oldest(self) -> int:
        """The place of the oldest event in memory (one past the newest if there is none)."""
        return self._recent[0].position if self._recent else self._position + 1

    async def wait_beyond(self, position: int) -> None:
        """Return once there is an event past ``position``."""
        while self._position <= position:
            self._arrived = trio.Event() if self._arrived.is_set() else self._arrived
            await self._arrived.wait()


def _brief(value: object) -> str:
    if isinstance(value, str) and len(value) > 80:
        return value[:77] + "..."
    if isinstance(value, (tuple, list)) and len(value) > 6:
        return f"[{len(value)} items]"
    return str(value)
