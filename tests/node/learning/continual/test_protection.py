"""Each way to protect earlier tasks, against closed forms and finite differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from banyan.node.learning.adapter import AdaptedModel
from banyan.node.learning.base_model import load
from banyan.node.learning.continual.ewc import ElasticWeights, fisher
from banyan.node.learning.continual.memory import Task
from banyan.node.learning.continual.orthogonal import ENERGY, MOST, OrthogonalSteps, basis, join_spans
from banyan.node.learning.continual.replay import Replay
from banyan.node.learning.continual.reservoir import Reservoir
from banyan.node.learning.dataset import load_dataset
from banyan.node.learning.layout import Layout
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.shared_a import from_bytes
from banyan.node.learning.tokens import Example, examples
from banyan.node.learning.trainer import held_out_loss, train
from banyan.security.model import AdapterSpec, TensorSpec

SETTINGS = TrainingSettings(steps=6, batch=4, max_length=32, learning_rate=0.05, device="cpu")


@pytest.fixture(scope="module")
def model(tiny_model: Path, adapter: tuple[AdapterSpec, bytes]) -> AdaptedModel:
    spec, blob = adapter
    a = from_bytes(blob, spec.rank, spec.tensors)
    return AdaptedModel(
        load(tiny_model, "cpu").model, rank=spec.rank, scale=spec.scale, tensors=spec.tensors, shared_a=a
    )


@pytest.fixture
def rows(tiny_model: Path, some_rows: Path) -> list[Example]:
    return examples(load_dataset([some_rows]).training, load(tiny_model, "cpu").tokenizer, 32)


def random(model: AdaptedModel, seed: int, size: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, size, model.layout.dimension).astype(np.float32)


# ------------------------------------------------------------------------------------------------ replay


def kept(first: int, count: int) -> Task:
    sample = tuple(Example((first + at,), (first + at,)) for at in range(count))
    return Task("", 0, (b"x" * 32,), (), None, Reservoir(1, sample))


def test_replay_takes_turns_among_tasks_and_gives_every_row_its_turn() -> None:
    replay = Replay([kept(0, 5), kept(100, 10)], 0.75, seed=1, step=0, batch=4)
    given = Counter(row.ids[0] for _ in range(20) for row in replay.rows(4))
    assert sum(given.values()) == 60
    assert [given[number] for number in range(5)] == [6] * 5
    assert [given[100 + number] for number in range(10)] == [3] * 10


def test_replay_goes_on_in_a_later_round_where_it_stopped() -> None:
    tasks = [kept(0, 5), kept(100, 9)]
    whole = Replay(tasks, 0.7, seed=1, step=0, batch=4)
    later = Replay(tasks, 0.7, seed=1, step=5, batch=4)
    steps = [whole.rows(4) for _ in range(12)]
    assert [len(step) for step in steps] == [3] * 12
    assert [later.rows(4) for _ in range(7)] == steps[5:]
    assert Replay([], 1.0, seed=1, step=0, batch=4).rows(4) == []


# --------------------------------------------------------------------------------------------------- EWC


def test_the_spring_and_its_pull_are_those_of_the_formula(model: AdaptedModel) -> None:
    stiffness, anchor = random(model, 1) ** 2, random(model, 2)
    springs = ElasticWeights(model, stiffness, anchor, strength=3.0)
    b = random(model, 3)
    model.set_vector(b)
    energy = springs.penalty(model.trainable())
    assert energy.item() == pytest.approx(1.5 * float(np.sum(stiffness * (b - anchor) ** 2)), rel=1e-4)
    pulls = torch.autograd.grad(energy, model.trainable())
    flat = np.concatenate([pull.numpy().ravel() for pull in pulls])
    np.testing.assert_allclose(flat, 3.0 * stiffness * (b - anchor), rtol=1e-3, atol=1e-7)


def test_fisher_information_is_the_curvature_of_the_loss_against_the_models_own_words(
    model: AdaptedModel, rows: list[Example]
) -> None:
    """Along a direction d, the mean of many draws of dᵀFd is the second difference of the KL divergence from the
    model as it was: F is the Fisher information, in nats a token. The diagonal is compared number by number, so d has
    one entry."""
    b = random(model, 4)
    one = rows[:1]
    model.set_vector(b)
    estimate = np.mean([fisher(model, one, seed=seed) for seed in range(200)], axis=0)
    at = int(np.argmax(estimate))
    step = np.zeros_like(b)
    step[at] = 0.05

    def logits(vector: np.ndarray) -> torch.Tensor:
        model.set_vector(vector)
        ids, labels = torch.tensor([one[0].ids]), torch.tensor(one[0].labels)
        with torch.no_grad():
            return model.peft(input_ids=ids).logits[0, :-1][labels[1:] >= 0].double().log_softmax(-1)

    here = logits(b)
    divergence = sum(
        float((here.exp() * (here - logits(b + sign * step))).sum(-1).mean()) for sign in (1, -1)
    )
    assert estimate[at] == pytest.approx(divergence / 0.05**2, rel=0.2)


def test_a_stiff_spring_keeps_b_where_it_was(model: AdaptedModel, rows: list[Example]) -> None:
    start = random(model, 5)
    moved = []
    for strength in (0.0, 1e4):
        model.set_vector(start)
        springs = ElasticWeights(model, np.ones_like(start), start, strength)
        train(model, rows, SETTINGS, seed=1, protection=springs)
        moved.append(float(np.linalg.norm(model.vector() - start)))
    assert moved[1] < 0.3 * moved[0]


# -------------------------------------------------------------------------------------------- orthogonal


def test_what_a_task_changes_is_orthogonal_to_what_earlier_ones_changed(
    model: AdaptedModel, rows: list[Example]
) -> None:
    anchor, span = random(model, 6), random(model, 7)
    for matrix in model.layout.split(span).values():
        matrix[:, 2:] = 0  # earlier tasks wrote in two directions
    model.set_vector(anchor)
    train(model, rows, SETTINGS, seed=1, protection=OrthogonalSteps(model, span, anchor))
    change = model.layout.split(model.vector() - anchor)
    assert any(np.linalg.norm(part) > 0.1 for part in change.values())
    for name, earlier in model.layout.split(span).items():
        overlap = np.linalg.norm(basis(earlier).T @ change[name])
        assert overlap < 1e-5 * max(1.0, np.linalg.norm(change[name]))


def test_a_basis_holds_the_energy_and_leaves_room() -> None:
    rng = np.random.default_rng(1)
    u = np.linalg.qr(rng.normal(size=(20, 4)))[0]
    matrix = (u * [10, 5, 0.1, 0.01] @ rng.normal(size=(4, 4))).astype(np.float32)
    found = basis(matrix)
    np.testing.assert_allclose(found.T @ found, np.eye(found.shape[1]), atol=1e-6)
    assert np.linalg.norm(found.T @ matrix) ** 2 >= ENERGY * np.linalg.norm(matrix) ** 2
    assert basis(rng.normal(size=(6, 6)).astype(np.float32)).shape[1] <= MOST * 6
    assert basis(np.zeros((6, 2), np.float32)).shape == (6, 0)


def test_spans_join_into_one_that_holds_both_where_the_rank_allows() -> None:
    layout = Layout(4, [TensorSpec("w", 12, 4)])
    rng = np.random.default_rng(2)
    old, new = (rng.normal(size=(12, 2)).astype(np.float32) for _ in range(2))
    wide = [np.hstack([part, np.zeros_like(part)]).ravel() for part in (old, new)]
    joined = join_spans(layout, wide[0], wide[1]).reshape(12, 4)
    both = np.hstack([old, new])
    np.testing.assert_allclose(joined @ joined.T, both @ both.T, atol=1e-4)
    np.testing.assert_array_equal(join_spans(layout, None, wide[1]), wide[1])


def test_rows_that_are_replayed_are_trained_on(
    model: AdaptedModel, rows: list[Example], write_rows: Callable[..., Path], tiny_model: Path
) -> None:
    other = write_rows([{"text": f"zz {i} zz"} for i in range(20)], "other.jsonl")
    news = examples(load_dataset([other]).training, load(tiny_model, "cpu").tokenizer, 32)
    losses = []
    for ratio in (0.0, 1.0):
        model.set_vector(np.zeros(model.layout.dimension, np.float32))
        past = Task("", 0, (b"x" * 32,), (), None, Reservoir(1, tuple(rows)))
        done = train(model, news, SETTINGS, seed=1, protection=Replay([past], ratio, seed=1, step=0, batch=4))
        assert done.rows == 24
        losses.append(held_out_loss(model, rows, SETTINGS)[0])
    assert losses[1] < losses[0] - 0.03
