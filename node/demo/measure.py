"""What the network gained, and against what: the process of the demo in which torch lives.

    python -m banyan.node.demo.measure OUT/measure.json

It measures every loss on the same held-out rows and plays the two runs that did not happen, with the code, rows,
seeds and steps of the one that did: every honest node training *alone*, and the same network *undefended*, where a
plain mean of all updates is taken, the attackers' included, and nobody looks.

Orders come as JSON lines on standard input (:data:`RELEASE` to measure a release, :data:`END`), findings go as JSON
lines to standard output.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from banyan.node.learning.blobs import Blobs, read_sum, write_float32
from banyan.node.learning.layout import Vector
from banyan.node.learning.lesson import Lesson
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.shared_a import from_bytes
from banyan.node.learning.train_job import seed_of
from banyan.node.learning.train_job import train as train_job
from banyan.node.learning.workplace import Workplace
from banyan.protocol.delta import DeltaRefused, read_delta
from banyan.protocol.effects import Train, Trained
from banyan.security.charter import Charter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from banyan.node.learning.adapter import AdaptedModel

RELEASE: Final = "release"
END: Final = "end"


@dataclass(frozen=True, slots=True)
class Pupil:
    """One node of the network, as far as learning goes; ``home`` is an attacker's, whose key forges."""

    name: str
    node: str
    data: str
    home: str
    honest: bool


@dataclass(frozen=True, slots=True)
class Task:
    """Everything that the measuring process needs to know; travels as JSON."""

    charter: str
    blobs: str
    base: str
    branch: str
    held_out: str
    rounds: int
    attack: str
    seed: int
    strength: float
    settings: dict[str, Any]
    pupils: tuple[Pupil, ...]

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> Task:
        """From JSON."""
        plain = json.loads(path.read_text("utf-8"))
        return cls(**{**plain, "pupils": tuple(Pupil(**each) for each in plain["pupils"])})


class School(Protocol):
    """A model that can be trained on a pupil's rows and measured on everybody's."""

    def train(self, pupil: str, start: Vector, height: int) -> Vector: ...

    def loss(self, vector: Vector) -> float: ...


@dataclass(frozen=True)
class Bench:
    """The network's model on one core, and how to make rows into what it reads."""

    model: AdaptedModel
    tokenizer: PreTrainedTokenizerBase
    pad: int
    length: int


def seat(charter: Charter, blobs: Blobs, base: Path, settings: TrainingSettings) -> Bench:
    """Load the base model at ``base`` with an adapter of the charter's, whose A is in ``blobs``."""
    import torch

    from banyan.node.learning import base_model
    from banyan.node.learning.adapter import AdaptedModel

    torch.set_num_threads(1)
    loaded = base_model.load(base, settings.device)
    spec = charter.adapter
    shared_a = from_bytes(blobs.read(spec.a_digest), spec.rank, spec.tensors)
    model = AdaptedModel(
        loaded.model, rank=spec.rank, scale=spec.scale, tensors=spec.tensors, shared_a=shared_a
    )
    pad = int(loaded.tokenizer.pad_token_id or loaded.tokenizer.eos_token_id or 0)
    context = int(getattr(loaded.model.config, "max_position_embeddings", 1 << 20))
    return Bench(model, loaded.tokenizer, pad, min(settings.max_length, context))


class TorchSchool:
    """The real one."""

    def __init__(self, task: Task, charter: Charter, blobs: Blobs) -> None:
        from banyan.node.learning.dataset import load_dataset, read_rows
        from banyan.node.learning.tokens import examples

        self._settings = TrainingSettings(**task.settings)
        bench = seat(charter, blobs, Path(task.base), self._settings)
        self._model, self._pad, length = bench.model, bench.pad, bench.length
        self._seeds = {
            pupil.name: seed_of(charter.network_id, pupil.node, task.branch) for pupil in task.pupils
        }
        self._rows = {
            pupil.name: examples(load_dataset([Path(pupil.data)]).training, bench.tokenizer, length)
            for pupil in task.pupils
        }
        self._held_out = examples(list(read_rows(Path(task.held_out))), bench.tokenizer, length)

    def train(self, pupil: str, start: Vector, height: int) -> Vector:
        """As the pupil's own worker does it."""
        from banyan.node.learning.trainer import train

        chosen = self._settings
        self._model.set_vector(start)
        first = height * chosen.steps * chosen.batch
        train(
            self._model,
            self._rows[pupil],
            chosen,
            seed=self._seeds[pupil],
            first_row=first,
            pad=self._pad,
        )
        return self._model.vector()

    def loss(self, vector: Vector) -> float:
        """Nats a token on the held-out rows of all honest owners; NaN for an adapter with a NaN."""
        from banyan.node.learning.trainer import held_out_loss

        if not np.isfinite(vector).all():
            return float("nan")
        self._model.set_vector(vector)
        return held_out_loss(self._model, self._held_out, self._settings, pad=self._pad)[0]


class _Lesson:
    """What :func:`train_job` asks for its numbers: one pupil of the school in one round."""

    def __init__(self, learn: Callable[[str, Vector, int], Vector], pupil: str) -> None:
        self._learn = learn
        self._pupil = pupil

    def ask(self, kind: str, lesson: Lesson) -> tuple[Vector, dict[str, float]]:
        """Train from the lesson's model."""
        return self._learn(self._pupil, lesson.vector, lesson.height), {}


class Counterfactuals:
    """The two runs that did not happen, one training at a time."""

    def __init__(
        self, task: Task, charter: Charter, school: School, forge: Mapping[str, Callable[..., bytes]]
    ) -> None:
        """``forge`` gives, by attacker, the blob to send instead of a :class:`Trained` one (see :func:`forgers`)."""
        self._task = task
        self._charter = charter
        self._school = school
        self._forge = forge
        self._settings = TrainingSettings(**task.settings)
        self._known: dict[tuple[str, int, bytes], Vector] = {}
        self.honest = [pupil.name for pupil in task.pupils if pupil.honest]
        self.trainings = len(self.honest) * (task.rounds - 1) + len(task.pupils) * task.rounds
        self.trained = 0

    def run(self) -> Iterator[dict[str, Any]]:
        """Findings as they come; an item without a ``kind`` other than ``progress`` marks a moment to look up."""
        zero = np.zeros(self._charter.adapter.dimension, np.float32)
        yield {"kind": "start", "loss": self._school.loss(zero)}
        alone = dict.fromkeys(self.honest, zero)
        undefended = Undefended(self._task, self._charter, self._learn, self._forge)
        for height in range(1, self._task.rounds + 1):
            for head in undefended.round(height):
                yield {"kind": "progress", "done": self.trained, "total": self.trainings}
                if head is not None:
                    yield {"kind": "undefended", "round": height, "loss": self._school.loss(head)}
            for name in self.honest:
                alone[name] = self._learn(name, alone[name], height)
                yield {"kind": "progress", "done": self.trained, "total": self.trainings}
                yield {"kind": "alone", "name": name, "round": height, "loss": self._school.loss(alone[name])}

    def _learn(self, pupil: str, start: Vector, height: int) -> Vector:
        """Train; the first round is the same in both runs and is trained once."""
        key = (pupil, height, start.tobytes())
        if height > 1:
            self.trained += 1
            return self._school.train(pupil, start, height)
        if key not in self._known:
            self.trained += 1
            self._known[key] = self._school.train(pupil, start, height)
        return self._known[key]


class Undefended:
    """The network without any defence: every update counts the same, and nobody checks anybody.

    A leader that lies leads every round (nobody would take the lead from it); of two contradictory updates the false
    one is counted; padding is read past.
    """

    def __init__(
        self,
        task: Task,
        charter: Charter,
        learn: Callable[[str, Vector, int], Vector],
        forge: Mapping[str, Callable[..., bytes]],
    ) -> None:
        self._task = task
        self._charter = charter
        self._forge = forge
        self._learn = learn
        self._blobs = {pupil.name: MemoryBlobs() for pupil in task.pupils}
        self._carry: dict[str, tuple[bytes, ...]] = {}
        self._head = np.zeros(charter.adapter.dimension, np.float32)

    def round(self, height: int) -> Iterator[Vector | None]:
        """One round: None after each training, the new head at the end."""
        updates = []
        for pupil in self._task.pupils:
            updates.append(self._update(pupil, height))
            yield None
        change = np.mean(updates, axis=0, dtype=np.float64)
        if self._task.attack == "lying-leader" and self._forge:
            change = -change
        self._head = (self._head + change).astype(np.float32)
        yield self._head

    def _update(self, pupil: Pupil, height: int) -> Vector:
        spec, blobs = self._charter.adapter, self._blobs[pupil.name]
        full = np.full(spec.dimension, np.nan, np.float32)
        if not np.isfinite(self._head).all():
            return full  # nothing can be learnt from there any more
        head, _ = write_float32(blobs, self._head, spec)
        job = Train(self._task.branch, height, bytes(32), (head,), self._carry.get(pupil.name, ()))
        place = Workplace(
            spec, self._charter.round.codec, self._charter.network_id, pupil.node, Path(), blobs
        )
        settings = TrainingSettings(**self._task.settings)
        trained = train_job(job, place, _Lesson(self._learn, pupil.name), data=(), settings=settings)
        if pupil.honest:
            self._carry[pupil.name] = (trained.carry,) if trained.carry else ()
            return read_sum(blobs, (trained.blob,), spec)
        forged = self._forge[pupil.name](trained, blobs)
        try:
            change = read_delta(forged, spec).vector.decode()
        except DeltaRefused as refusal:
            return full if refusal.reason == "non-finite" else read_sum(blobs, (trained.blob,), spec)
        return -change if self._task.attack == "equivocate" else change


def forgers(task: Task, charter: Charter) -> dict[str, Callable[[Trained, MemoryBlobs], bytes]]:
    """For each attacker, its attack's way to tamper with what it learned, with its own key."""
    from banyan.node.demo.adversary import make
    from banyan.security.identity import Identity

    def forger(pupil: Pupil) -> Callable[[Trained, MemoryBlobs], bytes]:
        signer = Identity.load(Path(pupil.home) / "identity.pem")
        attack: Any = None

        def forge(trained: Trained, blobs: MemoryBlobs) -> bytes:
            nonlocal attack
            attack = attack or make(task.attack, charter, signer, blobs, task.seed, task.strength)
            return bytes(attack.forge(blobs.read(trained.blob), trained))

        return forge

    return {pupil.name: forger(pupil) for pupil in task.pupils if not pupil.honest}


def main(path: str) -> int:
    """Measure until everything is measured and the end was ordered."""
    task = Task.read(Path(path))
    charter = Charter.decode(Path(task.charter).read_bytes())
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    from banyan.node.store import BlobStore

    store = BlobStore(Path(task.blobs))
    school = TorchSchool(task, charter, store)

    def obey(order: dict[str, Any]) -> None:
        adapter = read_sum(
            BlobStore(Path(order["blobs"])), (bytes.fromhex(order["adapter"]),), charter.adapter
        )
        _say({"kind": "release", "adapter": order["adapter"], "loss": school.loss(adapter)})

    ended = False
    for finding in Counterfactuals(task, charter, school, forgers(task, charter)).run():
        _say(finding)
        while not orders.empty():
            order = orders.get()
            ended = ended or order["do"] == END
            if order["do"] == RELEASE:
                obey(order)
    while not ended:
        order = orders.get()
        ended = order["do"] == END
        if order["do"] == RELEASE:
            obey(order)
    return 0


def _listen(orders: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(0)  # the demo is gone


def _say(finding: Mapping[str, Any]) -> None:
    plain = {key: None if value != value else value for key, value in finding.items()}  # JSON has no NaN
    print(json.dumps(plain), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
