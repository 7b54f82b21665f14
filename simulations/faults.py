"""What goes wrong without anybody's will: cuts, crashes, slow devices, wrong clocks, people who come and go.

Each is a table ``[[faults]]`` of a scenario, told apart by its ``kind``. Its :meth:`~Mishap.arrange` puts into the
world's clock what is to happen. Times are virtual seconds since the start; all chance comes from the stage's generator.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from banyan.protocol.effects import Command
from banyan.simulations.device import Device
from banyan.simulations.world import World

__all__ = [
    "Crashes",
    "Departures",
    "Fault",
    "Latecomers",
    "LossyTime",
    "Partition",
    "Revocations",
    "SkewedClocks",
    "SlowDevices",
    "Stage",
]

Seconds = Annotated[float, Field(ge=0, le=10_000_000)]
Span = tuple[Seconds, Seconds]
"""From, to: a time is drawn evenly from between the two."""

Count = Annotated[int, Field(ge=1, le=100_000)]


class Stage(Protocol):
    """Where mishaps happen."""

    world: World
    rng: random.Random
    absent: set[str]
    """Who is not there at the start."""

    @property
    def honest(self) -> Sequence[Device]: ...
    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something, and count the network as troubled until then."""

    def note(self, what: str) -> None:
        """Write down what has just happened."""

    def crash(self, device: Device) -> None: ...
    def restart(self, device: Device, *, disk_lost: bool = False) -> None: ...
    def dismiss(self, device: Device) -> None:
        """From now on nothing is expected of ``device``."""

    def name_of(self, device: Device) -> str: ...


class Section(BaseModel):
    """A table of a scenario."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Mishap(Section):
    """One kind of fault."""

    @abstractmethod
    def arrange(self, stage: Stage) -> None:
        """Put what is to happen into the clock."""


class Partition(Mishap):
    """The network falls apart at ``at`` and heals ``lasts`` later. One side holds a ``share`` of the devices, drawn by
    lot, or all devices at or below ``branch``."""

    kind: Literal["partition"]
    at: Span
    lasts: Span
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    branch: str | None = None

    def arrange(self, stage: Stage) -> None:
        at, lasts = stage.rng.uniform(*self.at), stage.rng.uniform(*self.lasts)
        names = sorted(stage.world.devices)
        if self.branch is not None:
            inside = self.branch.rstrip("/") + "/"
            side = {
                d.name for d in stage.world.devices.values() if (d.settings.branch + "/").startswith(inside)
            }
        else:
            side = set(stage.rng.sample(names, max(1, min(len(names) - 1, round(self.share * len(names))))))

        def cut() -> None:
            stage.world.network.partition(side)
            stage.note(f"cut: {len(side)} devices on one side, {len(names) - len(side)} on the other")

        def heal() -> None:
            stage.world.network.heal()
            stage.note("healed")

        stage.later(at, cut)
        stage.later(at + lasts, heal)


class Crashes(Mishap):
    """``count`` power cuts at times within ``between``, each followed by a restart after ``down`` from what was on
    disk, or with an empty disk where ``disk_lost``. ``committee``: only members of a running committee are hit."""

    kind: Literal["crashes"]
    count: Count
    between: Span
    down: Span = (0.5, 15.0)
    disk_lost: bool = False
    committee: bool = False

    def arrange(self, stage: Stage) -> None:
        for _ in range(self.count):
            at, down, lot = (
                stage.rng.uniform(*self.between),
                stage.rng.uniform(*self.down),
                stage.rng.random(),
            )
            stage.later(at, lambda down=down, lot=lot: self._strike(stage, down, lot))  # type: ignore[misc]

    def _strike(self, stage: Stage, down: float, lot: float) -> None:
        running = [device for device in stage.honest if device.on]
        if self.committee:
            running = [d for d in running if d.peer and any(b.on_committee for b in d.peer.branches.values())]
        if running:
            victim = running[int(lot * len(running))]
            stage.crash(victim)
            now = (stage.world.clock.now - stage.world.charter.created) / 1000
            stage.later(now + down, lambda: stage.restart(victim, disk_lost=self.disk_lost))


class Latecomers(Mishap):
    """``count`` devices (of ``branch``) join only at times within ``between``."""

    kind: Literal["latecomers"]
    count: Count
    between: Span
    branch: str | None = None

    def arrange(self, stage: Stage) -> None:
        for device in _some(stage, self.count, self.branch):
            stage.absent.add(device.name)
            stage.later(stage.rng.uniform(*self.between), lambda device=device: self._join(stage, device))  # type: ignore[misc]

    @staticmethod
    def _join(stage: Stage, device: Device) -> None:
        stage.absent.discard(device.name)
        device.start()
        stage.note(f"{stage.name_of(device)} joins")


class Departures(Mishap):
    """``count`` devices (of ``branch``) leave for good at times within ``between``; ``farewell``: they say so."""

    kind: Literal["departures"]
    count: Count
    between: Span
    branch: str | None = None
    farewell: bool = True

    def arrange(self, stage: Stage) -> None:
        for device in _some(stage, self.count, self.branch):
            stage.later(stage.rng.uniform(*self.between), lambda device=device: self._leave(stage, device))  # type: ignore[misc]

    def _leave(self, stage: Stage, device: Device) -> None:
        stage.dismiss(device)
        if self.farewell:
            device.handle(Command("leave"))
        device.crash()
        stage.note(f"{stage.name_of(device)} leaves {'and says so' if self.farewell else 'without a word'}")


class SlowDevices(Mishap):
    """A ``share`` of the devices takes ``factor`` times as long for everything it computes."""

    kind: Literal["slow"]
    share: Annotated[float, Field(gt=0, le=1)]
    factor: Annotated[float, Field(ge=1, le=10_000)]

    def arrange(self, stage: Stage) -> None:
        slow = _share(stage, self.share)
        for device in slow:
            device.slowness = self.factor
        stage.note(f"{len(slow)} devices compute {self.factor:g} times slower")


class SkewedClocks(Mishap):
    """The clocks of a ``share`` of the devices are off by up to ``by`` seconds either way."""

    kind: Literal["skew"]
    share: Annotated[float, Field(gt=0, le=1)]
    by: Seconds

    def arrange(self, stage: Stage) -> None:
        skewed = _share(stage, self.share)
        for device in skewed:
            device.skew = round(1000 * stage.rng.uniform(-self.by, self.by))
        stage.note(f"the clocks of {len(skewed)} devices are off by up to {self.by:g} s")


class LossyTime(Mishap):
    """From ``at`` on, for ``lasts``, a share of ``loss`` of all messages disappears."""

    kind: Literal["lossy"]
    at: Span
    lasts: Span
    loss: Annotated[float, Field(gt=0, le=1)]

    def arrange(self, stage: Stage) -> None:
        at, lasts = stage.rng.uniform(*self.at), stage.rng.uniform(*self.lasts)

        def begin() -> None:
            stage.world.network.burst = self.loss
            stage.note(f"{self.loss:.0%} of all messages are lost")

        def end() -> None:
            stage.world.network.burst = 0.0
            stage.note("messages arrive again")

        stage.later(at, begin)
        stage.later(at + lasts, end)


class Revocations(Mishap):
    """A root revokes ``count`` devices (of ``branch``) at times within ``between``; they go on as if nothing had
    happened."""

    kind: Literal["revocations"]
    count: Annotated[int, Field(ge=1, le=1_000)]
    between: Span
    branch: str | None = None

    def arrange(self, stage: Stage) -> None:
        for device in _some(stage, self.count, self.branch):
            stage.later(stage.rng.uniform(*self.between), lambda device=device: self._revoke(stage, device))  # type: ignore[misc]

    @staticmethod
    def _revoke(stage: Stage, device: Device) -> None:
        stage.dismiss(device)
        root = stage.world.devices[stage.world.charter.roots[0]]
        root.handle(Command("revoke", {"subject": device.name, "why": "the scenario says so"}))
        stage.note(f"{stage.name_of(device)} is revoked")


Fault = Annotated[
    Partition | Crashes | Latecomers | Departures | SlowDevices | SkewedClocks | LossyTime | Revocations,
    Field(discriminator="kind"),
]


def _some(stage: Stage, count: int, branch: str | None) -> list[Device]:
    """``count`` honest devices drawn by lot, never the root, which opens branches."""
    root = stage.world.charter.roots[0]
    able = [
        device
        for device in stage.honest
        if device.name != root
        and branch in (None, device.settings.branch)
        and device.name not in stage.absent
    ]
    return stage.rng.sample(able, min(count, len(able)))


def _share(stage: Stage, share: float) -> list[Device]:
    devices = list(stage.world.devices.values())
    return stage.rng.sample(devices, max(1, round(share * len(devices))))
