"""A round in which another branch's model is the teacher: called as a ClientApp is, so that what it learns is carried,
gated, encoded and published as any training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from banyan.node.home import write_durably
from banyan.node.learning.base_model import load
from banyan.node.learning.blobs import read_sum
from banyan.node.learning.continual import memory
from banyan.node.learning.dataset import Row, load_dataset
from banyan.node.learning.distill import teacher_text
from banyan.node.learning.distill.softened import SoftenedProbabilities
from banyan.node.learning.distill.teacher import Teacher
from banyan.node.learning.distill.tokenizers import same_tokenizer
from banyan.node.learning.errors import LearningError
from banyan.node.learning.layout import Vector
from banyan.node.learning.learner import Learner, shared_learner
from banyan.node.learning.progress import Progress, report
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.workplace import Workplace
from banyan.security.canonical import encode

#: Written text that no lesson has used for this many other lessons is removed.
KEPT_TEXTS = 4


class DistillingClient:
    """Implements :class:`~banyan.node.learning.train_job.Client`: the student learns from ``teacher`` on public text.

    ``place`` is where the student's branch trains, ``teachers_place`` where the teacher's would: the two have base
    models of their own, or the same one.
    """

    def __init__(self, place: Workplace, teachers_place: Workplace, teacher: Teacher) -> None:
        self.place = place
        self._teachers_place = teachers_place
        self.teacher = teacher
        self._taught_by: tuple[str, Learner] | None = None

    def ask(
        self,
        kind: str,
        vector: Vector,
        *,
        data: Sequence[Path],
        settings: TrainingSettings,
        config: dict[str, str | int | float],
    ) -> tuple[Vector | None, dict[str, float]]:
        """Train B = ``vector`` on the public text ``data``; the trained B and what was measured.

        ``logits`` is 1 where the student learnt the teacher's probabilities and 0 where it read what the teacher wrote.
        Raises :class:`LearningError`.
        """
        if kind != "train":
            raise LearningError(f"A teacher helps to train and not to {kind}")
        teacher = self._teacher(settings.device)
        spec = self.place.spec
        student = shared_learner(
            self.place.base_model,
            settings.device,
            rank=spec.rank,
            scale=spec.scale,
            tensors=spec.tensors,
            shared_a=self.place.shared_a(),
        )
        seed, first_row = int(config["seed"]), int(config["first_row"])
        folder = self.place.memory
        lesson = replace(settings, max_length=min(settings.max_length, teacher.context, student.context))
        remembered = None if folder is None else memory.place(folder, str(config["branch"]))
        if same_tokenizer(teacher.tokenizer, student.tokenizer):
            objective = SoftenedProbabilities(
                teacher.model, temperature=self.teacher.temperature, vocabulary=len(student.tokenizer)
            )
            trained, metrics = student.train(
                vector, data, lesson, seed=seed, first_row=first_row, memory=remembered, objective=objective
            )
            return trained, metrics | {"logits": 1.0}
        written = self._written(teacher, data, lesson, seed)
        trained, metrics = student.train(
            vector, [written], lesson, seed=seed, first_row=first_row, memory=remembered
        )
        return trained, metrics | {"logits": 0.0, "written_bytes": float(written.stat().st_size)}

    def _teacher(self, device: str) -> Learner:
        if self._taught_by is None or self._taught_by[0] != device:
            report(Progress("load teacher"))
            spec = self._teachers_place.spec
            teacher = Learner(
                load(self._teachers_place.base_model, device),
                rank=spec.rank,
                scale=spec.scale,
                tensors=spec.tensors,
                shared_a=self._teachers_place.shared_a(),
            )
            teacher.model.set_vector(read_sum(self._teachers_place.blobs, self.teacher.adapters, spec))
            teacher.model.peft.eval()
            self._taught_by = device, teacher
        return self._taught_by[1]

    def _written(self, teacher: Learner, data: Sequence[Path], settings: TrainingSettings, seed: int) -> Path:
        """The file of what the teacher wrote for as many prompts as the lesson has rows, with the public rows that are
        held out beside it, so that the loss stays that of real text."""
        rows = load_dataset(data, use_pretrain_rows=settings.use_pretrain_rows)
        wanted = settings.steps * settings.batch
        prompts = teacher_text.prompts_of(rows.training, teacher, settings.max_length)
        order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(seed)).tolist()
        prompts = [prompts[at] for at in order[:wanted]]
        said = [
            self.teacher.branch,
            str(self._teachers_place.base_model),
            list(self.teacher.adapters),
            [list(prompt.ids) for prompt in prompts],
            [row.content for row in rows.held_out],
            settings.max_length,
            seed,
        ]
        key = hashlib.sha256(b"banyan/teacher-text/1\0" + encode(said)).hexdigest()[:16]
        if self.place.memory is None:
            raise LearningError("This node has no folder for what its teacher writes")
        folder = self.place.memory / "taught" / key
        text = folder / "written.jsonl"
        teacher_text.write(text, teacher, prompts, seed=seed, max_length=settings.max_length)
        if not text.stat().st_size:
            raise LearningError(
                f"The model at {self.teacher.branch} had nothing to say to any prompt of this text",
                "Give other text, or train the teacher further",
            )
        write_durably(folder / "held-out.jsonl", b"".join(_held_out(row) for row in rows.held_out))
        _forget_old(folder)
        return folder


def _held_out(row: Row) -> bytes:
    plain: dict[str, object] = (
        {"text": row.turns[0][1]}
        if row.is_text
        else {"messages": [{"role": role, "content": content} for role, content in row.turns]}
    )
    return json.dumps(plain | {"split": "test"}).encode() + b"\n"


def _forget_old(folder: Path) -> None:
    """Remove what was written for earlier lessons, all but the newest."""
    others = sorted(
        (each for each in folder.parent.iterdir() if each != folder), key=lambda p: p.stat().st_mtime_ns
    )
    for old in others[: max(0, len(others) - KEPT_TEXTS + 1)]:
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
