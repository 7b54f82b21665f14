"""Where a job runs: the network's adapter and codec, this node's base model and blobs, and whose code trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from banyan.aggregation.encoding import Codec
from banyan.node.learning.blobs import Blobs
from banyan.node.learning.layout import Vector
from banyan.node.learning.shared_a import from_bytes
from banyan.security.model import AdapterSpec

OWN_APP = "banyan.node.learning.client_app:app"


@dataclass(frozen=True)
class Workplace:
    """Everything about network and node that stays the same from job to job."""

    spec: AdapterSpec
    codec: Codec
    network: bytes
    node: str
    base_model: Path
    blobs: Blobs
    #: The Flower ClientApp that trains and evaluates, as ``module:attribute``.
    app: str = OWN_APP
    #: The folder of what this node has learnt before (:mod:`banyan.node.learning.continual`); None: it remembers
    #: nothing.
    memory: Path | None = None

    def shared_a(self) -> dict[str, Vector]:
        """A by tensor name, float32 ``(rank, cols_in)``; checked against the charter's spec."""
        return from_bytes(self.blobs.read(self.spec.a_digest), self.spec.rank, self.spec.tensors)
