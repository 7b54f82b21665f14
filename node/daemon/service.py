"""The daemon: one node from its state directory up, and down again cleanly."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from banyan.node import membership
from banyan.node.assistant.sessions import AssistantRequest
from banyan.node.catalog.describing import Words
from banyan.node.catalog.hardware import Device, device_of, known
from banyan.node.daemon import listener
from banyan.node.daemon.book import AddressBook
from banyan.node.daemon.control import (
    BadRequest,
    BranchRequest,
    CloneRequest,
    ComposeRequest,
    DistillRequest,
    LogRequest,
    RehearseRequest,
    TrainRequest,
    application,
)
from banyan.node.daemon.eventlog import EventLog
from banyan.node.daemon.events import NodeStopping
from banyan.node.daemon.fetcher import Fetcher
from banyan.node.daemon.joining import Entrance
from banyan.node.daemon.member import TARGET_KEY, Member
from banyan.node.daemon.outbox import Outbox
from banyan.node.daemon.parts import Parts
from banyan.node.daemon.supervisor import Supervisor
from banyan.node.home import Home
from banyan.node.network.addresses import Address
from banyan.node.network.sharing import SharedBlobs
from banyan.node.page.service import PageService, words
from banyan.node.settings import Settings
from banyan.node.settings import load as load_settings
from banyan.node.settings import save as save_settings
from banyan.node.store import Batch, BlobStore, Database, HomeLock, StoredEvent
from banyan.protocol.events import Event
from banyan.security.charter import Charter
from banyan.security.errors import BanyanError, Refused
from banyan.security.identity import Identity

log = logging.getLogger("banyan.daemon")

#: Seconds between two stores of events that no batch of the core took along.
EVENTS_INTERVAL = 2.0

#: Seconds that a clean shutdown may take before what still runs is cut off.
SHUTDOWN = 5.0

#: The port that was chosen at the first start, kept so that addresses told to others stay true.
PORT_KEY = "node/port"


class Daemon:
    """One node. :meth:`run` opens everything, serves until :meth:`stop`, and closes everything.

    Raises before it serves: :class:`~banyan.node.store.HomeInUse`, :class:`~banyan.node.home.HomeError`, the
    errors of store, settings, identity and charter, and :class:`~banyan.node.network.errors.PortInUse`. Later
    it ends by itself only where going on is useless: the invite that it joins with admits nobody.
    """

    def __init__(
        self,
        home: Home,
        parts: Parts,
        flags: Mapping[str, object] | None = None,
        passphrase: Callable[[], str] | None = None,
    ) -> None:
        self.home = home
        self._parts = parts
        self._flags = dict(flags or {})
        self._passphrase = passphrase
        self._stopping = trio.Event()
        self._began = trio.current_time()
        self.phase = "starting"
        self.member: Member | None = None

    # ------------------------------------------------------------------------------------------- lifetime

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped; ``started`` once the node listens and the control API is about to."""
        self.home.create()
        self.home.require_network()
        with HomeLock(self.home.root):
            await trio.to_thread.run_sync(self._open)
            try:
                await self._serve(task_status)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self._close)

    def stop(self, why: str) -> None:
        """End cleanly, soon."""
        if not self._stopping.is_set():
            self.events.emit(NodeStopping(why=why))
            self._stopping.set()

    def _open(self) -> None:
        self.settings: Settings = load_settings(self.home.settings, self._flags)
        if "training.data" in self._flags:  # it is to be trained on now, whatever was watched before
            training = self.settings.training.model_copy(update={"watch": None})
            self.settings = self.settings.model_copy(update={"training": training})
        self.identity: Identity = membership.load_identity(self.home, self._passphrase)
        self.database = Database(self.home.database, self.settings.store.events)
        self.blobs = BlobStore(self.home.blobs)
        self.shared_blobs = SharedBlobs(self.blobs, self._withheld)
        self.events = EventLog(self._parts.clock, self.database.last_position())
        self.supervisor = Supervisor(self.events.emit)
        self.charter: Charter | None = membership.load_charter(self.home)
        self._invite = membership.load_invite(self.home)
        self._kept_port = int(self.database.state().get(PORT_KEY, b"0"))
        if "training.data" in self._flags:  # "from now on", whatever an earlier `train --rounds` had set
            self.database.apply(Batch(state={TARGET_KEY: b""}))

    def _close(self) -> None:
        try:
            self.database.apply(Batch(events=self.events.take_unstored()))
        except BanyanError as error:
            log.error("the last events could not be stored: %s", error)
        self.database.close()

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        self.transport = self._parts.transport(self)
        self.book = AddressBook(self.identity.node_id)
        self.outbox = Outbox(self.transport, self.book)
        self.fetcher = Fetcher(self.blobs, self.transport, self.book, self.emit)
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            await stack.enter_async_context(self.transport.run())
            await self._keep_port()
            app, keep = application(self), self.supervisor.keep
            socket = self.home.socket
            nursery.start_soon(keep, "control", lambda: listener.serve_socket(app, socket, self._stopping))
            if (api := self.settings.api).port:
                token = self.home.token
                nursery.start_soon(
                    keep,
                    "control-tcp",
                    lambda: listener.serve_tcp(app, api.host, api.port, token, self._stopping),
                )
            self._page = PageService(self, app, self.settings.page.port, self._stopping)
            nursery.start_soon(keep, "page", self._page.run)
            nursery.start_soon(keep, "event-store", self._store_events)
            nursery.start_soon(self._live)
            task_status.started()
            await self._stopping.wait()
            self.phase = "stopping"
            with trio.move_on_after(SHUTDOWN):
                await self._drain()
            nursery.cancel_scope.cancel()

    async def _drain(self) -> None:
        """Let running answers of the control API end: it closes by itself once asked to stop."""
        control = self.supervisor.services.get("control")
        while control is not None and control.running:
            await trio.sleep(0.02)

    async def _live(self) -> None:
        """Join if need be, then be a member."""
        if self.charter is None or not self.home.credential.exists():
            self.phase = "joining"
            await self.supervisor.keep("joining", self._join, fatal=(Refused,))
        assert self.charter is not None
        self.member = Member(self, self.charter)
        self.phase = "running"
        await self.member.run()

    async def _join(self) -> None:
        assert self._invite is not None
        entrance = Entrance(
            self.home,
            self.identity,
            self._invite,
            self.transport,
            self.blobs,
            self.fetcher,
            self.emit,
            self._parts.clock,
        )
        self.charter = await entrance.pass_through()

    # ------------------------------------------------------------------------------- for parts and member

    @property
    def parts(self) -> Parts:
        """What this daemon was given."""
        return self._parts

    @property
    def network(self) -> bytes:
        """The network's id, known from the charter or the invite."""
        if self.charter is not None:
            return self.charter.network_id
        assert self._invite is not None  # require_network saw one of the two
        return self._invite.network

    @property
    def bootstrap(self) -> tuple[str, ...]:
        """The addresses of the invite that this node joined with, if it did."""
        return self._invite.addresses if self._invite is not None else ()

    @property
    def port(self) -> int:
        """The port to listen on: the owner's, else the one of last time, else 0 (any)."""
        return self.settings.network.port or self._kept_port

    def emit(self, event: Event) -> None:
        """Log an event."""
        self.events.emit(event)

    def _withheld(self) -> frozenset[bytes]:
        """Blobs that the owner does not give to others: the base model, where it is not to be shared."""
        if self.settings.network.share_base or self.charter is None:
            return frozenset()
        bases = (ground.base for ground in self.charter.foundations.values())
        return frozenset(entry.digest for base in bases for entry in base.files)

    async def _keep_port(self) -> None:
        ports = set()
        for text in self.transport.addresses():
            try:
                ports.add(Address.parse(text).port)
            except Refused:
                continue  # an address of a transport without ports
        if len(ports) == 1 and (port := ports.pop()) != self._kept_port and not self.settings.network.port:
            batch = Batch(state={PORT_KEY: b"%d" % port})
            await trio.to_thread.run_sync(self.database.apply, batch)

    async def _store_events(self) -> None:
        while True:
            await trio.sleep(EVENTS_INTERVAL)
            events = self.events.take_unstored()
            if not events:
                continue
            try:
                await trio.to_thread.run_sync(self.database.apply, Batch(events=events))
            except BanyanError:
                self.events.give_back(events)  # the driver reports a full disk; here it only waits

    # -------------------------------------------------------------------------------- the control API's side

    async def status(self) -> Mapping[str, object]:
        """Everything about this node, JSON-ready."""
        traffic = self.transport.traffic().values()
        member = self.member
        return {
            "node": self.identity.node_id,
            "version": version(),
            "home": str(self.home.root),
            "phase": self.phase,
            "network": {
                "id": self.network.hex(),
                "name": self.charter.name if self.charter else None,
                "admission": self.charter.admission if self.charter else None,
            },
            "uptime_seconds": round(trio.current_time() - self._began, 1),
            "addresses": list(self.transport.addresses()),
            "peers": list(self.transport.peers()),
            "bytes_sent": sum(each.sent for each in traffic),
            "bytes_received": sum(each.received for each in traffic),
            "refused": dict(self.transport.refusals()),
            "services": [service.plain() for service in self.supervisor.services.values()],
            "last_event": self.events.position,
            **(member.status() if member is not None else {}),
        }

    async def events_after(self, after: int | None, limit: int, kind: str | None) -> list[StoredEvent]:
        """Past ``after``, oldest first; without it the newest ``limit``."""
        if after is None:
            after = 0
            recent = self.events.after(0, 1_000_000, kind)
            if len(recent) >= limit or self.events.oldest <= 1:
                return recent[-limit:]
            stored = await trio.to_thread.run_sync(self.database.last_events, limit)
            known = {event.position for event in recent}
            older = [e for e in stored if e.position not in known and kind in (None, e.kind)]
            return [*older, *recent][-limit:]
        if after + 1 >= self.events.oldest:
            return self.events.after(after, limit, kind)
        return await trio.to_thread.run_sync(self.database.events, after, limit, kind)

    async def follow(self, after: int | None, kind: str | None) -> AsyncIterator[StoredEvent]:
        """Every event past ``after`` (from now on, without it) for as long as the node runs."""
        position = self.events.position if after is None else after
        while True:
            for event in await self.events_after(position, 1_000, None):
                position = event.position
                if kind in (None, event.kind):
                    yield event
            await self.events.wait_beyond(position)

    @property
    def position(self) -> int:
        """The place of the newest event."""
        return self.events.position

    async def wait_beyond(self, position: int) -> None:
        """Return once there is an event past ``position``."""
        await self.events.wait_beyond(position)

    async def page(self) -> Mapping[str, object]:
        """A link that opens this node's page, once."""
        return words(await self._page.link())

    async def device(self) -> Device:
        """This machine, as fast as it was when it was last measured."""
        return device_of(await trio.to_thread.run_sync(known, self.home.root))

    async def peers(self) -> list[dict[str, object]]:
        """Connected peers and members that are not, JSON-ready."""
        traffic = self.transport.traffic()
        connected = set(self.transport.peers())
        book = self.book.all()
        return [
            {
                "peer": peer,
                "connected": peer in connected,
                "addresses": list(book.get(peer, ())),
                "bytes_received": traffic[peer].received if peer in traffic else 0,
                "bytes_sent": traffic[peer].sent if peer in traffic else 0,
            }
            for peer in sorted(connected | set(book))
        ]

    async def history(self, request: LogRequest) -> Mapping[str, object]:
        """The certified releases of a branch (default: this node's own)."""
        return self._running().history(request)

    async def cards(self, branch: str | None) -> list[dict[str, object]]:
        """The model cards that this node holds, JSON-ready."""
        return self._running().cards.entries(branch)

    async def describe(self, words: Words) -> Mapping[str, object]:
        """Sign the card of this node's branch anew."""
        return await self._running().cards.describe(words)

    async def assistant(self, request: AssistantRequest) -> Mapping[str, object]:
        """One turn of a conversation that finds a model."""
        return await self._running().advising.answer(request)

    async def branches(self) -> Mapping[str, object]:
        """The tree as this node sees it."""
        return self._running().branches()

    async def found_branch(self, request: BranchRequest) -> Mapping[str, object]:
        """Found a branch, or propose it."""
        return await self._running().found_branch(
            request.branch, request.description, Path(request.probe) if request.probe else None
        )

    async def approve_branch(self, branch: str) -> Mapping[str, object]:
        """Agree that there be a branch."""
        return await self._running().approve_branch(branch)

    async def train(self, request: TrainRequest) -> Mapping[str, object]:
        """Set what is given and train on."""
        member = self._running()
        changes = member.checked(request)
        if changes:
            await self._change(changes)
        return await member.train(request)

    async def _change(self, changes: Mapping[str, object]) -> None:
        """Save settings; they outweigh the flags that this run began with."""
        await trio.to_thread.run_sync(save_settings, self.home.settings, changes)
        self._flags = {name: value for name, value in self._flags.items() if name not in changes}
        self.settings = load_settings(self.home.settings, self._flags)

    async def rehearse(self, request: RehearseRequest) -> Mapping[str, object]:
        """Try this node's model on data."""
        return await self._running().rehearse(request)

    async def share(self) -> Mapping[str, object]:
        """Give what was learnt privately in the next round."""
        return await self._running().share()

    async def clone(self, request: CloneRequest) -> Mapping[str, object]:
        """Begin to bring a branch's whole model here, and work on that branch from now on."""
        member = self._running()
        if await member.begin_clone(request):
            await self._change({"training.branch": request.branch})
            await member.move()
        return member.cloning.status()

    async def cloning(self) -> Mapping[str, object]:
        """How far the last clone is."""
        return self._running().cloning.status()

    async def distill(self, request: DistillRequest) -> Mapping[str, object]:
        """Let a branch learn from the model of another on public text."""
        member = self._running()
        await member.check_distillation(request)
        await self._change({"training.branch": request.target})
        return await member.distill(request)

    async def target(self, height: int | None) -> Mapping[str, object]:
        """Train until the branch has reached ``height``; None: for ever."""
        return await self._running().aim_at(height)

    async def compose(self, request: ComposeRequest) -> Mapping[str, object]:
        """Bring the adapters of a model into the store, and name them."""
        return await self._running().compose(request)

    async def checkout(self, release: str | None) -> Mapping[str, object]:
        """Pin this node to a release of its branch; None: use the head again."""
        return await self._running().checkout(release)

    async def audit(self, branch: str | None, height: int | None) -> Mapping[str, object]:
        """Do a certified release over from its signed updates."""
        return await self._running().audit(branch, height)

    def seasons(self) -> Mapping[str, object]:
        """The newest season, and where each branch stands."""
        return self._running().seasons()

    async def open_season(self) -> Mapping[str, object]:
        """Open the next season, for every branch."""
        return await self._running().open_season()

    async def revoke(self, subject: str, why: str) -> Mapping[str, object]:
        """End a membership or an invite, for everybody and for ever."""
        return await self._running().revoke(subject, why)

    def _running(self) -> Member:
        if self.member is None:
            raise BadRequest(
                f"The node is {self.phase} and has no branch yet", "See `banyan status` for what it waits for"
            )
        return self.member


def version() -> str:
    """This Banyan's version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("banyan-fl")
    except PackageNotFoundError:
        return "0"
