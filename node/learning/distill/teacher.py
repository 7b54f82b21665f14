"""Whom a branch learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from banyan.security.schema import Between, Digest, Length


@dataclass(frozen=True, slots=True)
class Teacher:
    """The model at ``branch``: its base model and the sum of the adapter blobs ``adapters``."""

    branch: Annotated[str, Length(1, 300)]
    adapters: Annotated[tuple[Digest, ...], Length(0, 16)]
    #: How much the teacher's probabilities are softened before the student takes them over. Higher: more of what the
    #: teacher holds for nearly right, less of what it is sure of. Text that a teacher writes is sampled at 1 whatever
    #: this is.
    temperature: Annotated[float, Between(0.1, 100.0)] = 1.0
