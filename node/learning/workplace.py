"""Where a job runs: the network's adapter and codec, this node's base model and blobs, and whose code trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from banyan.aggregation.encoding import Codec
from banyan.node.learning.blobs import Blobs
from banyan.node.learning.frozen import Frozen, stacked
from banyan.node.learning.layout import Vector
from banyan.node.learning.shared_a import draw, from_bytes
from banyan.security.model import AdapterSpec, TensorSpec

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

    def shared_a(self, season: int = 0) -> dict[str, Vector]:
        """A of ``season`` by tensor name, float32 ``(rank, cols_in)``: the first checked against the charter's spec, a
        later one drawn, and remembered."""
        return shared_a_of(self.spec, season, self.blobs)

    def frozen(self, layers: Mapping[int, Vector]) -> Frozen:
        """What ``layers``, B vectors by their seasons, add to a model's matrices."""
        return frozen_of(self.spec, layers, self.blobs)


@lru_cache(maxsize=4)
def _drawn(seed: int, rank: int, tensors: tuple[TensorSpec, ...], season: int) -> dict[str, Vector]:
    return draw(seed, rank, tensors, season)


def shared_a_of(spec: AdapterSpec, season: int, blobs: Blobs) -> dict[str, Vector]:
    """As :meth:`Workplace.shared_a`."""
    if season:
        return _drawn(spec.seed, spec.rank, spec.tensors, season)
    return from_bytes(blobs.read(spec.a_digest), spec.rank, spec.tensors)


def frozen_of(spec: AdapterSpec, layers: Mapping[int, Vector], blobs: Blobs) -> Frozen:
    """As :meth:`Workplace.frozen`."""
    return stacked([(shared_a_of(spec, season, blobs), vector) for season, vector in layers.items()], spec)


def together(layers: Mapping[int, Vector], others: Mapping[int, Vector]) -> dict[int, Vector]:
    """The sums of two models' B by their seasons."""
    summed = dict(layers)
    for season, vector in others.items():
        summed[season] = summed[season] + vector if season in summed else vector
    return summed


def newest_first(layers: Mapping[int, Vector], spec: AdapterSpec) -> tuple[int, Vector, dict[int, Vector]]:
    """A whole model as the season of its newest layer, the B of that, and the rest by seasons."""
    season = max(layers, default=0)
    vector = layers.get(season, np.zeros(spec.dimension, np.float32))
    return season, vector, {each: b for each, b in layers.items() if each != season}
