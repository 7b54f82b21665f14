"""A world of virtual devices: found a network, switch devices on, let time pass, look."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from banyan.protocol.effects import Effect, InputEvent, PeerConnected
from banyan.protocol.events import Event
from banyan.protocol.peer import PeerSettings
from banyan.security.charter import BaseModel, Charter, FileEntry, Preset, found, preset
from banyan.security.credential import root_credential
from banyan.security.identity import Identity, verify
from banyan.simulations.attacks import attack
from banyan.simulations.clock import Clock
from banyan.simulations.device import Device
from banyan.simulations.graphs import Edge
from banyan.simulations.network import Conditions, Network
from banyan.simulations.tasks import Quadratic, Task, spec_of

__all__ = ["World", "fast_preset"]

NO_BASE = BaseModel.of(
    "virtual", [FileEntry("none", 0, bytes(32))], parameters=1, architecture="none", license=""
)


def fast_preset(**round_policy: object) -> Preset:
    """The ``local`` preset with a short deadline, and any field of the round policy replaced."""
    policies = preset("local")
    policy = replace(policies.round, deadline=20_000, **round_policy)  # type: ignore[arg-type]
    return replace(policies, round=policy, committee=replace(policies.committee, leader_timeout=3_000))


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
    """

    def __init__(
        self,
        seed: int,
        devices: dict[str, int],
        policies: Preset | None = None,
        conditions: Conditions | None = None,
        task: Task | None = None,
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.network = Network(conditions or Conditions(), random.Random(f"network|{seed}"))
        self.task = task or Quadratic()
        self.spec = spec_of(self.task.dimension)
        self.verifier = verify
        self.messages = 0
        self.bytes = 0
        self.on_event: Callable[[str, Event], None] | None = None
        self._trace = hashlib.sha256()
        names = [(path, number) for path in sorted(devices) for number in range(devices[path])]
        signers = [Identity.from_seed(hashlib.sha256(f"{path}|{n}".encode()).digest()) for path, n in names]
        self.charter: Charter = found(
            signers[0],
            name="virtual",
            created=self.clock.now,
            admission="invite",
            base=NO_BASE,
            adapter=self.spec,
            branches=tuple(devices),
            policies=policies or fast_preset(),
        )
        self.devices: dict[str, Device] = {}
        for (path, _), signer in zip(names, signers, strict=True):
            credential = root_credential(signers[0], self.charter, self.clock.now, signer.node_id)
            settings = PeerSettings(path, credential, trains=True)
            self.devices[signer.node_id] = Device(self, signer, settings)

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
        """Connect a device that has just started to the first root, as its invite says; meanwhile to anybody."""
        root = self.charter.roots[0]
        others = [
            d.name for d in self.live() if d is not device and self.network.reaches(device.name, d.name)
        ]
        if device.peer is None or device.name == root:
            return
        if others:
            self.connect(device.name, root if root in others else self.rng.choice(others))
        if root not in others:
            self.clock.after(5_000, lambda: self.introduce(device))

    def connect(self, a: str, b: str) -> None:
        """A connection between two devices stands."""
        self.devices[a].handle(PeerConnected(b))
        self.devices[b].handle(PeerConnected(a))

    def run(self, until: Callable[[], bool] = lambda: False, limit: int = 200_000) -> bool:
        """Let time pass until ``until`` holds, at most ``limit`` virtual ms; whether it came to hold."""
        end = self.clock.now + limit
        while not until():
            if not self.clock.step(end):
                return until()
        return True

    def corrupt(self, device: Device, name: str) -> None:
        """Make ``device`` an attacker."""
        make = attack(name)
        device.attack = make(self.charter, device.signer, device.blobs, self.seed, self.verifier)

    # ------------------------------------------------------------------------------------ between devices

    def deliver(self, sender: str, receiver: str, data: bytes) -> None:
        self.messages += 1
        self.bytes += len(data)
        if receiver in self.devices:
            for delay in self.network.delays(sender, receiver):
                self.clock.after(delay, lambda: self.devices[receiver].receive(sender, data))

    def serve(self, source: str, receiver: str, digest: bytes) -> bytes | None:
        """The blob, if ``source`` is up, in reach and has it."""
        if source not in self.devices or not self.network.reaches(source, receiver):
            return None
        return self.devices[source].blobs.data.get(digest)

    def trace(self, device: str, event: InputEvent, effects: list[Effect]) -> None:
        self._trace.update(f"{self.clock.now} {device} {event!r} {effects!r}\n".encode())

    def witness(self, device: str, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(device, event)

    # ------------------------------------------------------------------------------------ looking

    @property
    def trace_hash(self) -> str:
        """The SHA-256 of everything that happened, in order. Equal seeds give equal hashes, everywhere."""
        return self._trace.hexdigest()

    def live(self) -> list[Device]:
        return [device for device in self.devices.values() if device.peer is not None]

    def agreed(self, branch: str, height: int) -> bool:
        """Whether every live device that follows ``branch`` has the same head, at ``height`` or above."""
        followers = [d for d in self.live() if d.peer is not None and branch in d.peer.branches]
        heads = {device.head(branch) for device in followers}
        return len(heads) == 1 and all(device.height(branch) >= height for device in followers)
