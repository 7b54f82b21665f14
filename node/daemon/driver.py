"""Drives the core: hands it inputs one by one, makes its promises durable, then acts.

The rule of order: what a batch of inputs made the core persist is on the disk, in one transaction, before
any message of that batch is sent. A disk that refuses stops everything here until it accepts again: no
message leaves, nothing is acknowledged, and the inbox fills up, which the transport turns into "busy" for
the peers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import trio

from banyan.node.daemon.clock import Clock
from banyan.node.daemon.eventlog import EventLog
from banyan.node.daemon.events import DiskRecovered, DiskTrouble, PeerMuted
from banyan.node.daemon.supervisor import describe
from banyan.node.daemon.timers import Timers
from banyan.node.store import Batch, Database, StoreError
from banyan.protocol.effects import (
    Aggregate,
    DropRecords,
    Effect,
    Emit,
    Evaluate,
    FetchBlob,
    InputEvent,
    MessageReceived,
    Mix,
    PeerConnected,
    PutRecord,
    PutState,
    Send,
    SetTimer,
    Started,
    TimerFired,
    Train,
)
from banyan.protocol.overview import status
from banyan.protocol.peer import Peer
from banyan.security.errors import BanyanError

log = logging.getLogger("banyan.daemon")

#: Inputs handled together, and made durable together: one fsync for all of them.
MAX_BATCH = 64

#: Inputs that wait for the core. A full inbox slows the senders down; it never drops.
INBOX = 512

#: Seconds between attempts of a refused write: first, longest.
DISK_PAUSES = (0.5, 15.0)

#: Seconds that a peer is not listened to after one of its messages made the core raise.
MUTE_SECONDS = 600.0

#: Keys of the store's state that belong to the daemon, not to the core.
OWN_PREFIX = "node/"


class CoreFailed(BanyanError):
    """The core raised, which it never should. It is rebuilt from the store, as after a restart."""


class Hands(Protocol):
    """Who performs the effects that are not the driver's own. No call may block or raise."""

    def send(self, effect: Send) -> None: ...

    def fetch(self, effect: FetchBlob) -> None: ...

    def work(self, effect: Train | Aggregate | Mix | Evaluate) -> None: ...


class Driver:
    """Owns the core and its only thread of execution. :meth:`run` may be called again after it failed."""

    def __init__(
        self,
        build: Callable[[], Peer],
        database: Database,
        hands: Hands,
        events: EventLog,
        clock: Clock,
        connected: Callable[[], Iterable[str]] = lambda: (),
    ) -> None:
        """``build`` makes a core that has no past yet, in a thread; ``connected`` names the peers of this moment."""
        self._build = build
        self._connected = connected
        self._database = database
        self._hands = hands
        self._events = events
        self._clock = clock
        self._inbox, self._inputs = trio.open_memory_channel[InputEvent](INBOX)
        self._muted: dict[str, float] = {}
        self._life = trio.CancelScope()
        self.timers = Timers(clock)
        self.peer: Peer | None = None
        self.disk_trouble: str | None = None

    # ------------------------------------------------------------------------------------- what comes in

    async def give(self, event: InputEvent) -> None:
        """Queue an input for the core; waits while the inbox is full. A muted peer's message is dropped."""
        if isinstance(event, MessageReceived) and trio.current_time() < self._muted.get(event.sender, 0.0):
            return
        await self._inbox.send(event)

    async def fire(self, key: str) -> None:
        """A timer's time has come."""
        await self.give(TimerFired(key))

    # ---------------------------------------------------------------------------------------- the service

    async def run(self) -> None:
        """Build the core from the store and serve it until cancelled or until it raises."""
        while True:
            with trio.CancelScope() as self._life:
                await self._serve()

    def rebuild(self) -> None:
        """Build the core anew from the store, with the owner's newest choices; as a quick restart would."""
        self._life.cancel()

    async def _serve(self) -> None:
        self.timers.clear()
        self.peer = await trio.to_thread.run_sync(self._restored)
        await self._turn([Started(), *map(PeerConnected, self._connected())])
        while True:
            inputs = [await self._inputs.receive()]
            while len(inputs) < MAX_BATCH:
                try:
                    inputs.append(self._inputs.receive_nowait())
                except trio.WouldBlock:
                    break
            await self._turn(inputs)

    def _restored(self) -> Peer:
        peer = self._build()
        state = {k: v for k, v in self._database.state().items() if not k.startswith(OWN_PREFIX)}
        peer.restore(self._database.records(), state)
        return peer

    async def _turn(self, inputs: Iterable[InputEvent]) -> None:
        assert self.peer is not None
        effects: list[Effect] = []
        failed: CoreFailed | None = None
        for event in inputs:
            try:
                effects += self.peer.handle(event, self._clock())
            except Exception as error:  # noqa: BLE001 - a bug in the core must not end the node
                failed = self._failed(event, error)
                break
        await self._perform(effects)  # what was decided before the failure stands
        if failed is not None:
            raise failed

    def _failed(self, event: InputEvent, error: Exception) -> CoreFailed:
        reason = describe(error)
        log.error("the core failed on %s", type(event).__name__, exc_info=error)
        if isinstance(event, MessageReceived):
            self._muted[event.sender] = trio.current_time() + MUTE_SECONDS
            self._events.emit(PeerMuted(peer=event.sender, reason=reason, seconds=MUTE_SECONDS))
        failed = CoreFailed(
            f"The core failed on {type(event).__name__} ({reason})", "It is rebuilt from the store"
        )
        failed.__cause__ = error
        return failed

    # ---------------------------------------------------------------------------------- what comes out

    async def _perform(self, effects: list[Effect]) -> None:
        batch = Batch()
        for effect in effects:
            match effect:
                case PutRecord(record, data):
                    batch.put_record(record, data)
                case DropRecords(records):
                    for record in records:
                        batch.drop_record(record)
                case PutState(key, value):
                    batch.state[key] = value
                case Emit(event):
                    self._events.emit(event)
        if batch.must_be_durable:
            batch.events = self._events.take_unstored()
            await self._persist(batch)
        for effect in effects:
            match effect:
                case Send():
                    self._hands.send(effect)
                case FetchBlob():
                    self._hands.fetch(effect)
                case Train() | Aggregate() | Mix() | Evaluate():
                    self._hands.work(effect)
                case SetTimer(key, at):
                    self.timers.set(key, at)

    async def _persist(self, batch: Batch) -> None:
        """Return once ``batch`` is durable, however long the disk takes to accept it."""
        pause, longest = DISK_PAUSES
        began: float | None = None
        while True:
            try:
                # Shielded: a thread goes on after its waiter was cancelled, and then nobody would know.
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self._database.apply, batch)
            except StoreError as error:
                self._events.give_back(batch.events)
                batch.events = []
                if began is None:
                    began = trio.current_time()
                    self._events.emit(DiskTrouble(what=error.what, cure=error.cure))
                self.disk_trouble = str(error)
                await trio.sleep(pause)
                pause = min(longest, pause * 2)
            else:
                break
        if began is not None:
            self.disk_trouble = None
            self._events.emit(DiskRecovered(after_seconds=round(trio.current_time() - began, 1)))

    # ------------------------------------------------------------------------------------------- answers

    def status(self) -> Mapping[str, object]:
        """What the core says of itself; empty while it is being built."""
        return status(self.peer, self._clock()) if self.peer is not None else {}
