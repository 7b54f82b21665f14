"""What one who trains is asked: a model, its place in the life of its branch, and what to train or measure it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from banyan.node.learning.layout import Vector
from banyan.node.learning.settings import TrainingSettings

__all__ = ["Client", "Lesson"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """One model to be trained, or measured.

    - ``vector``: B of ``season``, float32 (dimension,); ``frozen``: the B of other seasons by their numbers, which are
      part of the model and are not trained.
    - ``data``: files and folders of rows. ``settings``: how their owner has chosen to train.
    - ``branch``, ``height``: the round that this is for; of what is learnt privately, the how manieth lesson it is.
    - ``seed``: of the order of the rows. ``first_row``: how many of that order lie behind earlier lessons.
    """

    vector: Vector
    data: Sequence[Path]
    settings: TrainingSettings
    branch: str
    height: int
    seed: int = 0
    first_row: int = 0
    season: int = 0
    frozen: Mapping[int, Vector] = field(default_factory=dict)


class Client(Protocol):
    """What trains: :class:`banyan.node.learning.flower.LocalClient`, or a fake with the same method."""

    def ask(self, kind: str, lesson: Lesson) -> tuple[Vector | None, dict[str, float]]:
        """``train`` or ``evaluate``: the B that was trained (None: none was) and figures by name.

        Raises :class:`~banyan.node.learning.errors.LearningError`.
        """
        ...
