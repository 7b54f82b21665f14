"""One round of local training: from the blobs of the heads to the blob of a signed-to-be update."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from banyan.aggregation.encoding import encode
from banyan.aggregation.strips import leading, widened
from banyan.node.learning.blobs import read_layers, write_float32
from banyan.node.learning.compensation import compensated
from banyan.node.learning.continual import rejected
from banyan.node.learning.continual.rejected import Rejected
from banyan.node.learning.distill.teacher import Teacher
from banyan.node.learning.errors import AppError, LearningError
from banyan.node.learning.layout import Vector
from banyan.node.learning.lesson import Client, Lesson
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.workplace import Workplace
from banyan.protocol.delta import write_delta
from banyan.protocol.effects import Train, Trained


def train(
    job: Train,
    place: Workplace,
    client: Client,
    *,
    data: Sequence[Path],
    settings: TrainingSettings,
    teacher: Teacher | None = None,
) -> Trained | Rejected:
    """Train from the path's sum plus the carry; write the encoded delta and what the encoding left over. What the path
    has of other seasons is part of the model and not trained.

    With h the sum of ``job.adapters`` and c that of ``job.carry``, training starts at h + c and ends at B; the delta is
    Δ = B - h, the blob holds Q(Δ), and the new carry is Δ - Q(Δ): nothing learnt is ever lost to rounding, it is
    only sent later (error feedback, Seide et al. 2014; Karimireddy et al. 2019).

    A device that trains ``settings.columns`` columns of B sends no others. Those of Δ beyond it, which come of an
    earlier carry alone, stay in the new one. A whole model (``job.base`` is empty) always has all.

    Where the client says ``gate_passed`` = 0 nothing is published: B - h is kept aside with its figures, and the same
    job, with the same ``teacher`` if it has one, is not trained a second time.

    Raises :class:`LearningError`; the same job on the same machine, remembering the same, gives the same blob.
    """
    spec, blobs, season = place.spec, place.blobs, job.season
    if settings.columns > spec.rank:
        raise LearningError(
            f"This device is to train {settings.columns} columns of B where the adapter has {spec.rank}",
            f"Choose a rank of at most {spec.rank}",
        )
    aside = None if place.memory is None else rejected.place(place.memory, job, settings, data, teacher)
    if aside is not None and (before := rejected.find(aside)) is not None:
        return replace(before, again=True)
    head, frozen = layers_of(job.adapters, season, place)
    carry, _ = layers_of(job.carry, season, place)
    start, rise = np.add(head, carry, dtype=np.float32), 0.0
    lesson = Lesson(
        vector=start,
        data=data,
        settings=settings,
        branch=job.branch,
        height=job.height,
        seed=seed_of(place.network, place.node, job.branch),
        first_row=job.height * settings.steps * settings.batch,
        season=season,
        frozen=frozen,
    )
    if (
        job.before is not None and not settings.dp_epsilon
    ):  # which start is better is told by rows, without any noise
        held, then = layers_of(job.before, season, place)
        before = np.add(held, carry, dtype=np.float32)
        if same_layers(then, frozen):  # what another season's A says cannot be taken off in this one's
            start, rise = compensated(
                start,
                before,
                job.epsilon,
                lambda model: _loss(client, replace(lesson, vector=model, seed=0, first_row=0)),
            )
    trained, metrics = client.ask("train", replace(lesson, vector=start))
    if trained is None:
        raise AppError(f"The ClientApp {place.app} answered without the adapter it trained")
    if rise:
        metrics = metrics | {"compensated": rise}
    delta = trained - head
    if not leading(delta, spec.rank, settings.columns or spec.rank).any():
        raise LearningError("Training changed nothing", "Check the learning rate and the data")
    if aside is not None and metrics.get("gate_passed") == 0:
        file = str(aside.with_suffix(".delta"))
        version = Rejected.by(metrics, job, file, settings.continual_epsilon)
        rejected.keep(
            aside, version, write_delta(encode(delta, "float32"), spec=spec, base=job.base, season=season)
        )
        return version
    rank = (settings.columns if job.base else 0) or spec.rank
    encoded = encode(leading(delta, spec.rank, rank), place.codec)
    blob = write_delta(encoded, spec=spec, base=job.base, rank=rank, season=season)
    left_over = delta - widened(encoded.decode(), rank, spec.rank)
    carry = write_float32(blobs, left_over, spec, season=season)[0] if left_over.any() else None
    return Trained(job.branch, job.height, job.base, blobs.put(blob), len(blob), carry, metrics)


def layers_of(digests: Sequence[bytes], season: int, place: Workplace) -> tuple[Vector, dict[int, Vector]]:
    """The sum of the adapters of ``season``, zero for none, and the sums of the others by their seasons."""
    layers = read_layers(place.blobs, digests, place.spec)
    return layers.pop(season, np.zeros(place.spec.dimension, np.float32)), layers


def same_layers(left: Mapping[int, Vector], right: Mapping[int, Vector]) -> bool:
    """Whether two models are the same in these seasons."""
    return left.keys() == right.keys() and all(np.array_equal(left[each], right[each]) for each in left)


def _loss(client: Client, lesson: Lesson) -> float | None:
    """The loss of the lesson's model on this node's held-out rows; None where there are none, or the app cannot
    tell."""
    try:
        _, metrics = client.ask("evaluate", lesson)
    except LearningError:
        return None
    return metrics.get("loss", metrics.get("eval_loss"))


def seed_of(network: bytes, node: str, branch: str) -> int:
    """This node's seed for a branch: each node sees its rows in an order of its own, and the same one every time."""
    text = b"banyan/training-seed/1\0" + network + node.encode() + b"\0" + branch.encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1
