"""The training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from banyan.node.learning.base_model import load
from banyan.node.learning.errors import DataError, JobCancelled, LearningError
from banyan.node.learning.learner import Learner
from banyan.node.learning.progress import Progress, listening
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.shared_a import from_bytes
from banyan.node.learning.tokens import IGNORED, Example
from banyan.node.learning.trainer import collate, held_out_loss, rate, row_order
from banyan.security.model import AdapterSpec

SETTINGS = TrainingSettings(steps=8, batch=4, max_length=32, learning_rate=0.05, device="cpu")


@pytest.fixture(scope="module")
def learner(tiny_model: Path, adapter: tuple[AdapterSpec, bytes]) -> Learner:
    spec, blob = adapter
    a = from_bytes(blob, spec.rank, spec.tensors)
    return Learner(
        load(tiny_model, "cpu"), rank=spec.rank, scale=spec.scale, tensors=spec.tensors, shared_a=a
    )


@pytest.fixture
def zero(learner: Learner) -> np.ndarray:
    return np.zeros(learner.model.layout.dimension, np.float32)


def test_training_lowers_the_held_out_loss(learner: Learner, zero: np.ndarray, some_rows: Path) -> None:
    vector, metrics = learner.train(zero, [some_rows], SETTINGS, seed=1)
    assert metrics["loss_after"] < metrics["loss_before"] - 0.1
    assert (metrics["steps"], metrics["rows"]) == (8, 32)
    assert metrics["tokens"] > 0
    again = learner.evaluate(vector, [some_rows], SETTINGS)
    assert again["loss"] == pytest.approx(metrics["loss_after"])


def test_the_same_seed_gives_the_same_b_to_the_last_bit(
    learner: Learner, zero: np.ndarray, some_rows: Path
) -> None:
    one, _ = learner.train(zero, [some_rows], SETTINGS, seed=1)
    two, _ = learner.train(zero, [some_rows], SETTINGS, seed=1)
    other, _ = learner.train(zero, [some_rows], SETTINGS, seed=2)
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_mixed_precision_trains_as_well_and_keeps_b_in_float32(
    learner: Learner, zero: np.ndarray, some_rows: Path
) -> None:
    _, full = learner.train(zero, [some_rows], SETTINGS, seed=1)
    _, mixed = learner.train(zero, [some_rows], replace(SETTINGS, precision="bfloat16"), seed=1)
    assert mixed["loss_after"] == pytest.approx(full["loss_after"], rel=0.05)
    assert mixed["loss_after"] != full["loss_after"]
    assert all(b.dtype == torch.float32 for b in learner.model.trainable())


def test_a_stays_what_the_network_shares(learner: Learner, zero: np.ndarray, some_rows: Path) -> None:
    def all_a() -> list[np.ndarray]:
        return [p.numpy().copy() for name, p in learner.model.peft.named_parameters() if "lora_A" in name]

    before = all_a()
    learner.train(zero, [some_rows], SETTINGS, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(before, all_a(), strict=True))


def test_progress_tells_step_loss_rate_and_time_left(
    learner: Learner, zero: np.ndarray, some_rows: Path
) -> None:
    heard: list[Progress] = []
    with listening(heard.append):
        learner.train(zero, [some_rows], SETTINGS, seed=1)
    steps = [progress for progress in heard if progress.phase == "train"]
    assert [progress.step for progress in steps] == list(range(1, 9))
    assert all(progress.loss and progress.rows_per_second > 0 for progress in steps)
    assert steps[-1].seconds_left == 0


def test_a_listener_can_cancel_the_job(learner: Learner, zero: np.ndarray, some_rows: Path) -> None:
    def enough(progress: Progress) -> None:
        if progress.phase == "train" and progress.step == 3:
            raise JobCancelled("enough")

    with listening(enough), pytest.raises(JobCancelled):
        learner.train(zero, [some_rows], SETTINGS, seed=1)


def test_a_loss_that_is_not_finite_ends_training_with_advice(
    learner: Learner, zero: np.ndarray, some_rows: Path
) -> None:
    with pytest.raises(LearningError, match="Lower the learning rate"):
        learner.train(np.full_like(zero, 1e30), [some_rows], SETTINGS, seed=1)


def test_rows_longer_than_the_models_context_are_cut_to_it(
    learner: Learner, zero: np.ndarray, write_rows: Callable[..., Path]
) -> None:
    data = write_rows([{"prompt": f"{i}", "response": "a" * 1000} for i in range(3)])
    measured = learner.evaluate(zero, [data], replace(SETTINGS, max_length=500))
    assert measured["tokens"] < 128


def test_changed_data_is_read_again(learner: Learner, zero: np.ndarray, some_rows: Path) -> None:
    learner.evaluate(zero, [some_rows], SETTINGS)
    some_rows.write_text('{"text": "only one"}\n')
    with pytest.raises(DataError, match="no row is held out"):
        learner.evaluate(zero, [some_rows], SETTINGS)


def test_a_later_round_goes_on_where_the_earlier_ended() -> None:
    whole = list(islice(row_order(10, 3), 35))
    assert list(islice(row_order(10, 3, first=17), 18)) == whole[17:]
    assert sorted(whole[:10]) == sorted(whole[10:20]) == list(range(10))
    assert whole[:10] != whole[10:20]


def test_the_rate_rises_to_its_peak_and_falls_to_its_end() -> None:
    settings = replace(SETTINGS, steps=100, warmup=0.1, final_rate=0.2)
    rates = [rate(step, settings) for step in range(100)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.2, abs=0.01)
    assert rate(0, replace(settings, steps=1)) > 0


def test_padding_is_masked_and_never_a_target() -> None:
    batch = collate([Example((5, 6, 7), (IGNORED, 6, 7)), Example((8,), (8,))], 0, torch.device("cpu"))
    assert batch.ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch.mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.labels.tolist() == [[IGNORED, 6, 7], [8, IGNORED, IGNORED]]
    assert (batch.rows, batch.tokens) == (2, 4)


def test_the_held_out_loss_does_not_depend_on_the_batches(learner: Learner, zero: np.ndarray) -> None:
    learner.model.set_vector(zero)
    rows = [Example(tuple(range(5, 5 + n)), tuple(range(5, 5 + n))) for n in (3, 9, 4, 7, 12)]
    one, tokens = held_out_loss(learner.model, rows, replace(SETTINGS, batch=1))
    all_at_once, _ = held_out_loss(learner.model, rows, replace(SETTINGS, batch=5))
    assert one == pytest.approx(all_at_once, rel=1e-5)
    assert tokens == 30


def test_nothing_to_measure_on_is_not_a_loss_of_zero(learner: Learner) -> None:
    loss, tokens = held_out_loss(learner.model, [], SETTINGS)
    assert math.isnan(loss)
    assert tokens == 0


def test_an_answer_is_generated_without_the_prompt(learner: Learner, zero: np.ndarray) -> None:
    answer = learner.generate(zero, "What is 1 + 1?", 5)
    assert isinstance(answer, str)
    assert "What" not in answer
