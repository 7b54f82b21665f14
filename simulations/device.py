"""One virtual device: the real core, a disk in memory, and hands that perform the core's effects."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from banyan.aggregation.encoding import encode
from banyan.aggregation.strips import leading, widened
from banyan.node.learning.blobs import read_layers, write_float32
from banyan.node.learning.compensation import compensated
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.learning.mix_job import mix
from banyan.protocol.delta import write_delta
from banyan.protocol.effects import (
    Aggregate,
    BlobFetched,
    DropRecords,
    Effect,
    Emit,
    Evaluate,
    Evaluated,
    FetchBlob,
    InputEvent,
    Inspected,
    JobFailed,
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
    Trained,
)
from banyan.protocol.events import Event
from banyan.protocol.peer import Peer, PeerSettings
from banyan.security.errors import Refused
from banyan.security.identity import Signer
from banyan.simulations.layers import read_model

if TYPE_CHECKING:
    from banyan.simulations.attacks import Attack
    from banyan.simulations.tasks import Vector
    from banyan.simulations.world import World

__all__ = ["Device"]

EVALUATION: Final = 20
"""Virtual ms that a device takes to measure two models on its own held-out rows."""

DURABLE: Final = (PutRecord, DropRecords, PutState)


class Device:
    """A device in a :class:`~banyan.simulations.world.World`. Its disk survives a crash, its memory does not.

    An attacker is a device with an :class:`~banyan.simulations.attacks.Attack`. One that lives in another process of
    the run is known here by its name and branch, and by whether it is on; it has no core.
    """

    def __init__(
        self, world: World, number: int, signer: Signer, settings: PeerSettings, is_here: bool = True
    ) -> None:
        self.world = world
        self.number = number
        """From 1, in the order of branches: its turn where several have something done at one moment."""
        self.is_here = is_here
        """Whether it lives in this process."""
        self.on = False
        self.signer = signer
        self.settings = settings
        self.name = signer.node_id
        self.blobs = MemoryBlobs()
        self.records: dict[bytes, bytes] = {}
        self.state: dict[str, bytes] = {}
        self.events: list[Event] = []
        self.train_time = 1_000
        self.slowness = 1.0
        self.skew = 0
        self.rank = world.spec.rank
        self.private = False
        """Whether it says nothing of its own rows, as with differential privacy, and tries releases on probe sets
        only."""
        self.messages_sent = 0
        self.bytes_sent = 0
        self.blob_bytes_sent = 0
        self.most_held = 0
        self.attack_name = ""
        self.attack: Attack | None = None
        self.peer: Peer | None = None
        self._left: frozenset[bytes] | None = None
        self._life = 0
        self._timers: dict[str, int] = {}
        self._asking: dict[int, tuple[FetchBlob, list[str]]] = {}
        """What it has asked others for, by number, and whom it may ask next."""
        self._asked = 0
        self._starts = 0

    # ------------------------------------------------------------------------------------ life and death

    def start(self) -> None:
        """Switch on, from whatever the disk holds."""
        self._life += 1
        self._starts += 1
        self.on = True
        self.world.network.down.discard(self.name)
        if not self.is_here:
            return
        rng = random.Random(f"{self.world.seed}|{self.name}|{self._starts}")
        world = self.world
        self.peer = Peer(world.charter, self.signer, self.settings, rng, world.verifier, world.reader)
        self.peer.restore(list(self.records.values()), dict(self.state))
        if self.attack is not None:
            self.attack.enter(self.peer)
        self.handle(Started())
        self.world.clock.after(100, lambda: self.world.introduce(self), self.number)

    def crash(self) -> None:
        """Power cut: everything but the disk is gone, and so are the jobs under way."""
        self._life += 1
        self._timers.clear()
        self._asking.clear()
        self.on = False
        self.peer = None
        self.world.network.down.add(self.name)

    def handle(self, event: InputEvent) -> None:
        """Feed the core and perform what it says."""
        if self.attack is None:
            self._feed(event)
            return
        for twisted in self.attack.hear(event, self.world.clock.now):
            self._feed(twisted)

    def _feed(self, event: InputEvent) -> None:
        if self.peer is None:
            return
        effects = self.peer.handle(event, self.world.clock.now + self.skew)
        self.world.trace(self.name, event, effects)
        if self.attack is not None:
            effects = self.attack.lie(effects)
        for effect in effects:  # the rule of order: first what must be durable
            if type(effect) in DURABLE:
                self._persist(effect)
        for effect in effects:
            self._perform(effect)

    def later(self, delay: int, event: Callable[[], InputEvent]) -> None:
        """Handle what ``event`` returns after ``delay`` ms, unless we crash before."""
        life = self._life

        def arrive() -> None:
            if self._life == life:
                self.handle(event())

        self.world.clock.after(delay, arrive, self.number)

    def compute(self, time: int, event: Callable[[], InputEvent]) -> None:
        """As :meth:`later`, for work that a slow device takes longer for."""
        self.later(round(time * self.slowness), event)

    # ------------------------------------------------------------------------------------ disk

    @property
    def held(self) -> int:
        """Bytes of records and blobs on its disk."""
        return sum(map(len, self.records.values())) + sum(map(len, self.blobs.data.values()))

    @property
    def has_new_blobs(self) -> bool:
        """Whether its blobs are others than garbage collection has left."""
        return self.blobs.data.keys() != self._left

    def collect_garbage(self) -> None:
        """Forget the blobs that the core no longer needs, as a daemon does between rounds."""
        self.most_held = max(self.most_held, self.held)
        if self.peer is not None and self.attack is None:  # an attacker's core knows nothing of its lies
            kept = self.peer.keep()
            self.blobs.data = {digest: data for digest, data in self.blobs.data.items() if digest in kept}
        self._left = frozenset(self.blobs.data)

    def lose_disk(self) -> None:
        """Nothing is left but the key and the credential."""
        self.blobs.data.clear()
        self.records.clear()
        self.state.clear()

    # ------------------------------------------------------------------------------------ hands

    def _persist(self, effect: Effect) -> None:
        match effect:
            case PutRecord(record=record, data=data):
                self.records[record] = data
            case DropRecords(records=records):
                for record in records:
                    self.records.pop(record, None)
            case PutState(key=key, value=value):
                self.state[key] = value

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(to=to, data=data):
                self.messages_sent += len(to)
                self.bytes_sent += len(to) * len(data)
                for receiver in to:
                    self.world.deliver(self.name, receiver, data)
            case SetTimer(key=key, at=at):
                self._set_timer(key, at)
            case FetchBlob():
                self._fetch(effect, list(effect.sources))
            case Aggregate():
                self.compute(5, lambda: self._aggregate(effect))
            case Mix():
                self.compute(5, lambda: self._mix(effect))
            case Evaluate():
                self.compute(EVALUATION, lambda: self._evaluate(effect))
            case Train():
                self._foresee(effect)
                self.compute(self.train_time, lambda: self._train(effect))
            case Emit(event=event):
                self.events.append(event)
                self.world.witness(self.name, event)

    def _set_timer(self, key: str, at: int) -> None:
        """A later timer of the same key replaces an earlier one."""
        turn = self._timers[key] = self._timers.get(key, 0) + 1
        life = self._life

        def fire() -> None:
            if self._life == life and self._timers.get(key) == turn:
                self.handle(TimerFired(key))

        self.world.clock.at(at - self.skew, fire, self.number)

    def _fetch(self, wanted: FetchBlob, sources: list[str]) -> None:
        """Ask the first of ``sources`` that can be reached, and the others if it does not bring it."""
        digest = wanted.digest
        if digest in self.blobs.data:
            self.later(0, lambda: self._brought(wanted))
            return
        while sources:
            source = self.world.devices.get(sources.pop(0))
            if source is not None and self.world.network.reaches(self.name, source.name):
                self._asked += 1
                self._asking[self._asked] = (wanted, sources)
                travel = self.world.network.travel(self.name, source.name)
                self.world.bring(travel, self, source, "asked", digest, self._asked)
                return
        self.later(2_000, lambda: BlobFetched(digest, "unavailable"))

    def asked(self, asker: str, digest: bytes, question: int) -> None:
        """Another device asks for a blob: give it, or say that it is not here."""
        data = self.world.serve(self.name, asker, digest)
        time = self.world.network.transfer(len(data or b""), self.name, asker, self.world.clock.now)
        self.world.bring(time, self, self.world.devices[asker], "answered", question, data)

    def answered(self, source: str, question: int, data: bytes | None) -> None:
        """What a device that was asked for a blob has said."""
        wanted, others = self._asking.pop(question, (None, []))
        if wanted is None:
            return  # asked before a crash
        if data is None:
            self._fetch(wanted, others)
        else:
            self.handle(self._received(wanted, data))

    def _received(self, wanted: FetchBlob, data: bytes) -> BlobFetched | Inspected:
        if len(data) != wanted.size:
            return BlobFetched(wanted.digest, "too-large")
        if self.blobs.put(data) != wanted.digest:
            return BlobFetched(wanted.digest, "hash-mismatch")
        return self._brought(wanted)

    def _brought(self, wanted: FetchBlob) -> BlobFetched | Inspected:
        """It is here. To look through a delta takes no time to speak of."""
        if wanted.inspect is None:
            return BlobFetched(wanted.digest)
        return self.world.jobs.inspect(wanted.inspect, self.blobs)

    def _aggregate(self, job: Aggregate) -> InputEvent:
        try:
            return self.world.jobs.aggregate(job, self.blobs)
        except (ValueError, KeyError, Refused) as error:
            return JobFailed("aggregate", job.branch, job.height, str(error), job.job)

    def _foresee(self, job: Train) -> None:
        """A task that trains elsewhere (:mod:`banyan.simulations.engines.ahead`) may begin; its result is due later."""
        foresee = getattr(self.world.task, "foresee", None)
        if foresee is None or self.attack is not None:
            return
        try:
            foresee(self.name, self._model(job, job.adapters) + self._model(job, job.carry), job.height)
        except (ValueError, KeyError, Refused):
            return  # it cannot be trained on yet; when it is due, that is another matter

    def _mix(self, job: Mix) -> InputEvent:
        try:
            return mix(job, blobs=self.blobs, spec=self.world.charter.adapter_at(job.branch))
        except (ValueError, KeyError, Refused) as error:
            return JobFailed("mix", job.branch, job.height, str(error))

    def _evaluate(self, job: Evaluate) -> InputEvent:
        try:
            models = [self._model(job, model) for model in job.models]
            losses = tuple(self.world.task.loss(self.name, model) for model in models)
            probed = tuple(self.world.task.score(job.branch, model).loss for model in models if job.probe)
        except (ValueError, KeyError, Refused) as error:
            return JobFailed("evaluate", job.branch, job.height, str(error), job.job)
        if self.private:
            return Evaluated(job.branch, job.height, job.job, (), 0, probed=probed)
        return Evaluated(job.branch, job.height, job.job, losses, job.rows, probed=probed)

    def _model(self, job: Train | Evaluate, digests: tuple[bytes, ...]) -> Vector:
        return self.world.jobs.model(digests, self.blobs, job.branch)

    def _train(self, job: Train) -> InputEvent:
        try:
            return self._trained(job)
        except (ValueError, KeyError, Refused) as error:
            return JobFailed("train", job.branch, job.height, str(error))

    def _trained(self, job: Train) -> Trained:
        spec = self.world.charter.adapter_at(job.branch)
        task = self.world.task if self.attack is None else self.attack.study(self.world.task)
        above = self._model(job, job.adapters)
        kept = read_layers(self.blobs, job.carry, spec).get(job.season, np.zeros(spec.dimension, np.float32))
        before = self._model(job, job.before) + kept if job.before is not None else None
        start, rise = compensated(
            above + kept, before, job.epsilon, lambda model: task.loss(self.name, model)
        )
        trained = task.train(self.name, start, job.height)
        if self.rank < spec.rank:
            trained = np.where(np.arange(spec.dimension) % spec.rank < self.rank, trained, start)
        change = trained - above
        rank = self.rank if job.base else spec.rank
        coded = encode(leading(change, spec.rank, rank), self.world.charter.round.codec)
        data = write_delta(coded, spec=spec, base=job.base, rank=rank, season=job.season)
        blob = self.blobs.put(data)
        shown = widened(coded.decode(), rank, spec.rank)
        self.world.show(self.name, job, shown)
        carry, _ = write_float32(self.blobs, change - shown, spec, season=job.season)
        losses = {"loss_before": task.loss(self.name, start), "loss_after": task.loss(self.name, trained)}
        losses |= {"compensated": rise} if rise else {}
        return Trained(job.branch, job.height, job.base, blob, len(data), carry, losses)

    # ------------------------------------------------------------------------------------ questions

    def receive(self, sender: str, data: bytes) -> None:
        self.handle(MessageReceived(sender, data))

    def connected(self, other: str) -> None:
        self.handle(PeerConnected(other))

    def height(self, branch: str) -> int:
        return self.peer.branches[branch].chain.height if self.peer else -1

    def head(self, branch: str) -> bytes:
        release = self.peer.branches[branch].chain.head if self.peer else None
        return release.digest if release else b""

    def has_model(self, branch: str) -> bool:
        """Whether what the branch's head holds has arrived."""
        release = self.peer.branches[branch].chain.head if self.peer else None
        return release is not None and all(blob in self.blobs.data for blob, _ in release.blobs)

    def own_model(self) -> np.ndarray:
        """What the device itself serves: the model it has mixed, or the sum of the heads; float32 (dimension,)."""
        spec = self.world.charter.adapter_at(self.settings.branch)
        return read_model(self.blobs, self.peer.model if self.peer else (), spec)

    def steps(self) -> int:
        """How many steps of mixing lie behind the device."""
        return self.peer.mixer.steps if self.peer else 0

    def model(self, branch: str) -> np.ndarray:
        """What the branch's head holds, learned and lifted, float32 (dimension,)."""
        release = self.peer.branches[branch].chain.head if self.peer else None
        blobs = [blob for blob, _ in release.blobs] if release else []
        return read_model(self.blobs, blobs, self.world.charter.adapter_at(branch))
