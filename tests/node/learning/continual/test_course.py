"""A second lesson keeps the first, through the learner, the job and the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from banyan.node.learning.base_model import load
from banyan.node.learning.blobs import read_blob
from banyan.node.learning.continual.memory import load as load_memory
from banyan.node.learning.continual.memory import place as memory_place
from banyan.node.learning.continual.orthogonal import basis
from banyan.node.learning.continual.rejected import Rejected, listed
from banyan.node.learning.flower import LocalClient, load_app
from banyan.node.learning.learner import Learner
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.shared_a import from_bytes
from banyan.node.learning.train_job import train
from banyan.node.learning.workplace import OWN_APP, Workplace
from banyan.protocol.delta import read_delta
from banyan.protocol.effects import Train, Trained
from banyan.security.model import AdapterSpec

NAIVE = TrainingSettings(
    steps=40, batch=4, max_length=24, learning_rate=0.05, device="cpu", continual="none", gate_tries=0
)


@pytest.fixture(scope="module")
def learner(tiny_model: Path, adapter: tuple[AdapterSpec, bytes]) -> Learner:
    spec, blob = adapter
    a = from_bytes(blob, spec.rank, spec.tensors)
    return Learner(
        load(tiny_model, "cpu"), rank=spec.rank, scale=spec.scale, tensors=spec.tensors, shared_a=a
    )


@pytest.fixture
def lessons(write_rows: Callable[..., Path]) -> tuple[Path, Path]:
    """Two sources that contradict each other: the same question, another answer."""
    first = write_rows([{"prompt": f"{i}?", "response": "aaaaaaaa"} for i in range(40)], "first.jsonl")
    second = write_rows([{"prompt": f"{i}!", "response": "bbbbbbbb"} for i in range(40)], "second.jsonl")
    return first, second


def two_lessons(
    learner: Learner, lessons: tuple[Path, Path], memory: Path, settings: TrainingSettings
) -> tuple[float, float, dict[str, float]]:
    """The first source's rise, the second's gain, and the second training's metrics."""
    zero = np.zeros(learner.model.layout.dimension, np.float32)
    b, first = learner.train(zero, lessons[:1], settings, seed=1, memory=memory)
    b, second = learner.train(b, lessons[1:], settings, seed=1, memory=memory)
    after = learner.evaluate(b, lessons[:1], settings)["loss"]
    return after - first["loss_after"], second["loss_before"] - second["loss_after"], second


def test_a_second_lesson_keeps_the_first_where_naive_training_loses_it(
    learner: Learner, lessons: tuple[Path, Path], tmp_path: Path
) -> None:
    lost, naive_gain, _ = two_lessons(learner, lessons, tmp_path / "naive", NAIVE)
    kept, gain, metrics = two_lessons(
        learner, lessons, tmp_path / "replay", replace(NAIVE, continual="replay", gate_tries=5)
    )
    assert lost > 0.2
    assert kept < 0.1 * lost
    assert gain > 0.9 * naive_gain
    assert (metrics["gate_passed"], metrics["tasks"]) == (1.0, 2.0)


def test_springs_of_the_first_lesson_hold_b_back_in_the_second(
    learner: Learner, lessons: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = replace(NAIVE, continual="ewc", steps=10)
    kept = {
        strength: two_lessons(
            learner, lessons, tmp_path / f"{strength}", replace(settings, ewc_strength=strength)
        )[0]
        for strength in (0.0, 1e6)
    }
    assert kept[1e6] < kept[0.0] - 0.02


def test_springs_chosen_late_weigh_what_came_before(
    learner: Learner, lessons: tuple[Path, Path], tmp_path: Path
) -> None:
    brief = replace(NAIVE, steps=2)
    two_lessons(learner, lessons, tmp_path / "m", brief)
    size = learner.model.layout.dimension
    assert load_memory(tmp_path / "m", size).fisher is None
    start = np.zeros(size, np.float32)
    learner.train(start, lessons[1:], replace(brief, continual="ewc"), seed=1, memory=tmp_path / "m")
    memory = load_memory(tmp_path / "m", size)
    assert memory.fisher is not None
    assert memory.fisher.max() > 0
    np.testing.assert_array_equal(memory.anchor, start)


def test_the_second_lesson_writes_where_the_first_has_not(
    learner: Learner, lessons: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = replace(NAIVE, continual="orthogonal", steps=5)
    start = np.zeros(learner.model.layout.dimension, np.float32)
    first, _ = learner.train(start, lessons[:1], settings, seed=1, memory=tmp_path / "m")
    second, _ = learner.train(first, lessons[1:], settings, seed=1, memory=tmp_path / "m")
    earlier, later = (learner.model.layout.split(change) for change in (first, second - first))
    overlaps = [
        np.linalg.norm(basis(earlier[name]).T @ later[name]) / np.linalg.norm(later[name]) for name in later
    ]
    assert max(overlaps) < 1e-3


def test_the_gate_lets_through_the_share_that_forgets_no_more_than_allowed(
    learner: Learner, lessons: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = replace(NAIVE, gate_tries=6, continual_epsilon=0.2)
    rise, gain, metrics = two_lessons(learner, lessons, tmp_path / "gated", settings)
    assert 0 < metrics["gate_share"] < 1
    assert rise <= 0.2 + 1e-4
    assert metrics["gate_rise"] == pytest.approx(rise, abs=1e-4)
    assert metrics["gate_evaluations"] == 8
    assert gain > 0


def test_rounds_of_one_source_are_one_task_and_a_repeated_round_changes_nothing(
    learner: Learner, lessons: tuple[Path, Path], tmp_path: Path
) -> None:
    memory, settings = tmp_path / "m", replace(NAIVE, continual="replay", steps=3)
    zero = np.zeros(learner.model.layout.dimension, np.float32)
    b, _ = learner.train(zero, lessons[:1], settings, seed=1, memory=memory)
    b, metrics = learner.train(b, lessons[:1], settings, seed=1, first_row=12, memory=memory)
    assert metrics["tasks"] == 1
    one, _ = learner.train(b, lessons[1:], settings, seed=1, memory=memory)
    once = load_memory(memory, zero.size)
    two, metrics = learner.train(b, lessons[1:], settings, seed=1, memory=memory)  # as after a crash
    np.testing.assert_array_equal(one, two)
    assert metrics["tasks"] == 2
    assert load_memory(memory, zero.size).tasks == once.tasks


def test_a_damaged_memory_is_set_aside_and_begun_anew(
    learner: Learner, lessons: tuple[Path, Path], tmp_path: Path
) -> None:
    memory = tmp_path / "a.memory"
    memory.write_bytes(b"rubbish")
    zero = np.zeros(learner.model.layout.dimension, np.float32)
    _, metrics = learner.train(zero, lessons[:1], replace(NAIVE, steps=2), seed=1, memory=memory)
    assert (metrics["memory_damaged"], metrics["tasks"]) == (1.0, 1.0)
    assert memory.with_suffix(".damaged").read_bytes() == b"rubbish"
    assert len(load_memory(memory, zero.size).tasks) == 1


def test_a_rejected_version_is_kept_aside_with_its_figures_and_not_published(
    place: Workplace, lessons: tuple[Path, Path], tmp_path: Path
) -> None:
    here = replace(place, memory=tmp_path / "memory")
    client = LocalClient(load_app(OWN_APP), here)
    done = train(Train("/en", 1, b"b" * 32, (), ()), here, client, data=lessons[:1], settings=NAIVE)
    assert isinstance(done, Trained)
    remembered = memory_place(tmp_path / "memory", "/en").read_bytes()
    carry = (done.blob, done.carry)
    strict = replace(NAIVE, continual_epsilon=0.0, gate_tries=1)
    assert isinstance(here.blobs, MemoryBlobs)
    stored = set(here.blobs.data)
    job = Train("/en", 2, b"b" * 32, (), carry)
    version = train(job, here, client, data=lessons[1:], settings=strict)
    assert isinstance(version, Rejected)
    assert version.rise > 0.2
    assert "kept aside" in version.reason()
    assert set(here.blobs.data) == stored
    delta = read_delta(Path(version.file).read_bytes(), here.spec)
    assert delta.base == b"b" * 32
    assert np.linalg.norm(delta.vector.decode()) > np.linalg.norm(
        read_blob(here.blobs, done.blob, here.spec).vector.decode()
    )
    assert listed(here.memory) == [version]
    assert memory_place(tmp_path / "memory", "/en").read_bytes() == remembered
    again = train(job, here, client, data=lessons[1:], settings=strict)
    assert again == replace(version, again=True)
    learnt = train(
        job,
        here,
        client,
        data=lessons[1:],
        settings=replace(strict, continual="replay", continual_epsilon=0.5, gate_tries=5),
    )
    assert isinstance(learnt, Trained)
