"""Training whose result tells little of any one row: DP-SGD on B (Abadi et al. 2016).

The unit of privacy is a *row* of the owner's data, added or removed: a long text counts with its first ``max_length``
tokens only, so that it is in no more than one gradient a step. Each step draws every row with probability q, shortens
each row's gradient of B to ``dp_clip``, sums, and adds Gaussian noise of standard deviation σ · ``dp_clip`` to each
number. What is made of the result (encoding, error feedback, rounds) costs nothing more.

Not covered: the number of rows, what was learnt of the same rows without it, and attacks on the rounding of the noise
(Mironov 2012). Noise and draws come from the operating system's entropy, never from a seed that others know. Earlier
sources are not replayed and no gate is passed, since both would let rows in by another way; held-out losses are shown
to the owner and not announced.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from banyan.node.learning.adapter import AdaptedModel
from banyan.node.learning.dataset import load_dataset
from banyan.node.learning.errors import DataError, LearningError
from banyan.node.learning.layout import Vector
from banyan.node.learning.privacy_budget import Plan, Spend, epsilon, load, noise_for, save
from banyan.node.learning.progress import Progress, report
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.tokens import IGNORED, Example, examples
from banyan.node.learning.trainer import Batch, collate, held_out_loss, rate

if TYPE_CHECKING:
    from banyan.node.learning.learner import Learner


def train_with_privacy(
    learner: Learner, start: Vector, data: Sequence[Path], settings: TrainingSettings, ledger: Path
) -> tuple[Vector, dict[str, float]]:
    """B after one round from ``start``, and what was measured, with ``dp_epsilon`` spent so far.

    What the round spends is in ``ledger`` durably before this returns. Raises :class:`LearningError` where the budget
    allows no more, and :class:`DataError`.
    """
    begin = time.perf_counter()
    report(Progress("read data"))
    model, pad = learner.model, _pad(learner)
    length = min(settings.max_length, int(getattr(model.peft.config, "max_position_embeddings", 1 << 20)))
    rows = load_dataset(data, use_pretrain_rows=settings.use_pretrain_rows)
    made = [example for row in rows.training for example in examples([row], learner.tokenizer, length)[:1]]
    if not made:
        name = ", ".join(map(str, data))
        raise DataError(name, None, "no row has anything to predict", "Raise max_length or add rows")
    held_out = examples(rows.held_out, learner.tokenizer, length)[: settings.eval_rows]
    budget = load(ledger).under(Plan(settings.dp_epsilon, settings.dp_delta, settings.dp_rounds))
    sampling = min(1.0, settings.batch / len(made))
    report(Progress("choose the noise"))
    noise = noise_for(budget, sampling, settings.steps)
    model.set_vector(start)
    metrics: dict[str, float] = {}
    if held_out:
        metrics["dp_loss_before"] = held_out_loss(model, held_out, settings, pad=pad)[0]
    train_dp(
        model,
        made,
        settings,
        noise=noise,
        sampling=sampling,
        rng=np.random.Generator(np.random.PCG64DXSM(secrets.randbits(128))),
        pad=pad,
    )
    budget = budget.after(Spend(noise, sampling, settings.steps))
    save(ledger, budget)
    if held_out:
        metrics["dp_loss_after"] = held_out_loss(model, held_out, settings, pad=pad)[0]
    metrics |= {
        "dp_epsilon": epsilon(budget.spent, settings.dp_delta),
        "dp_delta": settings.dp_delta,
        "dp_budget": settings.dp_epsilon,
        "dp_noise": noise,
        "rows": float(settings.steps * settings.batch),
        "steps": float(settings.steps),
        "seconds": time.perf_counter() - begin,
    }
    return model.vector(), metrics


def train_dp(
    model: AdaptedModel,
    rows: Sequence[Example],
    settings: TrainingSettings,
    *,
    noise: float,
    sampling: float,
    rng: np.random.Generator,
    pad: int = 0,
) -> None:
    """Run ``settings.steps`` steps on B in place, each on rows drawn with probability ``sampling``.

    ``noise`` is the standard deviation over ``settings.dp_clip``. ``rng`` must be one that nobody can foretell. Columns
    of B beyond ``settings.columns`` keep their bits. Raises :class:`LearningError` where B stops being finite.
    """
    trainable = model.trainable()
    optimiser = torch.optim.AdamW(trainable, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    held = model.hold(settings.columns)
    model.peft.train()
    begin = time.perf_counter()
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate(step, settings)
        drawn = np.flatnonzero(rng.random(len(rows)) < sampling)
        sums = [torch.zeros_like(b, dtype=torch.float32) for b in trainable]
        for at in range(0, len(drawn), settings.batch):
            batch = collate([rows[i] for i in drawn[at : at + settings.batch]], pad, model.device)
            for total, part in zip(sums, clipped_sums(model, batch, settings.dp_clip), strict=True):
                total += part
        for b, total in zip(trainable, sums, strict=True):
            drawn_noise = rng.standard_normal(tuple(b.shape)) * (noise * settings.dp_clip)
            total += torch.from_numpy(drawn_noise).to(total)
            b.grad = (total / (sampling * len(rows))).to(b)
        held.still()
        optimiser.step()
        held.restore()
        spent = time.perf_counter() - begin
        left = spent / (step + 1) * (settings.steps - step - 1)
        report(Progress("train", step + 1, settings.steps, seconds_left=left))
    optimiser.zero_grad(set_to_none=True)
    model.peft.eval()
    if not all(bool(torch.isfinite(b).all()) for b in trainable):
        raise LearningError("B stopped being finite", "Lower the learning rate")


def clipped_sums(model: AdaptedModel, batch: Batch, clip: float) -> list[Tensor]:
    """For each B in the layout's order, the sum over the rows of ``batch`` of that row's gradient of its own mean loss,
    all B of a row together shortened to the norm ``clip``; float32."""
    with _recorded(model) as parts:
        logits = model.peft(input_ids=batch.ids, attention_mask=batch.mask).logits
        row_losses(logits, batch.labels).sum().backward()
        gradients = [gradient() for gradient in parts]
    norms = torch.stack([each.flatten(1).norm(dim=1) for each in gradients]).norm(dim=0)
    factors = (clip / norms.clamp_min(1e-12)).clamp_max(1.0)
    factors = torch.where(torch.isfinite(norms), factors, 0.0)
    return [torch.einsum("n,nor->or", factors, each.nan_to_num(0.0, 0.0, 0.0)) for each in gradients]


def row_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Each row's mean loss in nats a predicted token, shape ``(rows,)``: no row's depends on another."""
    predicted, wanted = logits[:, :-1].float(), labels[:, 1:]
    each = torch.nn.functional.cross_entropy(
        predicted.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none"
    )
    return each.sum(dim=1) / (wanted != IGNORED).sum(dim=1).clamp_min(1)


@contextmanager
def _recorded(model: AdaptedModel) -> Iterator[list[Callable[[], Tensor]]]:
    """Within the block, after a backward pass, each entry gives one B's gradients by row, ``(rows, rows_out, rank)``.

    A row's gradient of a linear layer's weight is the product of what came into the layer and what came back to it,
    summed over the row's positions (Goodfellow 2015).
    """
    owners = {
        id(module.weight): module for module in model.peft.modules() if isinstance(module, torch.nn.Linear)
    }
    inputs: dict[int, Tensor] = {}
    returned: dict[int, Tensor] = {}
    handles = []

    def record(key: int) -> Callable[[torch.nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: torch.nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            inputs[key] = given[0].detach().float()
            output.register_hook(lambda gradient: returned.__setitem__(key, gradient.float()))

        return hook

    keys = [id(b) for b in model.trainable()]
    for key in keys:
        handles.append(owners[key].register_forward_hook(record(key)))
    try:
        yield [lambda key=key: torch.einsum("nlo,nlr->nor", returned[key], inputs[key]) for key in keys]  # type: ignore[misc]
    finally:
        for handle in handles:
            handle.remove()


def _pad(learner: Learner) -> int:
    tokenizer = learner.tokenizer
    return int(tokenizer.pad_token_id or tokenizer.eos_token_id or 0)
