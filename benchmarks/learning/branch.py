"""Rounds and lifts of a branch by the jobs that a node runs, on blobs in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from banyan.node.learning.aggregate_job import aggregate
from banyan.node.learning.blobs import read_layers, read_sum
from banyan.node.learning.layout import Vector
from banyan.node.learning.lesson import Lesson
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.train_job import train as train_job
from banyan.node.learning.workplace import Workplace, newest_first
from banyan.protocol.agreement import quorum_of
from banyan.protocol.composition import Part, blobs_of
from banyan.protocol.effects import Aggregate, Input, Lift, Train, Trained
from banyan.protocol.release import Layer, Seat, opening
from banyan.protocol.season import turned
from banyan.protocol.transfer import Due, Measured, Transfer
from banyan.security.policy import TransferPolicy
from benchmarks.learning.school import School, Seasoned
from benchmarks.learning.shares import Device

NOBODY: Final = bytes(32)
CLIP: Final = 3.0
RULE: Final = "mean"
"""Everybody here is honest."""


@dataclass
class Branch:
    """One branch: the two blobs of its newest release, what it holds of earlier seasons, and what each device carries
    on into its next update."""

    path: str
    adapter: bytes = b""
    lifted: bytes = b""
    season: int = 0
    frozen: tuple[Layer, ...] = ()
    height: int = 0
    counted: int = 0
    carry: dict[str, tuple[bytes, ...]] = field(default_factory=dict)

    @property
    def part(self) -> Part:
        """What it adds to a model."""
        return Part(self.path, self.height, NOBODY, self.adapter, 0, self.lifted, 0, self.season, self.frozen)

    def turn(self) -> None:
        """Begin the next season, as a release of its own."""
        seat = Seat("nobody", 0, self.path)
        release = opening(self.path, (seat,), 0, self.adapter, season=self.season, frozen=self.frozen)
        after = turned(replace(release, lifted=self.lifted), self.season + 1, 0)
        self.season, self.frozen, self.height = after.season, after.frozen, self.height + 1
        self.adapter, self.lifted = after.adapter, after.lifted
        self.carry.clear()  # it was of the old season


class Grove:
    """The branches of one arm, and what their devices sent and received."""

    def __init__(self, school: School, settings: TrainingSettings) -> None:
        self._school, self._settings = school, settings
        self._blobs = MemoryBlobs()
        self._policy = Transfer(TransferPolicy())
        self.sent: dict[str, int] = {}
        self.received: dict[str, int] = {}
        self.lifts: list[dict[str, object]] = []

    def model(self, path: Sequence[Branch]) -> Vector:
        """The model of the last branch of ``path``, which begins at the root."""
        parts = [branch.part for branch in path]
        above = [Part(each.branch, each.height, NOBODY, each.adapter, 0) for each in parts[:-1]]
        return read_sum(self._blobs, blobs_of([*above, *parts[-1:]]), self._school.spec)

    def seasoned(self, branch: Branch) -> Seasoned:
        """The model of a branch with none above it, in whichever season it is."""
        layers = read_layers(self._blobs, blobs_of([branch.part]), self._school.spec)
        newest, b, earlier = newest_first(layers, self._school.spec)
        if newest == branch.season:
            return Seasoned(b, newest, earlier)
        return Seasoned(np.zeros_like(b), branch.season, layers)  # it has only just turned

    def frozen_bytes(self, branch: Branch) -> int:
        """The size of the blobs that ``branch`` holds of earlier seasons."""
        held = (blob for layer in branch.frozen for blob in (layer.adapter, layer.lifted) if blob)
        return sum(len(self._blobs.read(blob)) for blob in held)

    def round(self, path: Sequence[Branch], devices: Sequence[Device], height: int) -> None:
        """One round of the last branch of ``path``: every device trains, the rule makes a release of it."""
        branch = path[-1]
        heads = blobs_of(replace(each.part, lifted=b"") for each in path)
        trained = {device.name: self._train(branch, heads, device, height) for device in devices}
        inputs = tuple(Input(key_of(name), each.blob) for name, each in trained.items())
        base = branch.adapter or None
        job = Aggregate(branch.path, height, NOBODY, inputs, RULE, 0, CLIP, base, season=branch.season)
        done = aggregate(job, blobs=self._blobs, spec=self._school.spec)
        branch.adapter, branch.height = done.adapter, branch.height + 1
        for name, each in trained.items():
            branch.carry[name] = (each.carry,) if each.carry else ()
            self.sent[name] = self.sent.get(name, 0) + each.size
            self.received[name] = self.received.get(name, 0) + done.adapter_size

    def _train(self, branch: Branch, heads: tuple[bytes, ...], device: Device, height: int) -> Trained:
        spec = self._school.spec
        place = Workplace(spec, "int8", NOBODY, device.name, Path(), self._blobs)
        carry = branch.carry.get(device.name, ())
        job = Train(branch.path, height, NOBODY, heads, carry, season=branch.season)
        done = train_job(job, place, _Lesson(self._school, device), data=(), settings=self._settings)
        assert isinstance(done, Trained)  # nothing is remembered, so nothing is rejected
        return done

    def lift(
        self,
        above: Sequence[Branch],
        parent: Branch,
        children: Mapping[str, Branch],
        loss: Callable[[str, Vector], float],
    ) -> bool:
        """Move up what the children of ``parent`` share, if a quorum of them wants it by the charter's default policy.

        Each child has one seat, which tries the lift on data of its own: ``loss`` of that child's name and a model.
        """
        inputs = tuple(
            Input(key_of(child.path), *[blob for blob in (child.adapter, child.lifted) if blob])
            for child in children.values()
        )
        policy = self._policy.settings
        wish = Lift(inputs, policy.rule, policy.f, policy.share, parent.lifted or None)
        job = Aggregate(
            parent.path, parent.height, NOBODY, (), RULE, 0, CLIP, parent.adapter or None, lift=wish
        )
        done = aggregate(job, blobs=self._blobs, spec=self._school.spec)
        now = self.model([*above, parent])
        then = self.model([*above, replace(parent, lifted=done.lifted)])
        moved, willing = sum(child.height > parent.counted for child in children.values()), 0
        for name in children:
            measured = Measured(done.agreement, ((loss(name, now), loss(name, then)),))
            willing += isinstance(self._policy.verdict(len(children), moved, None, measured), Due)
        self.lifts.append(
            {"branch": parent.path, "agreement": done.agreement, "willing": willing, "of": len(children)}
        )
        if willing < quorum_of(len(children)):
            return False
        parent.lifted, parent.height = done.lifted, parent.height + 1
        parent.counted = max(child.height for child in children.values())
        return True

    @staticmethod
    def newcomer(path: str, above: Branch) -> Branch:
        """A branch that opens now: it begins with what was lifted into the one above."""
        return Branch(path, adapter=above.lifted)


class _Lesson:
    """What :func:`train_job` asks for its numbers."""

    def __init__(self, school: School, device: Device) -> None:
        self._school, self._device = school, device

    def ask(self, kind: str, lesson: Lesson) -> tuple[Vector, dict[str, float]]:
        """Train from the lesson's model."""
        start = Seasoned(lesson.vector, lesson.season, lesson.frozen)
        return self._school.train(self._device, start, lesson.height, lesson.settings), {}


def key_of(name: str) -> bytes:
    """A name as the key of an input."""
    return hashlib.sha256(name.encode()).digest()
