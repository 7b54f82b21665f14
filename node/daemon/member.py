"""A node that is a member: its core and every service around it."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import trio

from banyan.node import membership
from banyan.node.daemon.advising import Advising
from banyan.node.daemon.cards import Cards
from banyan.node.daemon.cloning import Cloning
from banyan.node.daemon.composing import compose
from banyan.node.daemon.control import (
    BadRequest,
    CloneRequest,
    ComposeRequest,
    DistillRequest,
    LogRequest,
    RehearseRequest,
    TrainRequest,
)
from banyan.node.daemon.distilling import KEY, Distillation, check_wish
from banyan.node.daemon.driver import Driver
from banyan.node.daemon.events import (
    BlobsCollected,
    NodeStarted,
    PeerConnectedEvent,
    PeerLostEvent,
)
from banyan.node.daemon.giving import Giving
from banyan.node.daemon.hands import NodeHands
from banyan.node.daemon.hooks import ReleaseHook
from banyan.node.daemon.jobs import Jobs, Lessons
from banyan.node.daemon.lobby import MARK, Lobby
from banyan.node.daemon.naming import check_known
from banyan.node.daemon.private_lessons import PrivateLessons
from banyan.node.daemon.provisions import Provisions
from banyan.node.daemon.watch import Watch
from banyan.node.home import HomeError
from banyan.node.learning.continual.rejected import listed
from banyan.node.learning.probe_set import made_of
from banyan.node.learning.rehearsal import Rehearse
from banyan.node.learning.settings import TrainingSettings
from banyan.node.network.transport import MessageArrived, PeerDown, PeerUp
from banyan.node.store import Batch
from banyan.protocol.effects import (
    Command,
    Evaluate,
    InputEvent,
    MessageReceived,
    PeerConnected,
    PeerLost,
    Train,
)
from banyan.protocol.messages import Presence
from banyan.protocol.overview import seasons
from banyan.protocol.peer import Peer, PeerSettings
from banyan.security.charter import Charter
from banyan.security.credential import Credential
from banyan.security.errors import BanyanError
from banyan.security.identity import is_node_id
from banyan.security.scope import covers, is_path

if TYPE_CHECKING:
    from banyan.node.daemon.service import Daemon

log = logging.getLogger("banyan.daemon")

#: Seconds between two looks at who is known and not connected, and at our own addresses.
NEIGHBOURS_INTERVAL = 3.0

#: Seconds between two looks at whether there is a folder to watch.
WATCH_PAUSE = 0.5

#: Where the height is kept at which this node stops training (its absence: never).
TARGET_KEY = "node/target"


#: The settings of differential privacy that a request to train may change.
DP_SETTINGS = ("dp_epsilon", "dp_delta", "dp_clip", "dp_rounds")

#: Seconds that a private lesson waits for news of the branch.
PRIVATE_PATIENCE = 60.0


class Member:
    """Everything of a running node that needs the charter. Made by the daemon once it has one."""

    def __init__(self, daemon: Daemon, charter: Charter) -> None:
        self._daemon = daemon
        self.charter = charter
        self._credential = _credential(daemon)
        self._rng = random.Random(secrets.randbits(64))
        settings = daemon.settings.training
        self._target: int | None = None
        began_at = daemon.events.position
        self.distillation = Distillation.restore(daemon.database.state())
        self.provisions = Provisions(
            daemon.home,
            daemon.blobs,
            daemon.fetcher,
            daemon.transport,
            charter,
            daemon.emit,
            branch=self.branch(),
            local_base=settings.base,
            trains=settings.data is not None or settings.watch is not None,
        )
        self.cloning = Cloning(
            charter,
            daemon.blobs,
            daemon.fetcher,
            daemon.transport,
            self.provisions,
            self._compose_head,
            self._is_open,
        )
        self.workers = daemon.parts.workers(daemon)
        self.jobs = Jobs(
            self.workers, self.provisions, self._plan, self._give, daemon.emit, listed(daemon.home.memory)
        )
        self.private = PrivateLessons(
            daemon.home.private,
            self.workers,
            self.provisions,
            self.lessons,
            self._adapters_of,
            daemon.emit,
        )
        self.giving = Giving(
            self,
            daemon.home.private,
            daemon.database,
            lambda: daemon.follow(began_at, "update-published"),
            daemon.emit,
        )
        self.watch = self._open_watch()
        self._rewatching = trio.CancelScope()
        self.hands = NodeHands(daemon.outbox, daemon.fetcher, self.jobs, self._give)
        self.hook = ReleaseHook(
            lambda: daemon.settings,
            lambda: daemon.follow(None, "release-certified"),
            self.branch,
            {"BANYAN_HOME": str(daemon.home.root), "BANYAN_NODE": daemon.identity.node_id},
            daemon.emit,
        )
        self.driver = Driver(
            self._build,
            daemon.database,
            self.hands,
            daemon.events,
            daemon.parts.clock,
            daemon.transport.peers,
        )
        self.lobby = Lobby(
            daemon.identity, charter.network_id, len(charter.encode()), self._credentials, daemon.parts.clock
        )

        self.cards = Cards(
            charter,
            daemon.blobs,
            self.driver,
            self._core,
            daemon.parts.clock,
            lambda: daemon.settings.catalog.renew,
        )
        self.advising = Advising(daemon.home.root, daemon.settings.catalog, self.cards.entries)

    async def _give(self, event: InputEvent) -> None:
        await self.driver.give(event)

    # ------------------------------------------------------------------------------------------- services

    async def run(self) -> None:
        """Run every service until cancelled."""
        daemon = self._daemon
        keep = daemon.supervisor.keep
        async with trio.open_nursery() as nursery:
            for name, service in (
                ("core", self.driver.run),
                ("timers", self._run_timers),
                ("arrivals", self._receive),
                ("outbox", daemon.outbox.run),
                ("transfers", self.hands.run),
                ("workers", self.workers.run),
                ("jobs", self.jobs.run),
                ("provisions", self.provisions.run),
                ("private", self.private.run),
                ("giving", self.giving.run),
                ("cloning", self.cloning.run),
                ("neighbours", self._stay_connected),
                ("collection", self._collect),
                ("watch", self._watch_folder),
                ("cards", self.cards.run),
                ("hooks", self.hook.run),
            ):
                nursery.start_soon(keep, name, service)
            daemon.emit(
                NodeStarted(
                    daemon.identity.node_id,
                    self.charter.network_id.hex(),
                    daemon.transport.addresses(),
                    _version(),
                )
            )

    async def _run_timers(self) -> None:
        await self.driver.timers.run(self.driver.fire)

    def _build(self) -> Peer:
        """A fresh core with the owner's present choices; called in a thread, by the driver."""
        state = self._daemon.database.state()
        target = state.get(TARGET_KEY)
        self._target = int(target) if target else None
        settings = PeerSettings(
            branch=self.branch(),
            credential=self._credential,
            addresses=self._daemon.transport.addresses(),
            trains=self.giving.source is not None
            or self.distillation is not None
            or (bool(self._sources()) and not self._daemon.settings.training.private),
            target_height=self._target,
            follows=() if self.distillation is None else (self.distillation.source,),
        )
        return self._daemon.parts.core(self._daemon, settings, self._rng)

    async def _watch_folder(self) -> None:
        """Learn what arrives in the owner's folder, whichever that is at the moment."""
        while True:
            with trio.CancelScope() as self._rewatching:
                while self.watch is None or self.driver.peer is None:  # before that no height is known
                    await trio.sleep(WATCH_PAUSE)
                await self.watch.run()

    def _open_watch(self) -> Watch | None:
        daemon = self._daemon
        folder = daemon.settings.training.watch
        return (
            None
            if folder is None
            else Watch(folder, daemon.database, daemon.emit, self._in_lesson, self._keep)
        )

    def _in_lesson(self) -> bool:
        """Whether rounds of the present lesson are left to do."""
        return self._target is not None and self.height() < self._target

    async def _keep(self, state: dict[str, bytes], is_new: bool) -> None:
        """Make a look at the folder durable and, where a lesson has begun, the rounds that it is to have, both at
        once."""
        if not is_new:
            await trio.to_thread.run_sync(self._daemon.database.apply, Batch(state=state))
            return
        rounds = self._daemon.settings.training.watch_rounds
        await self._remember_target(self.height() + rounds if rounds else None, state)
        self.driver.rebuild()

    async def _receive(self) -> None:
        """Hand what arrives to the core; knocks of newcomers to the lobby."""
        daemon = self._daemon
        async for arrival in daemon.transport.arrivals:
            match arrival:
                case MessageArrived(peer, data):
                    if data.startswith(MARK):
                        answer = self.lobby.answer(peer, data)
                        if answer is not None:
                            daemon.outbox.put((peer,), answer)
                    else:
                        await self.driver.give(MessageReceived(peer, data))
                case PeerUp(peer):
                    daemon.book.reached(peer)
                    daemon.emit(PeerConnectedEvent(peer))
                    await self.driver.give(PeerConnected(peer))
                case PeerDown(peer):
                    daemon.emit(PeerLostEvent(peer))
                    await self.driver.give(PeerLost(peer))

    async def _stay_connected(self) -> None:
        """Dial members that are known and not connected, the invite's addresses when alone; tell our own."""
        daemon = self._daemon
        told = daemon.transport.addresses()
        stored = await trio.to_thread.run_sync(daemon.database.addresses)
        for peer, addresses in stored.items():
            daemon.book.heard(peer, addresses)
        while True:
            news = {
                peer: addresses
                for peer, addresses in self._known_addresses().items()
                if daemon.book.heard(peer, addresses)
            }
            if news:
                now = daemon.parts.clock()
                await trio.to_thread.run_sync(daemon.database.remember_addresses, news, now)
            if not daemon.transport.peers() and daemon.bootstrap:
                for text in daemon.bootstrap:
                    daemon.book.heard(text.rpartition("/p2p/")[2], (text,))
            room = daemon.settings.network.connections // 2
            async with trio.open_nursery() as nursery:
                for peer in daemon.book.all():
                    if len(daemon.transport.peers()) >= room:
                        break
                    if peer not in daemon.transport.peers():
                        nursery.start_soon(daemon.book.reach, daemon.transport, peer)
            if (addresses := daemon.transport.addresses()) != told:
                told = addresses
                await self.driver.give(Command("addresses", {"addresses": ",".join(addresses)}))
            await trio.sleep(NEIGHBOURS_INTERVAL)

    def _known_addresses(self) -> Mapping[str, tuple[str, ...]]:
        return self.driver.peer.known_addresses() if self.driver.peer is not None else {}

    async def _collect(self) -> None:
        """Remove blobs that nothing needs, now and then."""
        daemon = self._daemon
        while True:
            await trio.sleep(daemon.settings.store.collect)
            if self.driver.peer is None:
                continue
            keep = (
                self.driver.peer.keep() | self.provisions.keep() | daemon.fetcher.wanted() | self.jobs.keep()
            )
            if self.distillation is not None:
                keep |= set(self.distillation.adapters or ())
            gone = await trio.to_thread.run_sync(daemon.blobs.collect, keep)
            if gone.blobs:
                daemon.emit(BlobsCollected(gone.blobs, gone.bytes))

    # -------------------------------------------------------------------------------------------- choices

    def branch(self) -> str:
        """The branch this node works on: the owner's choice, else the first leaf that its credential covers."""
        chosen = self._daemon.settings.training.branch
        scope = self._credential.scope
        if chosen is not None:  # it may have been founded since the charter, and we have yet to hear of it
            return self._check_reach(chosen)
        return membership.first_branch(self.charter.branches, scope)

    def _check_branch(self, branch: str) -> str:
        check_known(branch, self._tree(), self.charter.name)
        return self._check_reach(branch)

    def _tree(self) -> tuple[str, ...]:
        """Every branch that this node knows of."""
        return self.driver.peer.tree.paths if self.driver.peer is not None else self.charter.branches

    def _check_reach(self, branch: str) -> str:
        if not is_path(branch):
            raise BadRequest(f"{branch!r} is not a branch", "Write it like /en/medical")
        if not covers(self._credential.scope, branch):
            raise BadRequest(
                f"This node was invited to {self._credential.scope}, which does not cover {branch}",
                "Ask for an invite to that branch, or choose one below yours",
            )
        return branch

    async def _plan(self, job: Train | Evaluate) -> Lessons | None:
        """What to train on in ``job``, or to measure with: the public text while this branch is to learn from a
        teacher, who is needed in training alone."""
        wish, chosen = self.distillation, self._daemon.settings.training
        if wish is None or not wish.is_due(job.branch, job.height - 1):
            if isinstance(job, Evaluate) and (chosen.private or chosen.dp_epsilon or not self._sources()):
                # a vote says how a model does on this node's rows, and no noise covers that; the probe set is public
                return None if job.probe is None else Lessons((), self._settings())
            return None if chosen.private and self.giving.source is None else self.lessons()
        if isinstance(job, Train):
            wish = await self._begun(wish, job.height - 1)
        settings = self._settings()
        if wish.steps:
            settings = replace(settings, steps=wish.steps)
        return Lessons((Path(wish.text),), settings, None, wish.teacher if isinstance(job, Train) else None)

    async def _begun(self, wish: Distillation, height: int) -> Distillation:
        """``wish`` with its end, now that the branch is at ``height``, and its teacher, whose adapters are here."""
        if wish.until is None:
            wish = replace(wish, until=height + wish.rounds)
            await self._remember_target(wish.until, {KEY: wish.encode()})
            self.distillation = wish
            await self.driver.give(Command("target", {"height": wish.until}))
        if wish.teacher is None:
            model = await compose(ComposeRequest(branch=wish.source), self._core(), self._daemon.fetcher)
            named: Any = model["adapters"]
            wish = replace(wish, adapters=tuple(map(bytes.fromhex, named)))
            await trio.to_thread.run_sync(self._daemon.database.apply, Batch(state={KEY: wish.encode()}))
            self.distillation = wish
        return wish

    def lessons(self) -> Lessons | None:
        """What to train on, and how; None if no data is set."""
        sources = self._sources()
        gives = self.giving.source
        if not sources and gives is None:
            return None
        return Lessons(sources, self._settings(), self._daemon.settings.training.app, gives=gives)

    def _settings(self) -> TrainingSettings:
        chosen = self._daemon.settings.training
        return TrainingSettings(
            steps=chosen.steps,
            batch=chosen.batch,
            max_length=chosen.max_length,
            learning_rate=chosen.learning_rate,
            columns=chosen.rank,
            eval_rows=chosen.eval_rows,
            device=chosen.device,
            precision=chosen.precision,
            continual=chosen.continual,
            continual_epsilon=chosen.continual_epsilon,
            gate_tries=chosen.gate_tries,
            replay_rows=chosen.replay_rows,
            replay_ratio=chosen.replay_ratio,
            ewc_strength=chosen.ewc_strength,
            dp_epsilon=chosen.dp_epsilon,
            dp_delta=chosen.dp_delta,
            dp_clip=chosen.dp_clip,
            dp_rounds=chosen.dp_rounds,
        )

    def _sources(self) -> tuple[Path, ...]:
        """The files and folders to train on now: the lesson of the watched folder, else the owner's data."""
        chosen = self._daemon.settings.training
        if chosen.watch is not None:
            return self.watch.lesson() if self.watch is not None else ()
        return () if chosen.data is None else (chosen.data,)

    # ------------------------------------------------------------------------------- the control API's side

    def checked(self, request: TrainRequest) -> dict[str, Any]:
        """The settings that ``request`` changes. Raises :class:`BadRequest` for what cannot be."""
        changes: dict[str, Any] = {}
        if request.data is not None:
            path = Path(request.data)
            if not path.is_absolute() or not path.exists():
                raise BadRequest(f"There is no data at {request.data}", "Give a file or a folder of them")
            changes |= {"training.data": str(path), "training.watch": None}
        elif request.watch is not None:
            folder = Path(request.watch)
            if not folder.is_absolute() or not folder.is_dir():
                raise BadRequest(f"There is no folder at {request.watch}", "Make it first; it may be empty")
            changes |= {"training.watch": str(folder), "training.watch_rounds": request.rounds or 0}
        elif (chosen := self._daemon.settings.training).data is None and chosen.watch is None:
            raise BadRequest("This node has no data to train on", "Give some: `banyan train --data PATH`")
        if request.branch is not None:
            changes["training.branch"] = self._check_branch(request.branch)
        if (request.rank or 0) > (most := self.charter.adapter_at(request.branch or self.branch()).rank):
            raise BadRequest(
                f"The adapter has rank {most}, less than {request.rank}", f"Choose a rank of at most {most}"
            )
        for name in ("rank", "steps", "batch", "learning_rate", "continual", "private", *DP_SETTINGS):
            if (value := getattr(request, name)) is not None:
                changes[f"training.{name}"] = value
        return changes

    async def train(self, request: TrainRequest) -> dict[str, object]:
        """Train from now on, for ``request.rounds`` rounds or for ever; the settings are saved already."""
        if self._daemon.settings.training.private:
            return await self._train_privately(request)
        height = self.height()
        watches = self._daemon.settings.training.watch is not None
        rounds = 0 if watches else request.rounds  # with a watched folder they begin when something arrives
        await self._remember_target(None if rounds is None else height + rounds, {KEY: b""})
        self.distillation = None
        self.watch = await trio.to_thread.run_sync(self._open_watch)
        self._rewatching.cancel()
        self.driver.rebuild()
        return {
            "branch": self.branch(),
            "height": height,
            "target": self._target,
            "watch": None if self.watch is None else str(self.watch.folder),
            "counts": "step" if self.charter.round.coordination == "gossip" else "release",
        }

    async def begin_clone(self, request: CloneRequest) -> bool:
        """Begin to bring the model of a branch here. Returns whether it is another than this node works on. Raises
        :class:`BadRequest`, and what :meth:`Cloning.begin` raises."""
        self._check_branch(request.branch)
        if request.base is not None and not (
            Path(request.base).is_absolute() and Path(request.base).is_dir()
        ):
            raise BadRequest(
                f"There is no folder at {request.base}", "Give the folder that holds the base model"
            )
        await self.cloning.begin(request.branch, Path(request.base) if request.base is not None else None)
        return request.branch != self.branch()

    async def move(self) -> None:
        """The owner has chosen another branch and no data for it: training stops, since what was chosen for the branch
        before is not to be taught to this one unasked."""
        await self._stop_rounds()

    async def _stop_rounds(self) -> None:
        """Take part in no more rounds, also not to learn from a teacher."""
        self.distillation = None
        await self.retarget(0, {KEY: b""})

    def _is_open(self, path: str) -> bool:
        """Whether the model of this node's branch is known, which after a change of branch takes a moment."""
        peer = self.driver.peer
        if peer is None or peer.branch != path:
            return False
        return peer.mixer.is_active or peer.branches[path].chain.head is not None

    async def _compose_head(self, path: str) -> Mapping[str, object]:
        mixes = self._core().mixer.is_active  # such a branch has no releases: its model is this node's own
        return await self.compose(ComposeRequest(branch=None if mixes else path))

    async def _train_privately(self, request: TrainRequest) -> dict[str, object]:
        """Give lessons for this device alone, one for each of ``request.rounds``; no round hears of them."""
        if self._daemon.settings.training.data is None:
            raise BadRequest(
                "Learning privately from a watched folder is not possible",
                "Give a file or folder with --data",
            )
        branch, lessons = self.branch(), request.rounds or 1
        await self._stop_rounds()
        self.private.begin(branch, lessons)
        return {"branch": branch, "private": True, "lessons": lessons, "watch": None}

    async def _adapters_of(self, path: str) -> tuple[bytes, ...]:
        with trio.fail_after(PRIVATE_PATIENCE):
            while not self._is_open(path):
                await trio.sleep(0.1)
        model = await self._compose_head(path)
        adapters = model["adapters"]
        assert isinstance(adapters, list)
        return tuple(map(bytes.fromhex, adapters))

    async def rehearse(self, request: RehearseRequest) -> dict[str, object]:
        """Samples of the model on data, with what was learnt privately, and where asked rows and steps that suit."""
        branch = self._check_branch(request.branch) if request.branch is not None else self.branch()
        if branch != self.branch():
            raise BadRequest(
                f"This node works on {self.branch()}, not on {branch}", f"First: `banyan clone {branch}`"
            )
        data = Path(request.data)
        if not data.is_absolute() or not data.exists():
            raise BadRequest(f"There is no data at {request.data}", "Give a file or a folder")
        await self.provisions.base_folder(branch)
        adapters = await self._adapters_of(branch)
        settings = self._settings()
        deadline = self.charter.round.deadline / 1000 if request.measure else 0.0
        job = Rehearse(branch, adapters, str(self._daemon.home.private), deadline)
        found = await self.workers.rehearse(job, Lessons((data,), settings))
        return {
            "branch": branch,
            "samples": [list(pair) for pair in found.samples],
            "batch": found.batch,
            "steps": found.steps,
            "step_seconds": found.step_seconds,
        }

    async def share(self) -> dict[str, object]:
        """Give what was learnt privately in the branch's next round."""
        if self._core().mixer.is_active:
            raise BadRequest(
                f"{self.branch()} has no rounds: its members mix their models",
                "Train there without --private to share what is learnt",
            )
        if self._taught() is not None:
            raise BadRequest(
                f"{self.branch()} is learning from another model in its next rounds",
                "Share once they are over, see `banyan status`, or end them with `banyan train`",
            )
        return await self.giving.begin()

    async def retarget(self, target: int | None, state: dict[str, bytes]) -> None:
        """Train until the branch has reached ``target`` (None: for ever), beginning now; see :class:`Owner`."""
        await self._remember_target(target, state)
        self.driver.rebuild()

    async def check_distillation(self, request: DistillRequest) -> None:
        """Raises :class:`BadRequest` for a wish that cannot come true."""
        await trio.to_thread.run_sync(check_wish, request, self.charter, self._tree())
        self._check_branch(request.target)
        if self.giving.source is not None:
            raise BadRequest(
                "What was learnt privately is still to go into the next round",
                "Distil once it has: see `banyan status`",
            )

    async def distill(self, request: DistillRequest) -> dict[str, object]:
        """Learn from the model of another branch in the next rounds of ``request.target``, which is set already."""
        height = self.height() if request.target in self._core().branches else None
        wish = Distillation(
            request.source,
            request.target,
            request.text,
            request.steps or 0,
            request.temperature,
            request.rounds,
            None if height is None else height + request.rounds,
        )
        await self._remember_target(wish.until, {KEY: wish.encode()})
        self.distillation = wish
        self.driver.rebuild()
        return {
            "source": request.source,
            "branch": request.target,
            "height": height,
            "target": wish.until,
            "watch": None,
            "counts": "release",
        }

    async def aim_at(self, height: int | None) -> dict[str, object]:
        """Train until the branch has reached ``height``; None: for ever."""
        await self.retarget(height, {})
        return {"branch": self.branch(), "height": self.height(), "target": height}

    async def _remember_target(
        self, target: int | None, state: Mapping[str, bytes] = MappingProxyType({})
    ) -> None:
        """Keep the target, and in the same instant ``state``."""
        self._target = target
        batch = Batch(state={**state, TARGET_KEY: b"" if target is None else b"%d" % target})
        await trio.to_thread.run_sync(self._daemon.database.apply, batch)

    def height(self) -> int:
        """How far this node's branch is as the core knows it: its height, or under gossip this node's own steps."""
        branches = self.driver.status().get("branches", {})
        found = branches.get(self.branch(), {}) if isinstance(branches, Mapping) else {}
        height = found.get("height") if isinstance(found, Mapping) else None
        return max(0, height) if isinstance(height, int) else 0

    def history(self, request: LogRequest) -> dict[str, object]:
        """The certified releases of a branch, and those of others that are asked for."""
        path = request.branch or self.branch()
        peer, newest = self._core(), request.number
        if path not in peer.branches:
            check_known(path, self._tree(), self.charter.name)
        others = {
            "none": list,
            "joined": lambda: peer.lineage.neighbours(path, newest),
            "all": lambda: peer.lineage.elsewhere(path),
        }
        branch = peer.branches.get(path)
        return {
            "branch": path,
            "coordination": self.charter.round.coordination,
            "pinned": peer.pin.status(),
            "total": len(branch.chain) if branch is not None else 0,
            "releases": peer.history(path, newest),
            "others": others[request.others](),
        }

    def branches(self) -> dict[str, object]:
        """The tree as this node sees it."""
        peer = self._core()
        return {
            "network": self.charter.name,
            "own": self.branch(),
            "policy": self.charter.growth.branches,
            "branches": peer.growth.listing(),
            "suggestions": peer.suggestions.listing(),
        }

    async def found_branch(
        self, branch: str, description: str, probe: Path | None = None
    ) -> dict[str, object]:
        """Found ``branch``, or propose it, with the rows of the file ``probe`` as its probe set. Raises ``Refused``
        with a sentence where it cannot be, and ``LearningError`` where the file is no probe set."""
        self._core().growth.plan(branch, description)
        wish: dict[str, str | int | None] = {"branch": branch, "description": description}
        if probe is not None:
            data = await trio.to_thread.run_sync(made_of, probe)
            digest = await trio.to_thread.run_sync(self._daemon.blobs.put, data)
            wish |= {"probe": digest.hex(), "probe_size": len(data)}
        await self.driver.give(Command("found", wish))
        return {"branch": branch, "policy": self.charter.growth.branches, "votes": self.charter.growth.votes}

    async def approve_branch(self, branch: str) -> dict[str, object]:
        """Agree to ``branch``. Raises ``Refused`` with a sentence where this node cannot."""
        self._core().growth.plan_consent(branch)
        await self.driver.give(Command("agree", {"branch": branch}))
        return {"branch": branch, "votes": self.charter.growth.votes}

    async def compose(self, request: ComposeRequest) -> dict[str, object]:
        """Bring the adapters of a model into the store, and name them."""
        return await compose(request, self._core(), self._daemon.fetcher)

    async def checkout(self, release: str | None) -> dict[str, object]:
        """Have the core pin this node to a release of its branch, or (None) let it use the head again. The end is a
        release-pinned, pin-failed or release-unpinned event."""
        peer = self._core()
        if release is None:
            pinned = peer.pin.status()
            await self.driver.give(Command("checkout", {"release": None}))
            return {"branch": self.branch(), "release": None, "was": pinned}
        found = peer.pinnable(release)
        name = found.digest.hex()
        await self.driver.give(Command("checkout", {"release": name}))
        return {"branch": found.branch, "height": found.height, "release": name}

    def _core(self) -> Peer:
        if self.driver.peer is None:
            raise BadRequest("The node is just starting", "Ask again in a moment")
        return self.driver.peer

    async def audit(self, branch: str | None, height: int | None) -> dict[str, object]:
        """Have the core do a release over; what it finds is a release-audited event."""
        history = self.history(LogRequest(branch=branch))
        releases = {each["height"]: each for each in history["releases"]}  # type: ignore[attr-defined]
        newest = max(releases, default=0)
        wanted = newest if height is None else height
        if wanted not in releases or wanted == 0:
            raise BadRequest(
                f"{history['branch']} has no release {wanted} that could be audited",
                f"The newest is {newest}",
            )
        await self.driver.give(Command("audit", {"branch": str(history["branch"]), "height": wanted}))
        return {"branch": history["branch"], "height": wanted, "release": releases[wanted]["release"]}

    def seasons(self) -> dict[str, object]:
        """The newest season, and where each branch stands, JSON-ready."""
        return seasons(self._core())

    async def open_season(self) -> dict[str, object]:
        """Open the next season. Raises ``Refused`` with a sentence where this node cannot."""
        opened = self._core().next_season()
        await self.driver.give(Command("season"))
        return {"season": opened.number}

    async def revoke(self, subject: str, why: str) -> dict[str, object]:
        """Sign and spread a revocation of the key ``subject``."""
        if self._daemon.identity.node_id not in self.charter.roots:
            raise BadRequest("Only a founder's node can revoke", "Ask a founder of the network to do it")
        if not is_node_id(subject) or subject in self.charter.roots:
            raise BadRequest(f"{subject!r} is not a key that can be revoked", "Give a member's node id")
        await self.driver.give(Command("revoke", {"subject": subject, "why": why}))
        return {"subject": subject}

    def status(self) -> dict[str, object]:
        """The member's part of the status, JSON-ready."""
        return {
            "branch": self.branch(),
            "core": dict(self.driver.status()),
            "training": self.jobs.status() or self.provisions.progress(),
            "data": str(self._daemon.settings.training.data) if self._daemon.settings.training.data else None,
            "watch": None if self.watch is None else self.watch.status(),
            "teacher": self._taught(),
            "set_aside": self.jobs.set_aside(),
            "private": self.private.status(self.branch()),
            "workers": self.workers.status(),
            "disk_trouble": self.driver.disk_trouble,
            "messages": dict(self._daemon.outbox.counters),
        }

    def _taught(self) -> dict[str, object] | None:
        """Whom this node's branch learns from, JSON-ready; None where from nobody."""
        wish = self.distillation
        return wish.status() if wish is not None and wish.is_due(self.branch(), self.height()) else None

    def _credentials(self) -> list[Credential]:
        """The credentials in the signs of life that the core holds."""
        if self.driver.peer is None:
            return []
        bodies = (record.body for record in self.driver.peer.records.all())
        return [body.credential for body in bodies if isinstance(body, Presence)]


def _credential(daemon: Daemon) -> Credential:
    data = membership.load_credential(daemon.home)
    if data is None:
        raise HomeError(
            f"{daemon.home.root} has a charter but no credential", "Join again with `banyan join INVITE`"
        )
    try:
        return membership.decode_credential(data)
    except BanyanError as error:
        raise HomeError(
            f"The credential in {daemon.home.root} cannot be read: {error}", "Join again"
        ) from error


def _version() -> str:
    from banyan.node.daemon.service import version

    return version()
