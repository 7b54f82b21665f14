"""One round of training that knows what came before: recall, protect, train, pass the gate, remember."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from banyan.node.learning.adapter import AdaptedModel
from banyan.node.learning.continual.ewc import ElasticWeights, fisher
from banyan.node.learning.continual.gate import Verdict, examine
from banyan.node.learning.continual.memory import Memory, Task, sketch_of, with_task
from banyan.node.learning.continual.orthogonal import OrthogonalSteps, join_spans
from banyan.node.learning.continual.protection import Protection
from banyan.node.learning.continual.replay import Replay
from banyan.node.learning.continual.reservoir import Reservoir
from banyan.node.learning.layout import Vector
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.tokens import Example
from banyan.node.learning.trainer import Objective, Training, held_out_loss, next_token_loss, train

#: Rows of a task on which its Fisher information is estimated. More: surer and slower, one row at a time.
FISHER_ROWS = 64


@dataclass(frozen=True, slots=True)
class Source:
    """What is learnt now: ``name`` is where it lies, ``contents`` are its training rows' hashes, ``met`` is the time in
    seconds since the epoch."""

    name: str
    contents: frozenset[bytes]
    training: Sequence[Example]
    held_out: Sequence[Example]
    met: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round came to: the memory to keep if its B is (None: it is rejected), and the figures.

    ``verdict`` is None where there was nothing for the gate to guard. ``loss`` is the new task's own, nats a token.
    """

    memory: Memory | None
    training: Training
    verdict: Verdict | None
    gate_seconds: float
    loss: float | None


def learn(
    model: AdaptedModel,
    memory: Memory,
    source: Source,
    settings: TrainingSettings,
    *,
    seed: int,
    first_row: int = 0,
    pad: int = 0,
    objective: Objective = next_token_loss,
    most_loss: float = math.inf,
) -> Outcome:
    """Train ``model`` in place on ``source`` by ``objective``, protecting the tasks in ``memory``.

    Afterwards the model's B is what passed the gate, or the whole of what was learnt where nothing did. A version whose
    loss on the source's own held-out rows is above ``most_loss`` is rejected, too. The same inputs give the same B and
    memory. Raises what :func:`train` raises.
    """
    start = model.vector()
    begun = begin(model, memory, source, settings, start, seed=seed, pad=pad)
    *earlier, task = begun.tasks
    protection = protect(model, begun, settings, seed=seed, first_row=first_row)
    done = train(
        model,
        source.training,
        settings,
        seed=seed,
        first_row=first_row,
        pad=pad,
        protection=protection,
        objective=objective,
    )
    began = time.perf_counter()
    verdict = _gate(model, start, earlier, settings, pad)
    spent = time.perf_counter() - began
    loss = held_out_loss(model, source.held_out, settings, pad=pad)[0] if source.held_out else None
    if (verdict is not None and not verdict.share) or (loss is not None and not loss <= most_loss):
        return Outcome(None, done, verdict, spent, loss)
    learnt = replace(
        task,
        held_out=tuple(source.held_out),
        loss=loss,
        reservoir=task.reservoir.offer(source.training, settings.replay_rows),
    )
    tasks = with_task(earlier, learnt, settings.replay_rows)
    return Outcome(replace(begun, tasks=tasks), done, verdict, spent, loss)


def begin(
    model: AdaptedModel,
    memory: Memory,
    source: Source,
    settings: TrainingSettings,
    start: Vector,
    *,
    seed: int,
    pad: int = 0,
) -> Memory:
    """``memory`` with the task of ``source`` last, for a model at ``start``.

    Where another task was under way, EWC and orthogonal steps take into account what it leaves behind: its Fisher
    information here, the change of B since it began. EWC that was chosen only now weighs every earlier task.
    """
    known = memory.find(source.contents)
    current = sketch_of(source.contents)
    if known is None:
        task = Task(source.name, source.met, current, (), None, Reservoir(seed))
    else:
        task = replace(known, name=source.name, sketch=current)
    earlier = tuple(each for each in memory.tasks if each is not known)
    goes_on = len(earlier) < len(memory.tasks) and known is memory.tasks[-1]
    anchor, importance, span = memory.anchor if goes_on else start, memory.fisher, memory.span
    if settings.continual == "ewc" and earlier and (importance is None or not goes_on):
        for each in earlier if importance is None else memory.tasks[-1:]:
            latest = fisher(model, each.reservoir.kept[:FISHER_ROWS], seed=seed, pad=pad)
            importance = latest if importance is None else importance + latest
        anchor = start
    if settings.continual == "orthogonal" and not goes_on and memory.anchor is not None:
        span = join_spans(model.layout, span, start - memory.anchor)
    return Memory((*earlier, task), anchor, importance, span)


def protect(
    model: AdaptedModel, memory: Memory, settings: TrainingSettings, *, seed: int, first_row: int = 0
) -> Protection:
    """What the owner's method does for the earlier tasks of ``memory``; nothing where there are none."""
    earlier, anchor = memory.tasks[:-1], memory.anchor
    if not earlier or anchor is None:
        return Protection()
    if settings.continual == "replay":
        step = first_row // settings.batch
        return Replay(earlier, settings.replay_ratio, seed=seed, step=step, batch=settings.batch)
    if settings.continual == "ewc" and memory.fisher is not None:
        return ElasticWeights(model, memory.fisher, anchor, settings.ewc_strength)
    if settings.continual == "orthogonal" and memory.span is not None:
        return OrthogonalSteps(model, memory.span, anchor)
    return Protection()


def _gate(
    model: AdaptedModel, start: Vector, earlier: Sequence[Task], settings: TrainingSettings, pad: int
) -> Verdict | None:
    """Examine the model's B against ``earlier`` and leave what passed in the model."""
    measured = [(task.held_out, task.loss) for task in earlier if task.held_out and task.loss is not None]
    if not measured or not settings.gate_tries:
        return None

    def measure(b: Vector) -> list[float]:
        model.set_vector(b)
        return [held_out_loss(model, rows, settings, pad=pad)[0] for rows, _ in measured]

    verdict = examine(
        start,
        model.vector(),
        [loss for _, loss in measured if loss is not None],
        measure,
        epsilon=settings.continual_epsilon,
        tries=settings.gate_tries,
    )
    model.set_vector(verdict.b)
    return verdict
