"""What this device has learnt for itself: a change of B beside a branch's model, which nobody is told of.

One folder for a node, outside the store that others fetch from. A branch has a JSON file of figures, replaced in one
step, and beside it the float32 delta that it names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from banyan.aggregation.encoding import encode
from banyan.aggregation.strips import leading, widened
from banyan.node.home import write_durably
from banyan.node.learning.blobs import read_layers, write_float32
from banyan.node.learning.errors import AppError, LearningError
from banyan.node.learning.layout import Vector
from banyan.node.learning.lesson import Client, Lesson
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.train_job import layers_of, seed_of
from banyan.node.learning.workplace import Workplace
from banyan.protocol.delta import read_delta, write_delta
from banyan.protocol.effects import Train, Trained
from banyan.security.model import AdapterSpec
from banyan.security.schema import Digest

#: A file of figures is no longer than this many bytes.
FIGURES_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class PrivateTrain:
    """Learn for this device alone, on top of the model that is the sum of ``adapters``; ``folder`` is where it is
    kept."""

    branch: str
    adapters: tuple[Digest, ...]
    folder: str


@dataclass(frozen=True, slots=True)
class PrivatelyTrained:
    """The end of a :class:`PrivateTrain`: how many ``lessons`` there have been, and what this one's measured."""

    branch: str
    lessons: int
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """The figures of what is kept for a branch. The losses are of the first lesson's start and the last one's end.
    ``update`` names the blob that carries it to the others, once there is one. ``season`` is that of the A it is in
    terms of: it stays so when the branch goes over into a later one, where it is still part of this model and can no
    longer be given."""

    branch: str
    delta: str
    lessons: int
    loss_before: float | None
    loss_after: float | None
    update: str = ""
    season: int = 0


def find(folder: Path, branch: str) -> Kept | None:
    """What is kept for ``branch``; None where nothing is, or nothing that can be read."""
    path = _figures(folder, branch)
    with suppress(OSError, ValueError, TypeError):
        if path.stat().st_size <= FIGURES_BYTES:
            return Kept(**json.loads(path.read_bytes()))
    return None


def read(folder: Path, branch: str, spec: AdapterSpec) -> dict[int, Vector]:
    """The change of B that is kept for ``branch``, float32 ``(dimension,)``, by its season; none where nothing is.

    Raises :class:`LearningError` where its bytes are not those that were written.
    """
    kept = find(folder, branch)
    if kept is None:
        return {}
    try:
        data = (folder / kept.delta).read_bytes()
    except OSError as error:
        raise _damaged(folder, branch, str(error.strerror)) from error
    if hashlib.sha256(data).hexdigest() not in kept.delta:
        raise _damaged(folder, branch, "its bytes have changed")
    return {kept.season: read_delta(data, spec, kept.season).vector.decode()}


def forget(folder: Path, branch: str) -> None:
    """Remove what is kept for ``branch``."""
    kept = find(folder, branch)
    _figures(folder, branch).unlink(missing_ok=True)
    if kept is not None:
        (folder / kept.delta).unlink(missing_ok=True)


def train_privately(
    job: PrivateTrain, place: Workplace, client: Client, *, data: Sequence[Path], settings: TrainingSettings
) -> PrivatelyTrained:
    """One lesson: train from the branch's model plus what is kept, and keep the change. Nothing goes to the store.

    Raises :class:`LearningError`, also where the gate rejects what was learnt: what was kept before then stays.
    """
    spec, folder = place.spec, Path(job.folder)
    before = find(folder, job.branch)
    lessons = before.lessons if before is not None else 0
    layers = read_layers(place.blobs, job.adapters, spec)
    season = before.season if before is not None else max(layers, default=0)
    none = np.zeros(spec.dimension, np.float32)
    head, own = layers.pop(season, none), read(folder, job.branch, spec).get(season, none)
    lesson = Lesson(
        vector=np.add(head, own, dtype=np.float32),
        data=data,
        settings=settings,
        branch=job.branch,
        height=lessons,
        seed=seed_of(place.network, place.node, job.branch),
        first_row=lessons * settings.steps * settings.batch,
        season=season,
        frozen=layers,
    )
    trained, metrics = client.ask("train", lesson)
    if trained is None:
        raise AppError(f"The ClientApp {place.app} answered without the adapter it trained")
    if metrics.get("gate_passed") == 0:
        raise LearningError(
            "The lesson was thrown away: an earlier source's loss would have risen by "
            f"{metrics.get('gate_rise', float('nan')):.3f} nats a token, {settings.continual_epsilon:g} is allowed",
            "Train with a lower learning rate or more replay, or allow more with training.continual_epsilon",
        )
    first = before.loss_before if before is not None else metrics.get("loss_before")
    blob = write_delta(encode(trained - head, "float32"), spec=spec, base=b"", season=season)
    _keep(folder, Kept(job.branch, "", lessons + 1, first, metrics.get("loss_after"), season=season), blob)
    return PrivatelyTrained(job.branch, lessons + 1, metrics)


def contribute(job: Train, place: Workplace, folder: Path) -> Trained:
    """The update that gives the others what is kept for the job's branch, with the carry; nothing is trained.

    A device that learnt the first columns of B alone sends no others; those of the carry stay in the new one. The
    figures name the update's blob from then on, so that it is known what to forget once it is announced. Raises
    :class:`LearningError` where there is nothing to give, or only something of another season.
    """
    spec, blobs = place.spec, place.blobs
    kept = find(folder, job.branch)
    if kept is not None and kept.season != job.season:
        raise LearningError(
            f"What was learnt privately for {job.branch} is of season {kept.season}, and the branch is in season "
            f"{job.season}: it cannot be given any more",
            "It stays part of this device's own model; train again to give something new",
        )
    learnt = read(folder, job.branch, spec).get(job.season)
    if kept is None or learnt is None or not learnt.any():
        raise LearningError(
            f"Nothing has been learnt privately for {job.branch}", "See `banyan train --private`"
        )
    delta = learnt + layers_of(job.carry, job.season, place)[0]
    rank = _columns(learnt, spec.rank) if job.base else spec.rank
    encoded = encode(leading(delta, spec.rank, rank), place.codec)
    blob = write_delta(encoded, spec=spec, base=job.base, rank=rank, season=job.season)
    left_over = delta - widened(encoded.decode(), rank, spec.rank)
    carry = write_float32(blobs, left_over, spec, season=job.season)[0] if left_over.any() else None
    digest = blobs.put(blob)
    write_durably(_figures(folder, job.branch), _json(replace(kept, update=digest.hex())))
    losses = {"loss_before": kept.loss_before, "loss_after": kept.loss_after}
    metrics = {name: value for name, value in losses.items() if value is not None}
    return Trained(job.branch, job.height, job.base, digest, len(blob), carry, metrics)


def _columns(learnt: Vector, rank: int) -> int:
    """Up to which column of B there is anything in a vector that is not zero."""
    return int(np.flatnonzero(learnt.reshape(-1, rank).any(axis=0))[-1]) + 1


def _keep(folder: Path, kept: Kept, delta: bytes) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = find(folder, kept.branch)
    name = f"{quote(kept.branch, safe='')}-{hashlib.sha256(delta).hexdigest()}.delta"
    write_durably(folder / name, delta)
    write_durably(_figures(folder, kept.branch), _json(replace(kept, delta=name)))
    if before is not None and before.delta != name:
        (folder / before.delta).unlink(missing_ok=True)


def _json(kept: Kept) -> bytes:
    return json.dumps(asdict(kept)).encode()


def _figures(folder: Path, branch: str) -> Path:
    return folder / f"{quote(branch, safe='')}.json"


def _damaged(folder: Path, branch: str, why: str) -> LearningError:
    return LearningError(
        f"What was learnt privately for {branch} cannot be read: {why}",
        f"Remove {_figures(folder, branch)} to begin anew",
    )
