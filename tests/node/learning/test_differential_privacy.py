"""What differential privacy promises: bounded influence of a row, right noise, a budget that is kept."""

import json
import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from banyan.node.learning.base_model import load
from banyan.node.learning.differential_privacy import clipped_sums, row_losses, train_dp, train_with_privacy
from banyan.node.learning.errors import LearningError
from banyan.node.learning.learner import Learner
from banyan.node.learning.privacy_budget import (
    Ledger,
    Plan,
    Spend,
    epsilon,
    noise_for,
)
from banyan.node.learning.privacy_budget import (
    load as load_ledger,
)
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.shared_a import from_bytes
from banyan.node.learning.tokens import Example
from banyan.node.learning.trainer import collate

pytest.importorskip("opacus")

CPU = torch.device("cpu")


@pytest.fixture
def learner(tiny_model, adapter):
    spec, blob = adapter
    made = Learner(
        load(tiny_model, "cpu"),
        rank=spec.rank,
        scale=spec.scale,
        tensors=spec.tensors,
        shared_a=from_bytes(blob, spec.rank, spec.tensors),
    )
    made.model.set_vector(
        np.random.default_rng(0).normal(0, 0.1, spec.dimension).astype(np.float32)
    )  # at zero some gradients vanish
    return made


def some(lengths):
    rng = np.random.default_rng(1)
    rows = [tuple(int(token) for token in rng.integers(5, 250, length)) for length in lengths]
    return [Example(row, row) for row in rows]


def one_by_one(model, example):
    batch = collate([example], 0, CPU)
    logits = model.peft(input_ids=batch.ids, attention_mask=batch.mask).logits
    return torch.autograd.grad(row_losses(logits, batch.labels).sum(), model.trainable())


def test_each_rows_gradient_is_its_own_and_shortened_before_it_is_summed(learner):
    model, rows = learner.model, some([9, 30, 17])
    singles = [one_by_one(model, row) for row in rows]
    norms = [math.sqrt(sum(float(part.square().sum()) for part in single)) for single in singles]
    clip = sorted(norms)[1]  # one is left as it is, one is at the edge, one is shortened
    found = clipped_sums(model, collate(rows, 0, CPU), clip)
    for i, part in enumerate(found):
        expected = sum(single[i] * min(1.0, clip / norm) for single, norm in zip(singles, norms, strict=True))
        torch.testing.assert_close(part, expected, rtol=1e-3, atol=1e-5)


def test_one_row_moves_the_sum_by_no_more_than_the_clip(learner):
    model, rows = learner.model, some([20, 20, 64])
    with_it = clipped_sums(model, collate(rows, 0, CPU), 0.01)
    without = clipped_sums(model, collate(rows[:2], 0, CPU), 0.01)
    moved = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(with_it, without, strict=True)))
    assert moved <= 0.01 * 1.001


def test_the_loss_of_a_row_is_that_of_the_model_alone_with_it(learner):
    batch = collate(some([12]), 0, CPU)
    out = learner.model.peft(input_ids=batch.ids, attention_mask=batch.mask, labels=batch.labels)
    torch.testing.assert_close(row_losses(out.logits, batch.labels)[0], out.loss)


def test_the_noise_has_the_size_that_was_asked_for(learner):
    """With no row drawn a step of plain SGD would be the noise alone; AdamW's first step hides it, so look at it."""
    model = learner.model
    seen = []

    class Spy(np.random.Generator):
        def standard_normal(self, *size):
            drawn = super().standard_normal(*size)
            seen.append(drawn.size)
            return drawn

    settings = TrainingSettings(steps=1, batch=2, learning_rate=0.01, dp_clip=0.5)
    before = model.vector()
    train_dp(model, some([9] * 4), settings, noise=2.0, sampling=1e-9, rng=Spy(np.random.PCG64(1)))
    assert sum(seen) == model.layout.dimension
    assert np.count_nonzero(model.vector() - before) == model.layout.dimension  # every number got noise


def exact_epsilon(noise, delta):
    """Of one Gaussian mechanism, in closed form (Balle and Wang 2018, theorem 8)."""
    normal = NormalDist().cdf

    def spent(eps):
        return normal(0.5 / noise - eps * noise) - math.exp(eps) * normal(-0.5 / noise - eps * noise)

    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= delta else (middle, high)
    return high


def test_the_epsilon_bounds_the_exact_one_of_the_gaussian_mechanism_closely():
    for noise in (1.0, 2.0, 5.0, 20.0):
        exact = exact_epsilon(noise, 1e-5)
        assert exact <= epsilon([Spend(noise, 1.0, 1)], 1e-5) <= 1.25 * exact
        repeated = epsilon([Spend(noise * 10, 1.0, 100)], 1e-5)  # composes to the same mechanism
        assert repeated == pytest.approx(epsilon([Spend(noise, 1.0, 1)], 1e-5), rel=1e-6)


def test_the_epsilon_of_sampled_steps_is_no_more_than_the_published_one():
    """Abadi et al. 2016, section 5: q = 0.01, σ = 4, 10,000 steps, δ = 1e-5 gave 1.26; the conversion got tighter."""
    assert 0.9 < epsilon([Spend(4.0, 0.01, 10_000)], 1e-5) <= 1.26
    assert epsilon([], 1e-5) == 0.0


def test_the_noise_is_the_least_that_keeps_within_the_plan():
    ledger = Ledger().under(Plan(2.0, 1e-5, 3))
    for _ in range(3):
        noise = noise_for(ledger, 0.1, 20)
        ledger = ledger.after(Spend(noise, 0.1, 20))
    assert 1.9 < epsilon(ledger.spent, 1e-5) <= 2.0
    with pytest.raises(LearningError, match="budget is spent"):
        noise_for(ledger, 0.1, 20)
    raised = ledger.under(Plan(4.0, 1e-5, 1))
    assert epsilon([*ledger.spent, Spend(noise_for(raised, 0.1, 20), 0.1, 20)], 1e-5) <= 4.0


def test_what_is_spent_is_kept_across_runs_and_ends_training(learner, some_rows, tmp_path):
    ledger = tmp_path / "privacy.json"
    settings = TrainingSettings(
        steps=8, batch=8, max_length=48, learning_rate=0.02, dp_epsilon=8.0, dp_rounds=2
    )
    start = np.zeros(learner.model.layout.dimension, np.float32)
    once, metrics = train_with_privacy(learner, start, [some_rows], settings, ledger)
    assert 0 < metrics["dp_epsilon"] < 8
    assert "loss_after" not in metrics  # the core would announce it
    assert metrics["dp_loss_after"] < metrics["dp_loss_before"]
    twice, second = train_with_privacy(learner, once, [some_rows], settings, ledger)
    assert metrics["dp_epsilon"] < second["dp_epsilon"] <= 8
    assert not np.array_equal(once, twice)
    with pytest.raises(LearningError, match=r"spent: ε = [78]\.\d\d of 8"):
        train_with_privacy(learner, twice, [some_rows], settings, ledger)
    assert load_ledger(ledger).rounds == 2

    ledger.write_text(json.dumps({"spent": "much"}))
    with pytest.raises(LearningError, match="cannot be read"):
        train_with_privacy(learner, twice, [some_rows], settings, ledger)


def test_noise_is_never_the_same_twice(learner, some_rows, tmp_path):
    settings = TrainingSettings(steps=2, batch=4, max_length=48, dp_epsilon=8.0)
    start = np.zeros(learner.model.layout.dimension, np.float32)
    one, other = (
        train_with_privacy(learner, start, [some_rows], settings, tmp_path / name)[0] for name in "ab"
    )
    assert not np.array_equal(one, other)
