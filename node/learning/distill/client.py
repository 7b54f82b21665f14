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
from banyan.node.learning.blobs import read_layers
from banyan.node.learning.continual import memory
from banyan.node.learning.dataset import Row, load_dataset
from banyan.node.learning.distill import teacher_text
from banyan.node.learning.distill.softened import SHARE, SoftenedProbabilities
from banyan.node.learning.distill.teacher import Teacher
from banyan.node.learning.distill.tokenizers import same_tokenizer
from banyan.node.learning.errors import LearningError
from banyan.node.learning.layout import Vector
from banyan.node.learning.learner import Learner, shared_learner
from banyan.node.learning.lesson import Lesson
from banyan.node.learning.progress import Progress, report
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.trainer import next_token_loss
from banyan.node.learning.workplace import Workplace, newest_first
from banyan.security.canonical import encode

#: Written text that no lesson has used for this many other lessons is removed.
KEPT_TEXTS = 4

#: The file of what a teacher wrote, in the folder of a lesson.
WRITTEN = "written.jsonl"


class DistillingClient:
    """Implements :class:`~banyan.node.learning.lesson.Client`: the student learns from ``teacher`` on public text.

    ``place`` is where the student's branch trains, ``teachers_place`` where the teacher's would: the two have base
    models of their own, or the same one. ``share`` is as in
    :class:`~banyan.node.learning.distill.softened.SoftenedProbabilities`.
    """

    def __init__(
        self, place: Workplace, teachers_place: Workplace, teacher: Teacher, share: float = SHARE
    ) -> None:
        self.place = place
        self._teachers_place = teachers_place
        self.teacher = teacher
        self._share = share
        self._taught_by: tuple[str, Learner] | None = None

    def ask(self, kind: str, lesson: Lesson) -> tuple[Vector | None, dict[str, float]]:
        """Train the lesson's B on its ``data``, which are public text; the trained B and what was measured.

        ``logits`` is 1 where the student learnt the teacher's probabilities and 0 where it read what the teacher wrote.
        A version that is worse than the lesson's on the held-out rows of the text is rejected (``gate_passed`` is 0)
        and ``text_rise`` says by how much, unless the owner has set that there be no gate. ``teacher_loss`` is the
        teacher's on the same rows, where both read alike and it compares. Raises :class:`LearningError`.
        """
        if kind != "train":
            raise LearningError(f"A teacher helps to train and not to {kind}")
        data, chosen = lesson.data, lesson.settings
        teacher = self._teacher(chosen.device)
        spec = self.place.spec
        student = shared_learner(
            self.place.base_model,
            chosen.device,
            rank=spec.rank,
            scale=spec.scale,
            tensors=spec.tensors,
            shared_a=self.place.shared_a(lesson.season),
        )
        student.model.freeze(self.place.frozen(lesson.frozen))
        folder = self.place.memory
        settings = replace(chosen, max_length=min(chosen.max_length, teacher.context, student.context))
        remembered = None if folder is None else memory.place(folder, lesson.branch, lesson.season)
        if same_tokenizer(teacher.tokenizer, student.tokenizer):
            objective = SoftenedProbabilities(
                teacher.model,
                temperature=self.teacher.temperature,
                vocabulary=len(student.tokenizer),
                share=self._share,
            )
            more = {"logits": 1.0}
        else:
            objective = next_token_loss
            data = [self._written(teacher, data, settings, lesson.seed)]
            more = {"logits": 0.0, "written_bytes": float((data[0] / WRITTEN).stat().st_size)}
        trained, metrics = student.train(
            lesson.vector,
            data,
            settings,
            seed=lesson.seed,
            first_row=lesson.first_row,
            memory=remembered,
            objective=objective,
            only_better=bool(settings.gate_tries),
        )
        if "loss_before" in metrics:
            more["text_rise"] = metrics["loss_after"] - metrics["loss_before"]
            if more["logits"]:
                more["teacher_loss"] = teacher.evaluate(teacher.model.vector(), data, settings)["loss"]
        return trained, metrics | more

    def _teacher(self, device: str) -> Learner:
        if self._taught_by is None or self._taught_by[0] != device:
            report(Progress("load teacher"))
            place, spec = self._teachers_place, self._teachers_place.spec
            layers = read_layers(place.blobs, self.teacher.adapters, spec)
            season, vector, frozen = newest_first(layers, spec)
            teacher = Learner(
                load(self._teachers_place.base_model, device),
                rank=spec.rank,
                scale=spec.scale,
                tensors=spec.tensors,
                shared_a=place.shared_a(season),
            )
            teacher.model.set_vector(vector)
            teacher.model.freeze(place.frozen(frozen))
            teacher.model.peft.eval()
            self._taught_by = device, teacher
        return self._taught_by[1]

    def _written(self, teacher: Learner, data: Sequence[Path], settings: TrainingSettings, seed: int) -> Path:
        """The folder of what the teacher wrote for as many prompts as the lesson has rows; beside it rows of the text
        itself, so many that the teacher's are its share of all, and those that are held out, so that the loss stays
        that of real text."""
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
            self._share,
        ]
        key = hashlib.sha256(b"banyan/teacher-text/1\0" + encode(said)).hexdigest()[:16]
        if self.place.memory is None:
            raise LearningError("This node has no folder for what its teacher writes")
        folder = self.place.memory / "taught" / key
        text = folder / WRITTEN
        teacher_text.write(text, teacher, prompts, seed=seed, max_length=settings.max_length)
        if not text.stat().st_size:
            raise LearningError(
                f"The model at {self.teacher.branch} had nothing to say to any prompt of this text",
                "Give other text, or train the teacher further",
            )
        own = round(len(prompts) * (1 - self._share) / self._share)
        drawn = torch.randperm(len(rows.training), generator=torch.Generator().manual_seed(seed))[:own]
        chosen = [rows.training[at] for at in drawn.tolist()]
        write_durably(folder / "own.jsonl", b"".join(_line(row, "train") for row in chosen))
        write_durably(folder / "held-out.jsonl", b"".join(_line(row, "test") for row in rows.held_out))
        _forget_old(folder)
        return folder


def _line(row: Row, split: str) -> bytes:
    plain: dict[str, object] = (
        {"text": row.turns[0][1]}
        if row.is_text
        else {"messages": [{"role": role, "content": content} for role, content in row.turns]}
    )
    return json.dumps(plain | {"split": split}).encode() + b"\n"


def _forget_old(folder: Path) -> None:
    """Remove what was written for earlier lessons, all but the newest."""
    others = sorted(
        (each for each in folder.parent.iterdir() if each != folder), key=lambda p: p.stat().st_mtime_ns
    )
    for old in others[: max(0, len(others) - KEPT_TEXTS + 1)]:
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
