"""What is kept for one device: replaced in one step, checked when it is read, given whole."""

import numpy as np
import pytest

from banyan.node.learning.blobs import read_sum, write_float32
from banyan.node.learning.errors import LearningError
from banyan.node.learning.private import (
    PrivateTrain,
    contribute,
    find,
    forget,
    read,
    train_privately,
)
from banyan.node.learning.settings import TrainingSettings
from banyan.protocol.delta import read_delta
from banyan.protocol.effects import Train

SETTINGS = TrainingSettings(steps=1, batch=1)


class AddsOne:
    """A client whose training adds one to every number of B."""

    def __init__(self, **metrics):
        self.metrics = {"loss_before": 3.0, "loss_after": 2.0} | metrics
        self.heights = []

    def ask(self, kind, lesson):
        self.heights.append(lesson.height)
        return lesson.vector + np.float32(1), self.metrics


@pytest.fixture
def lesson(place, tmp_path):
    def give(client):
        job = PrivateTrain("/en", (), str(tmp_path / "private"))
        return train_privately(job, place, client, data=[], settings=SETTINGS)

    return give


def test_lessons_add_up_and_leave_the_store_alone(lesson, place, tmp_path):
    client, folder = AddsOne(), tmp_path / "private"
    before = dict(place.blobs._blobs) if hasattr(place.blobs, "_blobs") else None
    lesson(client)
    assert lesson(client).lessons == 2
    assert client.heights == [0, 1]
    assert set(read(folder, "/en", place.spec)[0]) == {2.0}
    assert len(list(folder.iterdir())) == 2  # the older delta is gone
    assert folder.stat().st_mode & 0o077 == 0
    if before is not None:
        assert place.blobs._blobs == before
    assert find(folder, "/de") is None
    assert read(folder, "/de", place.spec) == {}


def test_a_lesson_that_the_gate_rejects_changes_nothing(lesson, place, tmp_path):
    lesson(AddsOne())
    with pytest.raises(LearningError, match="thrown away"):
        lesson(AddsOne(gate_passed=0.0, gate_rise=1.0))
    assert set(read(tmp_path / "private", "/en", place.spec)[0]) == {1.0}


def test_damage_is_said_and_not_trained_on(lesson, place, tmp_path):
    lesson(AddsOne())
    (file,) = (tmp_path / "private").glob("*.delta")
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(LearningError, match="its bytes have changed"):
        lesson(AddsOne())


def test_a_contribution_is_what_was_learnt_and_the_carry(lesson, place, tmp_path):
    folder = tmp_path / "private"
    job = Train("/en", 3, b"b" * 32, (), ())
    with pytest.raises(LearningError, match="Nothing has been learnt privately"):
        contribute(job, place, folder)
    lesson(AddsOne())
    given = contribute(job, place, folder)
    sent = read_sum(place.blobs, [given.blob, *([given.carry] if given.carry else [])], place.spec)
    np.testing.assert_allclose(sent, 1.0, atol=1e-6)
    assert given.metrics == {"loss_before": 3.0, "loss_after": 2.0}
    assert find(folder, "/en").update == given.blob.hex()
    again = contribute(Train("/en", 4, b"c" * 32, (), (given.blob,)), place, folder)
    both = read_sum(place.blobs, [again.blob], place.spec)
    np.testing.assert_allclose(both, 2.0, atol=0.02)
    forget(folder, "/en")
    assert not list(folder.iterdir())


def test_what_was_learnt_stays_in_its_season_and_is_not_given_in_another(lesson, place, tmp_path):
    folder = tmp_path / "private"
    lesson(AddsOne())
    with pytest.raises(LearningError, match="of season 0, and the branch is in season 1"):
        contribute(Train("/en", 3, b"b" * 32, (), (), season=1), place, folder)
    later, _ = write_float32(place.blobs, np.full(place.spec.dimension, 5, np.float32), place.spec, season=1)
    train_privately(PrivateTrain("/en", (later,), str(folder)), place, AddsOne(), data=[], settings=SETTINGS)
    assert {season: set(b) for season, b in read(folder, "/en", place.spec).items()} == {0: {2.0}}
    assert contribute(Train("/en", 3, b"b" * 32, (), ()), place, folder).blob


class FirstColumn:
    """A client of a small device, whose training adds one to the first column of B."""

    def __init__(self, rank):
        self.rank = rank

    def ask(self, kind, lesson):
        b = lesson.vector.reshape(-1, self.rank).copy()
        b[:, 0] += 1
        return b.ravel(), {}


def test_who_learnt_the_first_columns_alone_gives_no_others(lesson, place, tmp_path):
    spec = place.spec
    lesson(FirstColumn(spec.rank))
    carried = np.zeros((spec.dimension // spec.rank, spec.rank), np.float32)
    carried[:, -1] = 0.5
    carry, _ = write_float32(place.blobs, carried.ravel(), spec)
    given = contribute(Train("/en", 3, b"b" * 32, (), (carry,)), place, tmp_path / "private")
    sent = read_delta(place.blobs.read(given.blob), spec)
    assert sent.rank == 1 < spec.rank
    np.testing.assert_allclose(sent.vector.decode(), 1.0, atol=0.01)
    left = read_sum(place.blobs, [given.carry], spec).reshape(-1, spec.rank)
    np.testing.assert_array_equal(left[:, 1:], carried[:, 1:])
