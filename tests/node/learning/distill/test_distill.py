"""One model learns from another: from its probabilities where they read alike, from its text where they do not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from banyan.node.learning.adapter_spec import design_adapter
from banyan.node.learning.base_model import load
from banyan.node.learning.blobs import read_blob, write_float32
from banyan.node.learning.continual.rejected import Rejected
from banyan.node.learning.dataset import load_dataset, read_rows
from banyan.node.learning.distill import teacher_text
from banyan.node.learning.distill.client import DistillingClient
from banyan.node.learning.distill.softened import SoftenedProbabilities, divergence
from banyan.node.learning.distill.teacher import Teacher
from banyan.node.learning.distill.tokenizers import same_tokenizer
from banyan.node.learning.errors import JobCancelled, LearningError
from banyan.node.learning.layout import Vector
from banyan.node.learning.learner import Learner
from banyan.node.learning.lesson import Lesson
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.learning.progress import listening
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.shared_a import from_bytes
from banyan.node.learning.tiny_model import write_tiny_model
from banyan.node.learning.tokens import IGNORED, Example
from banyan.node.learning.train_job import train
from banyan.node.learning.trainer import collate, next_token_loss
from banyan.node.learning.workplace import Workplace
from banyan.protocol.effects import Train, Trained
from banyan.security.model import AdapterSpec

SETTINGS = TrainingSettings(
    steps=60, batch=4, max_length=48, learning_rate=0.1, device="cpu", continual="none", gate_tries=0
)


def lesson_on(vector: np.ndarray, text: Path, settings: TrainingSettings = SETTINGS, seed: int = 1) -> Lesson:
    return Lesson(vector=vector, data=[text], settings=settings, branch="/en/pocket", height=0, seed=seed)


TAUGHT = "banana banana banana"


def learner_at(place: Workplace) -> Learner:
    spec = place.spec
    a = from_bytes(place.blobs.read(spec.a_digest), spec.rank, spec.tensors)
    return Learner(
        load(place.base_model, "cpu"), rank=spec.rank, scale=spec.scale, tensors=spec.tensors, shared_a=a
    )


@pytest.fixture(scope="module")
def taught(
    tiny_model: Path, adapter: tuple[AdapterSpec, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Vector:
    """The B of a teacher that has learnt to answer everything alike."""
    spec, blob = adapter
    blobs = MemoryBlobs()
    blobs.put(blob)
    rows = tmp_path_factory.mktemp("private") / "rows.jsonl"
    row = {"response": TAUGHT, "split": "train"}
    rows.write_text("".join(json.dumps(row | {"prompt": f"What is {i}?"}) + "\n" for i in range(40)))
    learner = learner_at(Workplace(spec, "int8", b"n" * 32, "a node", tiny_model, blobs))
    start = np.zeros(spec.dimension, np.float32)
    return learner.train(start, [rows], replace(SETTINGS, steps=150), seed=3)[0]


@pytest.fixture
def teachers(place: Workplace, taught: Vector) -> tuple[Workplace, Teacher]:
    return place, Teacher("/en", (write_float32(place.blobs, taught, place.spec)[0],))


@pytest.fixture
def student(place: Workplace, tmp_path: Path) -> Workplace:
    """Another base model with the same tokenizer and an A of its own."""
    folder = write_tiny_model(tmp_path / "student", seed=5)
    spec, blob = design_adapter(folder, seed=8, rank=4, scale=2.0)
    place.blobs.put(blob)
    return replace(place, spec=spec, base_model=folder, memory=tmp_path / "memory")


@pytest.fixture
def foreign(student: Workplace, tmp_path: Path) -> Workplace:
    """A student whose tokenizer numbers its bytes otherwise."""
    folder = write_tiny_model(tmp_path / "foreign", seed=5)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    first, *others = sorted((token for token in vocabulary if len(token) == 1), key=vocabulary.__getitem__)
    for token, number in zip([*others, first], sorted(vocabulary[t] for t in [first, *others]), strict=True):
        vocabulary[token] = number
    path.write_text(json.dumps(tokenizer), "utf-8")
    return replace(student, base_model=folder)


@pytest.fixture
def public(write_rows: Callable[..., Path]) -> Path:
    """Public text whose answers are not the teacher's."""
    rows = [{"prompt": f"What is {i}?", "response": "unknown", "split": "train"} for i in range(40)]
    held = [{"prompt": f"What is {i}?", "response": TAUGHT, "split": "test"} for i in range(40, 46)]
    return write_rows([*rows, *held], "public.jsonl")


# ------------------------------------------------------------------------------------------ tokenizers


def test_a_tokenizer_is_known_by_its_content(
    place: Workplace, student: Workplace, foreign: Workplace, plain_model: Path
) -> None:
    own = load(place.base_model, "cpu").tokenizer
    assert same_tokenizer(own, load(student.base_model, "cpu").tokenizer)
    assert same_tokenizer(own, load(plain_model, "cpu").tokenizer)  # only the chat template differs
    assert not same_tokenizer(own, load(foreign.base_model, "cpu").tokenizer)
    padded = load(place.base_model, "cpu").tokenizer
    padded(["a", "long text"], padding=True)
    assert same_tokenizer(own, padded)
    larger = load(place.base_model, "cpu").tokenizer
    larger.add_tokens(["another"])
    assert not same_tokenizer(own, larger)


# ------------------------------------------------------------------------------------------ probabilities


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_divergence_is_that_of_the_definition(temperature: float) -> None:
    student, teacher = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = 0.0
    for row in range(5):
        p, q = (torch.softmax(each[row] / temperature, -1).tolist() for each in (teacher, student))
        wanted += temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert float(divergence(student, teacher, temperature)) == pytest.approx(wanted)
    assert float(divergence(teacher, teacher, temperature)) == pytest.approx(0, abs=1e-12)


def test_replayed_rows_keep_the_loss_of_their_own_text(place: Workplace) -> None:
    learner, teacher = learner_at(place), learner_at(place)
    objective = SoftenedProbabilities(
        teacher.model, temperature=2.0, vocabulary=len(learner.tokenizer), share=1.0
    )
    rows = [Example((1, 9, 8, 7), (IGNORED, 9, 8, 7)), Example((1, 5, 6), (IGNORED, 5, 6))]
    batch = collate(rows, 0, torch.device("cpu"))
    alike = objective(learner.model, batch, 2)
    assert float(alike) == pytest.approx(0, abs=1e-5)  # teacher and student are the same model
    replayed = objective(learner.model, batch, 1)
    own = learner.model.peft(
        input_ids=batch.ids[1:, :3], attention_mask=batch.mask[1:, :3], labels=batch.labels[1:, :3]
    ).loss
    assert float(replayed) == pytest.approx(float(own) * 2 / 5, rel=1e-4)


def test_the_rest_of_the_loss_is_that_of_the_text_itself(place: Workplace) -> None:
    learner, teacher = learner_at(place), learner_at(place)
    batch = collate([Example((1, 9, 8), (IGNORED, 9, 8))] * 2, 0, torch.device("cpu"))
    text = float(next_token_loss(learner.model, batch, 2).detach())
    for share in (0.25, 1.0):
        objective = SoftenedProbabilities(
            teacher.model, temperature=1.0, vocabulary=len(learner.tokenizer), share=share
        )
        assert float(objective(learner.model, batch, 2)) == pytest.approx((1 - share) * text, abs=1e-5)


def test_a_student_takes_over_what_the_public_text_does_not_say(
    teachers: tuple[Workplace, Teacher], student: Workplace, public: Path
) -> None:
    """The public answers are others than the teacher's; the student learns the teacher's from its probabilities."""
    client = DistillingClient(student, *teachers)
    start = np.zeros(student.spec.dimension, np.float32)
    learnt, metrics = client.ask("train", lesson_on(start, public))
    assert metrics["logits"] == 1
    held = load_dataset([public])
    direct = learner_at(student).train(start, [public], SETTINGS, seed=1)[1]
    assert held.held_out
    assert metrics["loss_after"] < metrics["loss_before"]
    assert metrics["loss_after"] < direct["loss_after"]
    assert learnt.any()


# ------------------------------------------------------------------------------------------ text


def test_a_student_with_another_tokenizer_reads_what_the_teacher_writes(
    teachers: tuple[Workplace, Teacher], foreign: Workplace, public: Path
) -> None:
    client = DistillingClient(foreign, *teachers)
    start = np.zeros(foreign.spec.dimension, np.float32)
    _, metrics = client.ask("train", lesson_on(start, public))
    assert metrics["logits"] == 0
    assert metrics["loss_after"] < metrics["loss_before"]
    (folder,) = (foreign.memory / "taught").iterdir()
    assert {row.split for row in read_rows(folder / "held-out.jsonl")} == {"test"}
    assert all(row.split == "train" for row in read_rows(folder / "written.jsonl"))
    own = [row.turns[-1][1] for row in read_rows(folder / "own.jsonl")]
    assert own == ["unknown"] * len([*read_rows(folder / "written.jsonl")])


def written(path: Path, teacher: Learner, prompts: list[teacher_text.Prompt], **more: int) -> bytes:
    teacher_text.write(path, teacher, prompts, seed=4, max_length=24, **more)
    return path.read_bytes()


@pytest.fixture
def prompts(place: Workplace, public: Path) -> tuple[Learner, list[teacher_text.Prompt]]:
    teacher = learner_at(place)
    return teacher, teacher_text.prompts_of(load_dataset([public]).training, teacher, 24)


def test_writing_goes_on_where_it_was_cut_off_and_ends_with_the_same_file(
    prompts: tuple[Learner, list[teacher_text.Prompt]], tmp_path: Path
) -> None:
    whole = written(tmp_path / "whole", *prompts)

    def stop(progress: object) -> None:
        raise JobCancelled("The job was withdrawn")

    with listening(stop), pytest.raises(JobCancelled):
        written(tmp_path / "again", *prompts)
    assert 0 < (tmp_path / "again").stat().st_size < len(whole)
    with open(tmp_path / "again", "ab") as file:
        file.write(whole[(tmp_path / "again").stat().st_size :][:100])  # half a row of the next group
    assert written(tmp_path / "again", *prompts) == whole


def test_a_file_of_text_is_bounded(
    prompts: tuple[Learner, list[teacher_text.Prompt]], tmp_path: Path
) -> None:
    whole = written(tmp_path / "whole", *prompts)
    cut = written(tmp_path / "cut", *prompts, most_bytes=len(whole) // 2)
    assert 0 < len(cut) <= len(whole) // 2
    assert whole.startswith(cut)


def test_plain_text_is_continued_from_the_beginning_of_each_stretch(
    place: Workplace, write_rows: Callable[..., Path]
) -> None:
    teacher = learner_at(place)
    rows = list(read_rows(write_rows([{"text": "0123456789" * 10}], "text.jsonl")))
    made = teacher_text.prompts_of(rows, teacher, 40)
    assert [prompt.turns[0][0] for prompt in made] == [""] * 3
    assert all(len(prompt.ids) <= teacher_text.BEGINNING for prompt in made)
    assert made[0].turns[0][1].startswith("0123456789")


def test_what_was_written_for_old_lessons_is_removed(
    teachers: tuple[Workplace, Teacher], foreign: Workplace, public: Path
) -> None:
    client = DistillingClient(foreign, *teachers)
    start, short = np.zeros(foreign.spec.dimension, np.float32), replace(SETTINGS, steps=1)
    for seed in range(6):
        client.ask("train", lesson_on(start, public, short, seed))
    assert len(list((foreign.memory / "taught").iterdir())) == 4


# ------------------------------------------------------------------------------------------ as any training


def test_what_is_learnt_is_an_update_of_the_students_branch(
    teachers: tuple[Workplace, Teacher], student: Workplace, public: Path
) -> None:
    job = Train("/en/pocket", 1, b"b" * 32, (), ())
    client = DistillingClient(student, *teachers)
    short = replace(SETTINGS, steps=4, columns=2)
    done = train(job, student, client, data=[public], settings=short, teacher=client.teacher)
    sent = read_blob(student.blobs, done.blob, student.spec)
    assert (sent.base, sent.rank) == (b"b" * 32, 2)
    again = train(job, student, client, data=[public], settings=short, teacher=client.teacher)
    assert again.blob == done.blob


def test_a_teacher_that_makes_the_student_worse_on_the_text_teaches_it_nothing(
    teachers: tuple[Workplace, Teacher], student: Workplace, public: Path
) -> None:
    place, teacher = teachers
    start = np.zeros(student.spec.dimension, np.float32)
    learnt, _ = DistillingClient(student, place, teacher).ask("train", lesson_on(start, public))
    head, _ = write_float32(student.blobs, learnt, student.spec)
    job = Train("/en/pocket", 1, b"b" * 32, (head,), ())
    ignorant = DistillingClient(student, place, Teacher("/en", ()))
    gated = replace(SETTINGS, gate_tries=1)
    version = train(job, student, ignorant, data=[public], settings=gated, teacher=ignorant.teacher)
    assert isinstance(version, Rejected)
    figures = version.metrics
    assert version.rise == pytest.approx(figures["loss_after"] - figures["loss_before"]) and version.rise > 0
    assert figures["teacher_loss"] > figures["loss_before"]
    assert "worse" in version.reason() and "better on this text" in version.reason()
    again = train(job, student, ignorant, data=[public], settings=gated, teacher=ignorant.teacher)
    assert again == replace(version, again=True)
    ungated = train(job, student, ignorant, data=[public], settings=SETTINGS, teacher=ignorant.teacher)
    assert isinstance(ungated, Trained)  # its owner wants no gate


def test_a_teacher_is_asked_for_nothing_but_training(
    teachers: tuple[Workplace, Teacher], student: Workplace, public: Path
) -> None:
    start = np.zeros(student.spec.dimension, np.float32)
    with pytest.raises(LearningError, match="train and not to evaluate"):
        DistillingClient(student, *teachers).ask("evaluate", lesson_on(start, public))
