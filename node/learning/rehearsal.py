"""Before and after training: how a model does on an owner's data, what it says, and what a step of training costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from banyan.node.learning import private
from banyan.node.learning.blobs import read_layers
from banyan.node.learning.dataset import Row, load_dataset
from banyan.node.learning.errors import LearningError
from banyan.node.learning.fit import Shape, free_memory, rows_that_fit, steps_that_fit
from banyan.node.learning.progress import Progress, report
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.workplace import Workplace, newest_first, together
from banyan.security.schema import Between, Digest

if TYPE_CHECKING:
    from banyan.node.learning.learner import Learner

#: Steps that are timed; the first one also warms up and does not count.
TIMED = 3

#: Characters of a plain text that a sample goes on from, and tokens of an answer.
OPENING, ANSWER = 80, 32


@dataclass(frozen=True, slots=True)
class Rehearse:
    """Try the model that is the sum of ``adapters``, with what ``private`` (a folder, or empty) holds for the branch.
    With a ``deadline`` (seconds of a round; 0: not wanted) also choose rows and steps."""

    branch: str
    adapters: tuple[Digest, ...]
    private: str = ""
    deadline: Annotated[float, Between(0.0, 1e9)] = 0.0
    samples: Annotated[int, Between(0, 8)] = 2


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The end of a :class:`Rehearse`: ``samples`` of (prompt, what the model answers), and rows and steps that suit the
    device (None: not measured) at ``step_seconds`` each."""

    samples: tuple[tuple[str, str], ...] = ()
    batch: int | None = None
    steps: int | None = None
    step_seconds: float | None = None


def rehearse(
    job: Rehearse, place: Workplace, *, data: Sequence[Path], settings: TrainingSettings
) -> Rehearsal:
    """Raises :class:`LearningError`, as where not even one row fits into memory."""
    from banyan.node.learning.learner import shared_learner

    spec = place.spec
    layers = read_layers(place.blobs, job.adapters, spec)
    own = private.read(Path(job.private), job.branch, spec) if job.private else {}
    season, vector, frozen = newest_first(together(layers, own), spec)
    learner = shared_learner(
        place.base_model,
        settings.device,
        rank=spec.rank,
        scale=spec.scale,
        tensors=spec.tensors,
        shared_a=place.shared_a(season),
    )
    learner.model.freeze(place.frozen(frozen))
    report(Progress("read data"))
    dataset = load_dataset(data, use_pretrain_rows=settings.use_pretrain_rows)
    report(Progress("try the model"))
    prompts = [prompt_of(row) for row in (dataset.held_out or dataset.training)[: job.samples]]
    samples = tuple((prompt, learner.generate(vector, prompt, ANSWER)) for prompt in prompts)
    if not job.deadline:
        return Rehearsal(samples)
    batch = _rows(learner, settings)
    while batch > len(dataset.training):
        batch //= 2
    report(Progress("time a step"))
    learner.model.set_vector(vector)
    seconds = _step_seconds(learner, dataset.training, replace(settings, batch=batch))
    steps = steps_that_fit(seconds, job.deadline, len(dataset.training), batch)
    return Rehearsal(samples, batch, steps, seconds)


def prompt_of(row: Row) -> str:
    """What a sample asks: the first thing the user says, or the opening of a plain text."""
    if row.is_text:
        return row.turns[0][1][:OPENING]
    return next((content for role, content in row.turns if role == "user"), row.turns[0][1])


def _rows(learner: Learner, settings: TrainingSettings) -> int:
    config = learner.model.peft.config
    hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    head = int(getattr(config, "head_dim", None) or hidden // heads)
    shape = Shape(
        sum(parameter.numel() for parameter in learner.model.peft.parameters()),
        int(config.num_hidden_layers),
        hidden,
        int(getattr(config, "intermediate_size", None) or 4 * hidden),
        head * int(getattr(config, "num_key_value_heads", None) or heads),
        int(config.vocab_size),
    )
    free = free_memory()
    on_gpu = learner.model.device.type == "cuda"
    if on_gpu:
        import torch

        free = torch.cuda.mem_get_info(learner.model.device)[0]
    if free is None:
        return settings.batch
    length = min(settings.max_length, int(config.max_position_embeddings))
    layout = learner.model.layout
    inputs = layout.rank * sum(tensor.cols_in for tensor in layout.tensors)
    rows = rows_that_fit(shape, layout.dimension, inputs, length, free, 2.0 if on_gpu else 4.0)
    if not rows:
        raise LearningError(
            f"Not even one row of {length} tokens fits into the {free / 1e9:.1f} GB that are free",
            "Close other programs, choose a smaller training.max_length, or a network with a smaller model",
        )
    return rows


def _step_seconds(learner: Learner, rows: Sequence[Row], settings: TrainingSettings) -> float:
    """Seconds of an optimiser step, the median of those timed; B is what it was afterwards."""
    from banyan.node.learning.tokens import examples
    from banyan.node.learning.trainer import train

    made = examples(rows[: 4 * settings.batch], learner.tokenizer, settings.max_length)
    if not made:
        raise LearningError("No row has anything to predict", "Raise training.max_length or add rows")
    before = learner.model.vector()
    times = []
    for _ in range(TIMED):
        began = time.perf_counter()
        train(learner.model, made, replace(settings, steps=1), seed=0)
        times.append(time.perf_counter() - began)
        learner.model.set_vector(before)
    return sorted(times[1:])[(TIMED - 1) // 2]
