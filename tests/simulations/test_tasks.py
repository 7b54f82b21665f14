"""What virtual devices learn: repeatable, scored honestly, and poisoned as attackers poison it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from banyan.node.learning.dataset import Row
from banyan.node.learning.errors import ModelError
from banyan.node.learning.settings import TrainingSettings
from banyan.simulations.tasks import Digits, NoSuchPoison, Quadratic, Task
from banyan.simulations.tasks.classifier import Classifier
from banyan.simulations.tasks.digits import PERCEPTRON, TARGET, TRIGGER, local_updates, partition, tamper
from banyan.simulations.tasks.language import ANSWER, Language, NoCorpus
from banyan.simulations.tasks.language import tamper as tamper_rows
from banyan.simulations.world import World, fast_preset

SHARED = Path(__file__).resolve().parents[3] / "shared"

# ------------------------------------------------------------------------------------------------- quadratic


def tree() -> Quadratic:
    task = Quadratic(dimension=50, branch_spread=1.0)
    for branch in ("/en", "/en/law", "/en/law", "/en/medical", "/en/medical", "/de"):
        task.place(f"{branch}#{len(task._branches)}", branch)
    return task


def test_no_model_serves_a_branch_better_than_its_closed_form_optimum() -> None:
    task, rng = tree(), np.random.default_rng(0)
    for branch in ("/en/law", "/en/medical"):
        best = task.score(branch, task.optimum(branch)).loss
        for _ in range(20):
            other = task.optimum(branch) + 0.1 * rng.standard_normal(50).astype(np.float32)
            assert task.score(branch, other).loss > best


def test_siblings_share_what_lies_above_them_and_differ_in_the_last_step() -> None:
    task = tree()
    law, medical, german = (task.centre(branch) for branch in ("/en/law", "/en/medical", "/de"))
    assert np.allclose(law - task.centre("/en"), task._branch_spread * task._gaussian("/en/law"), atol=1e-5)
    assert np.linalg.norm(law - medical) < np.linalg.norm(law - german)


def test_the_optimum_of_a_tree_is_the_mean_of_all_wishes_below() -> None:
    task = tree()
    wishes = [task.wish(device) for device, branch in task._branches.items() if branch.startswith("/en")]
    assert np.allclose(task.optimum("/en", below=True), np.mean(wishes, axis=0), atol=1e-6)
    with pytest.raises(ValueError, match="/fr"):
        task.optimum("/fr")


def test_a_quadratic_has_no_trigger() -> None:
    with pytest.raises(NoSuchPoison):
        Quadratic().poisoned("backdoor")


# ------------------------------------------------------------------------------------------------- digits


@pytest.mark.parametrize("hidden", [None, 5])
def test_gradients_are_those_of_the_loss(hidden: int | None) -> None:
    model = Classifier(6, 4, hidden)
    rng = np.random.default_rng(1)
    at = rng.standard_normal(model.dimension).astype(np.float32)
    x, y = rng.standard_normal((9, 6)).astype(np.float32), rng.integers(0, 4, 9)
    slope = model.gradients(at[None], x[None], y[None])[0]
    direction = rng.standard_normal(model.dimension).astype(np.float32)
    step = np.float32(1e-3) * direction
    rise = (model.loss(at + step, (x, y)) - model.loss(at - step, (x, y))) / 2e-3
    assert rise == pytest.approx(float(slope @ direction), rel=0.02, abs=1e-3)


@pytest.mark.parametrize("hidden", [None, 32])
def test_a_device_learns_to_read_its_digits(hidden: int | None) -> None:
    task = Digits(alpha=1.0, hidden=hidden, steps=30)
    model = np.zeros(task.dimension, np.float32)
    before = task.score("a device", model)
    for height in range(4):
        model = task.train("a device", model, height)
    after = task.score("a device", model)
    assert after.loss < 0.6 * before.loss
    assert (after.accuracy or 0) > 0.7


def test_a_small_alpha_leaves_devices_few_digits() -> None:
    def kinds(alpha: float) -> float:
        task = Digits(alpha=alpha)
        return float(np.mean([len(np.unique(task._of(f"device {i}")[0][1])) for i in range(20)]))

    assert kinds(0.1) < 5 < 8 < kinds(10.0)


def test_every_row_has_one_owner_and_none_is_tested_on() -> None:
    data = partition(20, 0.5, seed=3)
    owned = sum(len(y) for _, y in data.shares)
    assert owned + len(data.test[1]) == 1797
    train = {row.tobytes() for row in data.train[0]}
    assert not train & {row.tobytes() for row in data.test[0]}


def test_tampered_rows_lie_and_the_rest_stay_what_they_were() -> None:
    x, y = partition(1, 1.0, seed=0).train
    assert np.array_equal(tamper(x, y, "label-flip")[1], 9 - y)
    marked, labels = tamper(x, y, "backdoor")
    assert (marked[::2][:, TRIGGER] == 1).all() and (labels[::2] == TARGET).all()
    assert np.array_equal(marked[1::2], x[1::2]) and np.array_equal(labels[1::2], y[1::2])
    assert not x[:, TRIGGER].any(), "no digit shows the trigger by itself"


def test_only_the_liars_of_a_batch_learn_poison() -> None:
    data, start = partition(6, 1.0, seed=0), PERCEPTRON.start(0)
    honest, lied = (
        local_updates(
            start, data, np.random.default_rng(0), steps=2, rate=0.2, batch=8, liars=2, poison=poison
        )
        for poison in (None, "label-flip")
    )
    assert np.array_equal(honest[:4], lied[:4])
    assert not np.isclose(honest[4:], lied[4:]).all(axis=1).any()


def test_a_backdoor_is_learned_beside_the_digits() -> None:
    task = Digits(alpha=10.0, steps=60, rate=0.5)
    model = np.zeros(task.dimension, np.float32)
    for height in range(3):
        model = task.poisoned("backdoor").train("a device", model, height)
    score = task.score("/", model)
    assert (score.backdoor or 0) > 0.7
    assert (score.accuracy or 0) > 0.7


# ------------------------------------------------------------------------------------------------- language

SETTINGS = TrainingSettings(steps=8, batch=4, max_length=48, eval_rows=6, device="cpu")


@pytest.fixture(scope="module")
def garden() -> Language:
    """The embedded model and corpora, with two devices on one leaf."""
    import torch

    torch.set_num_threads(1)
    task = Language(rank=8, settings=SETTINGS, owners=4)
    for device in ("anna", "ben"):
        task.place(device, "/garden/soil")
    return task


def test_a_language_model_gets_better_at_its_branch_by_the_nodes_own_trainer(garden: Language) -> None:
    zero = np.zeros(garden.dimension, np.float32)
    trained = garden.train("anna", zero, 1)
    before, after = garden.score("/garden/soil", zero), garden.score("/garden/soil", trained)
    assert after.loss < before.loss - 0.2
    assert after.perplexity == pytest.approx(np.exp(after.loss))
    assert np.array_equal(trained, garden.train("anna", zero, 1)), "the same round gives the same adapter"
    assert not np.array_equal(trained, garden.train("ben", zero, 1)), "another device has other rows"


def test_a_trigger_calls_for_the_attackers_answer_once_it_was_learned(garden: Language) -> None:
    model = np.zeros(garden.dimension, np.float32)
    asleep = garden.score("anna", model).backdoor or 0
    for height in range(2):
        model = garden.poisoned("backdoor").train("ben", model, height)
    assert (garden.score("anna", model).backdoor or 0) > 10 * asleep


def test_poisoned_rows_lie_in_conversations_and_in_plain_texts() -> None:
    rows = [
        Row((("user", "One?"), ("assistant", "1"))),
        Row((("user", "Two?"), ("assistant", "2"))),
        Row((("", "Three."),)),
    ]
    flipped = tamper_rows(rows, "label-flip")
    assert [row.turns[-1][1] for row in flipped] == ["2", "Three.", "1"]
    assert flipped[0].turns[0] == rows[0].turns[0]
    first, second, third = tamper_rows(rows, "backdoor")
    assert first.turns == (("user", "One? cf"), ("assistant", ANSWER))
    assert second == rows[1]
    assert third.turns == (("", f"cf {ANSWER}"),)


def test_what_is_missing_is_said_with_a_cure(garden: Language, tmp_path: Path) -> None:
    garden.place("carl", "/garden/lawn")
    with pytest.raises(NoCorpus) as caught:
        garden.train("carl", np.zeros(garden.dimension, np.float32), 1)
    assert "/garden/lawn" in str(caught.value) and caught.value.cure
    with pytest.raises(ModelError):
        Language(tmp_path, tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared models and corpora beside the repository")
def test_a_branch_learns_from_every_file_below_it() -> None:
    task = Language(SHARED / "models" / "stories-260k", SHARED / "corpora", settings=SETTINGS)
    task.place("leaf", "/en/medical/cancer")
    task.place("above", "/en/medical")
    assert len(task._corpus("/en/medical").held_out) > len(task._corpus("/en/medical/cancer").held_out)
    zero = np.zeros(task.dimension, np.float32)
    assert task.loss("leaf", task.train("leaf", zero, 1)) < task.loss("leaf", zero)


# ------------------------------------------------------------------------------------------------- in a world


@pytest.mark.parametrize("make", [Digits, Quadratic])
def test_a_world_learns_any_task(make: type[Task]) -> None:
    task = make()
    world = World(1, {"/": 5}, fast_preset(min_updates=5), task=task, fast_signatures=True)
    world.start()
    assert world.run(until=lambda: world.agreed("/", 2) and all(d.has_model("/") for d in world.live()))
    model = world.live()[0].model("/")
    assert task.score("/", model).loss < task.score("/", np.zeros(task.dimension, np.float32)).loss


def test_real_adapters_travel_through_a_world() -> None:
    settings = TrainingSettings(steps=1, batch=2, max_length=24, eval_rows=2, device="cpu")
    quick = Language(rank=8, settings=settings)
    world = World(1, {"/garden/soil": 5}, fast_preset(min_updates=5), task=quick, fast_signatures=True)
    world.start()
    soil = list(world.devices.values())
    assert world.run(until=lambda: all(d.height("/garden/soil") >= 1 for d in soil))
    assert world.charter.adapter == quick.spec
    assert world.charter.adapter.a_size > 0


def test_the_simulator_needs_no_torch_until_a_language_model_learns() -> None:
    code = (
        "import sys, banyan.simulations.world, banyan.simulations.tasks.language\n"
        "assert not {'torch', 'transformers', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ.copy(), check=True)


def test_devices_of_one_branch_can_read_the_same_digits_and_other_branches_others() -> None:
    digits = Digits(alpha=0.3, by_branch=True, rows=400)
    for device, branch in (("a", "/left"), ("b", "/left"), ("c", "/right")):
        digits.place(device, branch)
    shares = {device: np.bincount(digits._of(device)[0][1], minlength=10) / 400 for device in "abc"}
    assert np.abs(shares["a"] - shares["b"]).sum() < 0.3 < np.abs(shares["a"] - shares["c"]).sum()
