"""The child's bench: what it needs for its jobs, made at the first job that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from banyan.node.learning.aggregate_job import aggregate
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

if TYPE_CHECKING:
    from banyan.node.learning.flower import LocalClient


class Bench:
    """Runs orders for one network. A light bench aggregates, mixes and inspects, and never imports torch."""

    def __init__(self, hello: Hello) -> None:
        self._light = hello.role == "light"
        self._place = Workplace(
            spec=hello.spec,
            codec=hello.codec,
            network=hello.network,
            node=hello.node,
            base_model=Path(hello.base_model),
            blobs=BlobStore(Path(hello.blobs)),
            app=hello.app,
            memory=Path(hello.memory) if hello.memory else None,
        )
        self._client: LocalClient | None = None

    def run(self, order: Order) -> Result:
        """Raises whatever the job raises."""
        match order:
            case Aggregate():
                return aggregate(order, blobs=self._place.blobs, spec=self._place.spec)
            case Mix():
                return mix(order, blobs=self._place.blobs, spec=self._place.spec)
            case Inspect():
                return inspect(order, blobs=self._place.blobs, spec=self._place.spec)
        if self._light:
            raise LearningError("A light worker only aggregates, mixes and inspects")
        match order:
            case ContributeOrder():
                return contribute(order.job, self._place, Path(order.folder))
            case RehearseOrder():
                return rehearse(order.job, self._place, data=_paths(order.data), settings=order.settings)
        client = self._ready_client()
        match order:
            case TrainOrder(job, data, settings):
                return train(job, self._place, client, data=_paths(data), settings=settings)
            case PrivateOrder():
                return train_privately(
                    order.job, self._place, client, data=_paths(order.data), settings=order.settings
                )
            case EvaluateOrder(job, data, settings):
                return evaluate(job, self._place, client, data=_paths(data), settings=settings)
            case GenerateOrder(job, device):
                return generate(job, self._place, device)

    def _ready_client(self) -> LocalClient:
        if self._client is None:
            # Flower and torch are slow to import: only a full worker pays, and only at its first job.
            from banyan.node.learning.flower import LocalClient, load_app

            self._client = LocalClient(load_app(self._place.app), self._place)
        return self._client


def _paths(names: tuple[str, ...]) -> list[Path]:
    return [Path(name) for name in names]
