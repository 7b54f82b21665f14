"""A sample of what a model of the tree says: enough to hear the difference, not a serving engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from banyan.node.learning.blobs import read_sum
from banyan.node.learning.workplace import Workplace
from banyan.security.schema import Between, Digest, Length


@dataclass(frozen=True, slots=True)
class Generate:
    """Answer ``prompt`` with the model that is the sum of the adapter blobs ``adapters`` on the base of ``branch``."""

    adapters: tuple[Digest, ...]
    prompt: Annotated[str, Length(0, 100_000)]
    max_tokens: Annotated[int, Between(1, 4096)] = 64
    branch: Annotated[str, Length(1, 300)] = "/"


def generate(job: Generate, place: Workplace, device: str = "auto") -> str:
    """The answer's text, chosen greedily. Raises :class:`LearningError`."""
    from banyan.node.learning.learner import shared_learner

    spec = place.spec
    learner = shared_learner(
        place.base_model,
        device,
        rank=spec.rank,
        scale=spec.scale,
        tensors=spec.tensors,
        shared_a=place.shared_a(),
    )
    return learner.generate(read_sum(place.blobs, job.adapters, spec), job.prompt, job.max_tokens)
