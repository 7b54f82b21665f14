"""The child's bench: what it needs for its jobs, made at the first job that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from banyan.node.learning.aggregate_job import aggregate
from banyan.node.learning.distill.teacher import Teacher
from banyan.node.learning.errors import LearningError
from banyan.node.learning.evaluate_job import evaluate
from banyan.node.learning.generate_job import generate
from banyan.node.learning.inspect_job import inspect
from banyan.node.learning.mix_job import mix
from banyan.node.learning.private import contribute, train_privately
from banyan.node.learning.rehearsal import rehearse
from banyan.node.learning.train_job import train
from banyan.node.learning.workplace import Workplace
from banyan.node.store.blobs import BlobStore
from banyan.node.worker.messages import (
    ContributeOrder,
    EvaluateOrder,
    GenerateOrder,
    Hello,
    Order,
    PrivateOrder,
    RehearseOrder,
    Result,
    TrainOrder,
)
from banyan.protocol.effects import Aggregate, Inspect, Mix
from banyan.protocol.paths import path_to

if TYPE_CHECKING:
    from banyan.node.learning.distill.client import DistillingClient
    from banyan.node.learning.flower import LocalClient


class Bench:
    """Runs orders for one network. A light bench aggregates, mixes and inspects, and never imports torch."""

    def __init__(self, hello: Hello) -> None:
        self._light = hello.role == "light"
        blobs = BlobStore(Path(hello.blobs))
        self._places = {
            ground.path: Workplace(
                spec=ground.spec,
                codec=hello.codec,
                network=hello.network,
                node=hello.node,
                base_model=Path(ground.base_model),
                blobs=blobs,
                app=hello.app,
                memory=Path(hello.memory) if hello.memory else None,
            )
            for ground in hello.grounds
        }
        self._clients: dict[str, LocalClient] = {}
        self._taught: DistillingClient | None = None

    def run(self, order: Order) -> Result:
        """Raises whatever the job raises."""
        place = self._places[self._ground_of(order)]
        match order:
            case Aggregate():
                return aggregate(order, blobs=place.blobs, spec=place.spec)
            case Mix():
                return mix(order, blobs=place.blobs, spec=place.spec)
            case Inspect():
                return inspect(order, blobs=place.blobs, spec=place.spec)
        if self._light:
            raise LearningError("A light worker only aggregates, mixes and inspects")
        match order:
            case ContributeOrder():
                return contribute(order.job, place, Path(order.folder))
            case RehearseOrder():
                return rehearse(order.job, place, data=_paths(order.data), settings=order.settings)
            case TrainOrder(job, data, settings, None):
                client = self._ready_client(order)
                return train(job, place, client, data=_paths(data), settings=settings)
            case TrainOrder(job, data, settings, teacher):
                taught = self._taught_by(place, teacher)
                return train(job, place, taught, data=_paths(data), settings=settings, teacher=teacher)
            case PrivateOrder():
                client = self._ready_client(order)
                return train_privately(
                    order.job, place, client, data=_paths(order.data), settings=order.settings
                )
            case EvaluateOrder(job, data, settings):
                return evaluate(job, place, self._ready_client(order), data=_paths(data), settings=settings)
            case GenerateOrder(job, device):
                return generate(job, place, device)

    def _ground_of(self, order: Order) -> str:
        """Where the base model of the order's branch begins."""
        job = order if isinstance(order, Aggregate | Mix | Inspect) else order.job
        return self._ground_at(job.branch)

    def _ground_at(self, branch: str) -> str:
        return next(path for path in reversed(path_to(branch)) if path in self._places)

    def _ready_client(self, order: Order) -> LocalClient:
        ground = self._ground_of(order)
        if ground not in self._clients:
            # Flower and torch are slow to import: only a full worker pays, and only at its first job.
            from banyan.node.learning.flower import LocalClient, load_app

            place = self._places[ground]
            self._clients[ground] = LocalClient(load_app(place.app), place)
        return self._clients[ground]

    def _taught_by(self, place: Workplace, teacher: Teacher) -> DistillingClient:
        """The client of the teacher of last time, whose model is loaded, else another."""
        if self._taught is None or (self._taught.teacher, self._taught.place) != (teacher, place):
            from banyan.node.learning.distill.client import DistillingClient

            self._taught = None  # free the old teacher first
            self._taught = DistillingClient(place, self._places[self._ground_at(teacher.branch)], teacher)
        return self._taught


def _paths(names: tuple[str, ...]) -> list[Path]:
    return [Path(name) for name in names]
