"""A world of virtual devices: found a network, switch devices on, let time pass, look."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from banyan.protocol.effects import Effect, InputEvent, Train
from banyan.protocol.events import Event
from banyan.protocol.paths import path_to
from banyan.protocol.peer import PeerSettings
from banyan.security.charter import (
    Admission,
    BaseModel,
    Charter,
    FileEntry,
    Foundation,
    Preset,
    Probe,
    TransferPolicy,
    found,
    preset,
)
from banyan.security.credential import root_credential, self_credential
from banyan.security.errors import BanyanError
from banyan.security.identity import Identity, Signer, Verifier, verify
from banyan.simulations.attacks import Attack, Coalition, attack
from banyan.simulations.border import Border, Crossing
from banyan.simulations.clock import Clock
from banyan.simulations.device import Device
from banyan.simulations.graphs import Edge
from banyan.simulations.jobs import SharedJobs
from banyan.simulations.network import Conditions, Network
from banyan.simulations.shared_reader import SharedReader
from banyan.simulations.signatures import FastSigner, fast_verify
from banyan.simulations.tasks import Quadratic, Task, Vector
from banyan.simulations.trace import Trace, hash_of

__all__ = ["World", "fast_preset", "subtree"]

NO_BASE = BaseModel.of(
    "virtual", [FileEntry("none", 0, bytes(32))], parameters=1, architecture="none", license=""
)

REAL_SIGNATURES: Final = 1_000
"""Up to so many devices sign with Ed25519."""


ARRIVALS: Final[Mapping[str, Callable[..., None]]] = {
    "message": Device.receive,
    "connected": Device.connected,
    "asked": Device.asked,
    "answered": Device.answered,
}
"""What one device can bring another: how that one takes it."""


def fast_preset(*, transfer: TransferPolicy | None = None, **round_policy: object) -> Preset:
    """The ``local`` preset with a short deadline, and any field of the round policy, or all about lifts, replaced."""
    policies = preset("local")
    policy = replace(policies.round, deadline=20_000, **round_policy)  # type: ignore[arg-type]
    committee = replace(policies.committee, leader_timeout=3_000)
    validation = replace(policies.validation, deadline=5_000)
    return replace(
        policies,
        round=policy,
        committee=committee,
        validation=validation,
        transfer=transfer or policies.transfer,
    )


def subtree(path: str) -> str:
    """The branch right below the root at or below which ``path`` lies; the root itself for the root."""
    return path_to(path)[:2][-1]


def _probe(path: str) -> bytes:
    """What stands for a branch's probe set: virtual tasks keep their test data to themselves."""
    return b"the probe set of " + path.encode()


class World:
    """Everything of one simulated run.

    >>> world = World(seed=1, devices={"/": 5})
    >>> world.run(until=lambda: world.agreed("/", 3))
    True

    Args:
        seed: the only source of chance.
        devices: how many devices work on each branch.
        policies: the charter's dials.
        conditions: how the network behaves.
        task: what devices learn.
        admission: ``invite`` (every device has a credential of the root's) or ``open`` (guests may come, too).
        small_share: the share of devices, drawn by the seed, that train only their first ``small_rank`` columns of B.
        guests: how many of each branch's devices, the last ones, nobody vouches for: honest guests of an open network.
        bases: branches that begin with a base model of their own; its adapter is shaped as the task's.
        pinned: names of devices, such as ``/#0``, that always sit on the committee.
        probes: branches with a probe set, on which the task's score is measured; the first root has it.
        fast_signatures: sign with :mod:`~banyan.simulations.signatures` instead of Ed25519; None: above 1,000 devices.
        border: to the other processes among which the devices of this world are shared out.
    """

    def __init__(
        self,
        seed: int,
        devices: dict[str, int],
        policies: Preset | None = None,
        conditions: Conditions | None = None,
        task: Task | None = None,
        *,
        admission: Admission = "invite",
        guests: int = 0,
        small_share: float = 0.0,
        small_rank: int = 0,
        bases: Sequence[str] = (),
        pinned: Sequence[str] = (),
        probes: Sequence[str] = (),
        fast_signatures: bool | None = None,
        border: Border | None = None,
    ) -> None:
        self.seed = seed
        self.border = border
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.network = Network(conditions or Conditions(), seed)
        self.task = task or Quadratic()
        self.spec = self.task.spec
        self.messages = 0
        self.bytes = 0
        self.steps = 0
        self.on_event: Callable[[str, Event], None] | None = None
        self.on_step: Callable[[str, InputEvent, list[Effect]], None] | None = None
        self.coalition = Coalition()
        names = [(path, number) for path in sorted(devices) for number in range(devices[path])]
        fast = len(names) > REAL_SIGNATURES if fast_signatures is None else fast_signatures
        self.signatures = "keyed BLAKE2b (fake)" if fast else "Ed25519"
        self.verifier: Verifier = fast_verify if fast else verify
        seeds = [hashlib.sha256(f"{path}|{n}".encode()).digest() for path, n in names]
        signers: list[Signer] = [FastSigner(s) if fast else Identity.from_seed(s) for s in seeds]
        self.names = {signer.node_id: f"{path}#{n}" for (path, n), signer in zip(names, signers, strict=True)}
        policies = policies or fast_preset()
        if pinned:
            seats = tuple(node for node, name in self.names.items() if name in pinned)
            policies = replace(policies, committee=replace(policies.committee, pinned=seats))
        self.charter: Charter = found(
            signers[0],
            name="virtual",
            created=self.clock.now,
            admission=admission,
            base=NO_BASE,
            adapter=self.spec,
            branches=tuple(devices),
            bases=tuple(
                Foundation(path, NO_BASE, replace(self.spec, seed=number))
                for number, path in enumerate(bases, 1)
            ),
            probes=tuple(
                Probe(path, hashlib.sha256(_probe(path)).digest(), len(_probe(path))) for path in probes
            ),
            policies=policies,
        )
        self.reader = SharedReader(
            self.charter.network_id, self.verifier, max_bytes=self.charter.limits.message_bytes
        )
        self.jobs = SharedJobs(self.charter.adapter_at)
        self._trace = Trace(self.reader.id_of)
        self.devices: dict[str, Device] = {}
        self._branches: dict[str, list[str]] = {path: [] for path in devices}
        for count, ((path, number), signer) in enumerate(zip(names, signers, strict=True), 1):
            if signer is not signers[0] and number >= devices[path] - guests:
                credential = self_credential(signer, self.charter, self.clock.now)
            else:
                credential = root_credential(signers[0], self.charter, self.clock.now, signer.node_id)
            settings = PeerSettings(path, credential, trains=True)
            is_here = border is None or border.is_here(count)
            self.devices[signer.node_id] = Device(self, count, signer, settings, is_here)
            self.task.place(signer.node_id, path)
            self.network.settle(signer.node_id, subtree(path))
            self._branches[path].append(signer.node_id)

        self._numbered = [*self.devices.values()]
        self._least = self.network.least(apart=False)
        if border is not None:
            border.arrive = self._arrive
            regions = (subtree(path) for path, _ in names)
            self._least = self.network.least(apart=border.keeps_whole(regions))
        for path in probes:
            self.devices[self.charter.roots[0]].blobs.put(_probe(path))
        if small_share and not 0 < small_rank < self.spec.rank:
            raise BanyanError(
                f"Small devices of rank {small_rank} need an adapter of a higher rank; the task's has {self.spec.rank}",
                "Give the task a rank, or the small devices a smaller one",
            )
        drawn = random.Random(f"small|{seed}").sample(sorted(self.devices), round(small_share * len(names)))
        for name in drawn:
            self.devices[name].rank = small_rank

    # ------------------------------------------------------------------------------------ running

    def start(self, devices: Iterable[Device] | None = None) -> None:
        """Switch devices on within the first virtual second."""
        for device in devices if devices is not None else self.devices.values():
            self.clock.after(self.rng.randrange(1_000), device.start)

    def link(self, edges: Iterable[Edge]) -> None:
        """Let devices mix models along these edges only, whatever their branches. To be called before they start."""
        near: dict[str, list[str]] = {name: [] for name in self.devices}
        for a, b in edges:
            near[a].append(b)
            near[b].append(a)
        for name, device in self.devices.items():
            device.settings = replace(device.settings, neighbours=tuple(sorted(near[name])))

    def introduce(self, device: Device) -> None:
        """Let a device that has just started connect to somebody of its branch, whose invite it has; the first one to
        the first root; where that cannot be reached to anybody, and again."""
        root = self.charter.roots[0]
        if not device.on or device.name == root:
            return
        hosts = self._up(device, self._branches.get(device.settings.branch, ()))
        rooted = self.devices[root].on and self.network.reaches(device.name, root)
        if not hosts:
            hosts = [root] if rooted else self._up(device, self.devices)
        if hosts:
            self.connect(device.name, self.network.luck(device.name).choice(hosts))
        if not rooted:
            self.clock.after(5_000, lambda: self.introduce(device), device.number)

    def _up(self, device: Device, names: Iterable[str]) -> list[str]:
        """Who of ``names`` is on and within reach of ``device``."""
        others = (name for name in names if name != device.name and self.devices[name].on)
        return [name for name in others if self.network.reaches(device.name, name)]

    def connect(self, a: str, b: str) -> None:
        """``a`` makes a connection to ``b``, which stands for both as soon as it has got there."""
        one, other = self.devices[a], self.devices[b]
        travel = self.network.travel(a, b)
        self.clock.after(travel, lambda: one.connected(b), one.number)
        self.bring(travel, one, other, "connected")

    def run(self, until: Callable[[], bool] = lambda: False, limit: int = 200_000) -> bool:
        """Let time pass until ``until`` holds, at most ``limit`` virtual ms; whether it came to hold."""
        end = self.clock.now + limit
        if self.border is not None:
            self.border.let_pass(self.clock, end, self._least)
            return until()
        while not until():
            if not self.clock.step(end):
                return until()
        return True

    def corrupt(self, device: Device, how: str | type[Attack], **options: object) -> Attack:
        """Make ``device`` an attacker, by an attack's name or class. All attackers of a world collude. ``options``
        replace attributes of the attack, such as its ``strength``.

        Some need a victim: the last honest device on the attacker's branch, unless ``coalition.victim`` names another.
        """
        make = attack(how) if isinstance(how, str) else how
        made = make(self.charter, device.signer, device.blobs, self.seed, self.verifier)
        for option, value in options.items():
            if not hasattr(made, option) or option.startswith("_") or callable(getattr(made, option)):
                raise ValueError(f"The attack has no {option!r}")
            setattr(made, option, value)
        made.join(self.coalition)
        device.attack, device.attack_name = made, how if isinstance(how, str) else how.__name__
        if device.peer is not None:
            made.enter(device.peer)
        if made.surrounds:
            self._surround(device.settings.branch)
        return made

    def _surround(self, branch: str) -> None:
        """Leave the victim no neighbours but the attackers."""
        honest = [d.name for d in self.devices.values() if d.attack is None and d.settings.branch == branch]
        self.coalition.victim = self.coalition.victim or honest[-1]
        self.network.surround(self.coalition.victim, self.coalition.members)

    def show(self, author: str, job: Train, update: Vector) -> None:
        """Attackers see what everybody learned, the moment it is learned."""
        if self.coalition.members:
            self.coalition.show((job.branch, job.height, job.base), author, update)

    # ------------------------------------------------------------------------------------ between devices

    def deliver(self, sender: str, receiver: str, data: bytes) -> None:
        self.messages += 1
        self.bytes += len(data)
        to, by = self.devices.get(receiver), self.devices[sender]
        if to is not None:
            for delay in self.network.delays(sender, receiver, len(data), self.clock.now):
                self.bring(delay, by, to, "message", data)

    def bring(self, delay: int, by: Device, to: Device, what: str, *content: Any) -> None:
        """``to`` gets something from ``by`` in ``delay`` ms, wherever it lives."""
        at = self.clock.now + delay
        crossing = (at, by.number, self.clock.turn(by.number), to.number, what, content)
        if to.is_here:
            self._arrive(crossing)
        elif self.border is not None:
            self.border.send(crossing)

    def _arrive(self, crossing: Crossing) -> None:
        at, by, turn, to, what, content = crossing
        sender, receiver = self._numbered[by - 1], self._numbered[to - 1]
        self.clock.put(at, by, turn, partial(ARRIVALS[what], receiver, sender.name, *content))

    def serve(self, source: str, receiver: str, digest: bytes) -> bytes | None:
        """The blob, if ``source`` is up, in reach, has it and gives it."""
        if source not in self.devices or not self.network.reaches(source, receiver):
            return None
        giver = self.devices[source]
        if giver.attack is not None and not giver.attack.serves(receiver, digest):
            return None
        data = giver.blobs.data.get(digest)
        giver.blob_bytes_sent += len(data or b"")
        return data

    def trace(self, device: str, event: InputEvent, effects: list[Effect]) -> None:
        self.steps += 1
        if self.on_step is not None:
            self.on_step(device, event, effects)
        self._trace.add(self.clock.now, device, event, effects)

    def witness(self, device: str, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(device, event)

    # ------------------------------------------------------------------------------------ looking

    @property
    def trace_hash(self) -> str:
        """The SHA-256 of everything that happened, in whichever process. Equal seeds give equal hashes, everywhere."""
        digests: dict[str, bytes] = {}
        for theirs in self.together(self._trace.digests()):
            digests |= theirs
        return hash_of(digests)

    def together(self, value: Any) -> list[Any]:
        """What all processes of the run say, when all are asked the same: its own alone where there is but one."""
        return [value] if self.border is None else self.border.together(value)

    @property
    def handled(self) -> int:
        """How many inputs the devices' cores have handled."""
        return self._trace.events

    def live(self) -> list[Device]:
        return [device for device in self.devices.values() if device.peer is not None]

    def agreed(self, branch: str, height: int) -> bool:
        """Whether every live device that follows ``branch`` has the same head, at ``height`` or above."""
        followers = [d for d in self.live() if d.peer is not None and branch in d.peer.branches]
        heads = {device.head(branch) for device in followers}
        return len(heads) == 1 and all(device.height(branch) >= height for device in followers)
