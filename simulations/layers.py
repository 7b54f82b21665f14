"""Models of several seasons on virtual devices, whose tasks are over flat vectors."""

from __future__ import annotations

from collections.abc import Iterable

from banyan.node.learning.blobs import Blobs, read_layers, read_whole
from banyan.security.errors import BanyanError
from banyan.security.model import AdapterSpec
from banyan.simulations.tasks.task import Vector

__all__ = ["SeasonsNotSimulated", "read_model"]


class SeasonsNotSimulated(BanyanError):
    """A later season of a task that has a real A."""


def read_model(blobs: Blobs, digests: Iterable[bytes], spec: AdapterSpec) -> Vector:
    """The model that is the sum of adapters of any seasons, float32 ``(dimension,)``.

    A task over flat vectors is its own A in every season, so layers add up. Raises :class:`SeasonsNotSimulated` where
    they would not.
    """
    digests = [*digests]
    if spec.a_size and any(read_layers(blobs, digests, spec)):
        raise SeasonsNotSimulated(
            "A language task knows the A of the first season only",
            "Try seasons with the quadratic task or digits",
        )
    return read_whole(blobs, digests, spec)
