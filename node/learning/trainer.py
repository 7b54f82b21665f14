"""The training loop: AdamW on B with warm-up and a cosine, and the held-out loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from banyan.node.learning.adapter import AdaptedModel
from banyan.node.learning.continual.protection import Protection
from banyan.node.learning.errors import LearningError
from banyan.node.learning.progress import Progress, report
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.tokens import IGNORED, Example


@dataclass(frozen=True, slots=True)
class Training:
    """What a round of training did. ``loss`` is the mean over the steps, in nats a token."""

    steps: int
    rows: int
    tokens: int
    loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded sequences: ids, mask and labels of shape ``(rows, longest)``, int64."""

    ids: Tensor
    mask: Tensor
    labels: Tensor
    rows: int
    tokens: int


#: The mean loss of a batch, nats a token, differentiable in B. Its first rows, so many, are new, the others replayed.
Objective: TypeAlias = Callable[[AdaptedModel, Batch, int], Tensor]


def next_token_loss(model: AdaptedModel, batch: Batch, new: int) -> Tensor:
    """The cross entropy of what comes next, the mean over all targets of the batch."""
    loss: Tensor = model.peft(input_ids=batch.ids, attention_mask=batch.mask, labels=batch.labels).loss
    return loss


def train(
    model: AdaptedModel,
    examples: Sequence[Example],
    settings: TrainingSettings,
    *,
    seed: int,
    first_row: int = 0,
    pad: int = 0,
    protection: Protection | None = None,
    objective: Objective = next_token_loss,
) -> Training:
    """Run ``settings.steps`` optimiser steps on B in place, reporting progress after each.

    Rows come from :func:`row_order`, so a later round that passes ``first_row`` goes on where the earlier one ended.
    ``protection`` keeps earlier tasks; the rows that it adds to a step are not counted, their tokens are.
    ``objective`` is what is made small. Columns of B beyond ``settings.columns`` keep their bits.
    Raises :class:`LearningError` if the loss stops being finite, and what :func:`report` raises.
    """
    torch.manual_seed(seed)
    protection = protection or Protection()
    trainable = model.trainable()
    optimiser = torch.optim.AdamW(
        trainable,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=model.device.type == "cuda",
    )
    held = model.hold(settings.columns)
    order = row_order(len(examples), seed, first_row)
    model.peft.train()
    losses: list[float] = []
    rows = tokens = 0
    begin = time.perf_counter()
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate(step, settings)
        new = [examples[next(order)] for _ in range(settings.batch)]
        batch = collate([*new, *protection.rows(len(new))], pad, model.device)
        with _autocast(model, settings):
            loss = objective(model, batch, len(new))
        penalty = protection.penalty(trainable)
        (loss if penalty is None else loss + penalty).backward()  # type: ignore[no-untyped-call]
        held.still()
        torch.nn.utils.clip_grad_norm_(trainable, settings.clip_norm)
        optimiser.step()
        protection.correct(trainable)
        held.restore()
        optimiser.zero_grad(set_to_none=True)
        losses.append(_finite(loss.item(), step))
        rows += len(new)
        tokens += batch.tokens
        spent = time.perf_counter() - begin
        left = spent / (step + 1) * (settings.steps - step - 1)
        report(Progress("train", step + 1, settings.steps, losses[-1], rows / spent, tokens / spent, left))
    model.peft.eval()
    return Training(settings.steps, rows, tokens, float(np.mean(losses)), time.perf_counter() - begin)


@torch.inference_mode()
def held_out_loss(
    model: AdaptedModel, examples: Sequence[Example], settings: TrainingSettings, *, pad: int = 0
) -> tuple[float, int]:
    """Mean loss in nats a predicted token over ``examples``, and the number of those tokens.

    The sum is kept per token, so the result does not depend on how the rows are grouped.
    """
    model.peft.eval()
    total, count = 0.0, 0
    report(Progress("evaluate", 0, len(examples)))
    ordered = sorted(examples, key=lambda example: len(example.ids))
    for at in range(0, len(ordered), settings.batch):
        chosen = ordered[at : at + settings.batch]
        batch = collate(chosen, pad, model.device)
        with _autocast(model, settings):
            loss = next_token_loss(model, batch, len(chosen))
        targets = sum(example.targets for example in chosen)
        total += loss.item() * targets
        count += targets
        report(Progress("evaluate", min(at + settings.batch, len(ordered)), len(ordered)))
    return (total / count if count else math.nan), count


def rate(step: int, settings: TrainingSettings) -> float:
    """The learning rate of ``step`` (from 0) as a share of the peak: linear warm-up, then half a cosine down to
    ``final_rate``."""
    warm = math.ceil(settings.warmup * settings.steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    along = (step - warm) / max(1, settings.steps - warm)
    return settings.final_rate + (1 - settings.final_rate) * 0.5 * (1 + math.cos(math.pi * along))


def row_order(count: int, seed: int, first: int = 0) -> Iterator[int]:
    """Endless row numbers: each pass over ``count`` rows in its own shuffled order, from position ``first`` on."""
    epoch, skip = divmod(first, count)
    while True:
        yield from np.random.default_rng([seed, epoch]).permutation(count)[skip:].tolist()
        epoch, skip = epoch + 1, 0


def collate(examples: Sequence[Example], pad: int, device: torch.device) -> Batch:
    """Pad to the longest of these examples and move to ``device``."""
    longest = max(len(example.ids) for example in examples)
    ids = np.full((len(examples), longest), pad, np.int64)
    labels = np.full((len(examples), longest), IGNORED, np.int64)
    mask = np.zeros((len(examples), longest), np.int64)
    for i, example in enumerate(examples):
        length = len(example.ids)
        ids[i, :length], labels[i, :length], mask[i, :length] = example.ids, example.labels, 1
    here, kept, wanted = (
        torch.from_numpy(array).to(device, non_blocking=True) for array in (ids, mask, labels)
    )
    return Batch(here, kept, wanted, rows=len(examples), tokens=int(mask.sum()))


def _autocast(model: AdaptedModel, settings: TrainingSettings) -> AbstractContextManager[object]:
    """bfloat16 where it pays: matrix products run in half the time, B and its gradients stay float32."""
    kind = model.device.type
    wanted = settings.precision == "bfloat16" or (
        settings.precision == "auto" and kind == "cuda" and torch.cuda.is_bf16_supported()
    )
    return torch.autocast(kind, torch.bfloat16) if wanted else nullcontext()


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise LearningError(
            f"The training loss stopped being a finite number at step {step + 1}", "Lower the learning rate"
        )
    return loss
