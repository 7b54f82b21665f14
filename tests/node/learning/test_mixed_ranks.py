"""Devices that train fewer columns of B than others: what of it is counted, and how."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from banyan.aggregation import build, encode
from banyan.aggregation.encoding import EncodedVector
from banyan.node.learning.aggregate_job import aggregate
from banyan.node.learning.blobs import read_blob, read_sum, write_float32
from banyan.node.learning.errors import LearningError
from banyan.node.learning.inspect_job import inspect
from banyan.node.learning.layout import Vector
from banyan.node.learning.lesson import Lesson
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.train_job import train
from banyan.node.learning.workplace import Workplace
from banyan.protocol.delta import write_delta
from banyan.protocol.effects import Aggregate, Aggregated, Input, Inspect, Lift, Train
from banyan.security.model import AdapterSpec, TensorSpec

RANK, ROWS = 8, 150
SPEC = AdapterSpec(RANK, 1.0, 0, bytes(32), 0, (TensorSpec("a", 100, 16), TensorSpec("b", ROWS - 100, 16)))
BASE = b"b" * 32
LOW = 2


class Round:
    """Updates of several ranks in a store, and their aggregate."""

    def __init__(self) -> None:
        self.blobs = MemoryBlobs()
        self.inputs: list[Input] = []
        self.vectors: list[EncodedVector] = []

    def send(self, matrix: Vector, codec: str = "int8") -> bytes:
        """An update with the columns of ``matrix``."""
        coded = encode(np.ascontiguousarray(matrix).ravel(), codec)
        blob = self.blobs.put(write_delta(coded, spec=SPEC, base=BASE, rank=matrix.shape[1]))
        self.inputs.append(Input(bytes([len(self.inputs) + 1]) * 32, blob))
        self.vectors.append(coded)
        return blob

    def close(
        self, rule: str = "mean", f: int = 0, *, least: int = 1, clip: float = 1e6, **more: object
    ) -> Aggregated:
        job = Aggregate("/en", 1, b"j" * 32, tuple(self.inputs), rule, f, clip, None, least=least, **more)
        return aggregate(job, blobs=self.blobs, spec=SPEC)

    def change(self, result: Aggregated) -> Vector:
        return read_blob(self.blobs, result.change, SPEC).vector.decode().reshape(ROWS, RANK)

    def values(self, at: int) -> Vector:
        return self.vectors[at].decode().reshape(ROWS, -1)


def random(seed: int, rank: int = RANK) -> Vector:
    return np.random.default_rng(seed).standard_normal((ROWS, rank), dtype=np.float32)


def mixed(full: int, small: int) -> Round:
    round_ = Round()
    for seed in range(full):
        round_.send(random(seed))
    for seed in range(small):
        round_.send(random(100 + seed, LOW))
    return round_


@pytest.mark.parametrize("rule", ["mean", "trimmed-mean", "nnm+multi-krum", "geometric-median"])
def test_each_group_of_columns_is_the_rule_over_those_that_trained_it(rule: str) -> None:
    round_ = mixed(full=5, small=4)
    change = round_.change(round_.close(rule, f=0 if rule == "mean" else 1))
    chosen = build(rule, f=0 if rule == "mean" else 1)
    first = chosen([np.ascontiguousarray(round_.values(at)[:, :LOW]).ravel() for at in range(9)]).vector
    rest = chosen([np.ascontiguousarray(round_.values(at)[:, LOW:]).ravel() for at in range(5)]).vector
    np.testing.assert_allclose(change[:, :LOW].ravel(), first, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(change[:, LOW:].ravel(), rest, rtol=1e-4, atol=1e-6)


def test_claiming_a_low_rank_shrinks_no_column_that_others_trained() -> None:
    alone = mixed(full=5, small=0)
    diluted = mixed(full=5, small=20)
    untouched = alone.change(alone.close())[:, LOW:]
    np.testing.assert_allclose(diluted.change(diluted.close())[:, LOW:], untouched, rtol=0, atol=1e-6)


def test_small_updates_do_not_make_whole_ones_look_long() -> None:
    """A median of norms over all updates would be that of the small ones, and the whole ones would be cut to it."""
    round_ = mixed(full=5, small=20)
    result = round_.close(clip=1.5)
    assert not result.clipped
    assert np.array_equal(round_.change(result), round_.change(round_.close(clip=1e6)))


def test_a_device_that_sends_zeros_for_columns_is_one_vote_among_those_that_trained_them() -> None:
    round_ = mixed(full=6, small=0)
    zeros = random(50)
    zeros[:, LOW:] = 0
    round_.send(zeros)
    change = round_.change(round_.close("trimmed-mean", f=1))
    rest = [np.ascontiguousarray(round_.values(at)[:, LOW:]).ravel() for at in range(7)]
    np.testing.assert_allclose(change[:, LOW:].ravel(), build("trimmed-mean", f=1)(rest).vector, rtol=1e-5)


@pytest.mark.parametrize(("rule", "f", "least"), [("nnm+multi-krum", 1, 1), ("mean", 0, 5)])
def test_columns_that_too_few_trained_stay_and_the_result_says_so(rule: str, f: int, least: int) -> None:
    round_ = mixed(full=4, small=5)
    result = round_.close(rule, f, least=least)
    assert result.narrowed_to == LOW
    assert not round_.change(result)[:, LOW:].any()
    assert round_.change(result)[:, :LOW].any()


def test_a_round_in_which_all_are_whole_is_summed_as_ever_and_names_nothing() -> None:
    round_ = mixed(full=5, small=0)
    result = round_.close("nnm+multi-krum", f=1)
    assert result.narrowed_to == 0
    expected = build("nnm+multi-krum", f=1)(round_.vectors)
    assert np.array_equal(round_.change(result).ravel(), expected.vector)
    assert [result.weights[each.key] for each in round_.inputs] == pytest.approx(expected.weights)


def test_every_order_and_every_judge_gives_the_same_bits() -> None:
    round_ = mixed(full=6, small=5)
    first = round_.close("nnm+multi-krum", f=1)
    round_.inputs.reverse()
    again = round_.close("nnm+multi-krum", f=1, expected=first.change)
    assert (again.agrees, again.change, again.adapter) == (True, first.change, first.adapter)


def test_a_lift_beside_small_updates_is_about_whole_vectors() -> None:
    round_ = mixed(full=2, small=5)
    held = [write_float32(round_.blobs, random(20 + at).ravel(), SPEC)[0] for at in range(3)]
    children = tuple(Input(bytes([90 + at]) * 32, blob) for at, blob in enumerate(held))
    lift = Lift(children, "median", 1, 1.0, None)
    result = round_.close(least=5, lift=lift)
    assert result.narrowed_to == LOW
    assert not round_.change(result)[:, LOW:].any()
    expected = np.median([random(20 + at) for at in range(3)], axis=0)
    lifted = read_sum(round_.blobs, [result.lifted], SPEC).reshape(ROWS, RANK)
    np.testing.assert_allclose(lifted, expected, rtol=1e-6)
    round_.inputs.clear()
    alone = round_.close(lift=lift)
    assert (alone.narrowed_to, alone.change, alone.lifted) == (0, b"", result.lifted)


def test_where_updates_point_is_compared_in_the_columns_that_all_trained() -> None:
    round_ = Round()
    round_.send(random(1), "float32")
    round_.send(random(1)[:, :LOW], "float32")
    (_, whole, cosines), (_, small, _) = round_.close().directions
    assert cosines == pytest.approx((1, 1))
    assert whole == pytest.approx(small)


def test_weights_are_shares_of_all_that_moved() -> None:
    round_ = mixed(full=2, small=2)
    weights = round_.close().weights
    assert [weights[each.key] for each in round_.inputs] == pytest.approx(
        [(LOW / 4 + (RANK - LOW) / 2) / RANK] * 2 + [LOW / 4 / RANK] * 2
    )


def test_a_small_update_is_measured_and_smaller() -> None:
    round_ = Round()
    small, whole = round_.send(random(1, LOW)), round_.send(random(1))
    assert len(round_.blobs.read(small)) < 0.35 * len(round_.blobs.read(whole))
    found = inspect(Inspect(small), blobs=round_.blobs, spec=SPEC)
    assert found.refusal is None
    assert found.norm == pytest.approx(float(np.linalg.norm(round_.values(0))), rel=1e-6)


def test_small_updates_add_up_to_whole_adapters() -> None:
    round_ = Round()
    blob = round_.send(random(1, LOW), "float32")
    base, _ = write_float32(round_.blobs, random(2).ravel(), SPEC)
    total = read_sum(round_.blobs, (base, blob), SPEC).reshape(ROWS, RANK)
    assert np.array_equal(total[:, LOW:], random(2)[:, LOW:])
    assert np.array_equal(total[:, :LOW], random(2)[:, :LOW] + random(1, LOW))


class Pupil:
    """Moves every number of B by one."""

    def ask(self, kind: str, lesson: Lesson) -> tuple[Vector, dict[str, float]]:
        return lesson.vector + np.float32(1), {}


def test_what_a_small_device_cannot_send_stays_in_its_carry(tmp_path) -> None:
    blobs = MemoryBlobs()
    place = Workplace(SPEC, "int8", b"n" * 32, "a", tmp_path, blobs)
    before, _ = write_float32(blobs, random(3).ravel(), SPEC)
    job = Train("/en", 1, BASE, (), (before,))
    done = train(job, place, Pupil(), data=[], settings=TrainingSettings(columns=LOW))
    sent, carry = read_blob(blobs, done.blob, SPEC), read_blob(blobs, done.carry, SPEC)
    assert sent.rank == LOW
    wanted = random(3).ravel() + np.float32(1)
    np.testing.assert_allclose(sent.whole(SPEC) + carry.vector.decode(), wanted, rtol=0, atol=1e-6)
    whole = train(replace(job, base=b""), place, Pupil(), data=[], settings=TrainingSettings(columns=LOW))
    assert read_blob(blobs, whole.blob, SPEC).rank == RANK


def test_more_columns_than_the_adapter_has_cannot_be_trained(tmp_path) -> None:
    place = Workplace(SPEC, "int8", b"n" * 32, "a", tmp_path, MemoryBlobs())
    with pytest.raises(LearningError, match="rank of at most 8"):
        train(Train("/en", 1, BASE, (), ()), place, Pupil(), data=[], settings=TrainingSettings(columns=9))
