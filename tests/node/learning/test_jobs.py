"""The jobs of a round: their algebra is exact."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.aggregation import TooFewInputs, encode
from banyan.node.learning.aggregate_job import aggregate, cosine_between
from banyan.node.learning.blobs import read_blob, read_sum, write_float32
from banyan.node.learning.compensation import compensated
from banyan.node.learning.errors import AdapterError, AppError, LearningError
from banyan.node.learning.evaluate_job import evaluate
from banyan.node.learning.inspect_job import inspect
from banyan.node.learning.lesson import Lesson
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.learning.mix_job import mix
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.train_job import train
from banyan.node.learning.workplace import Workplace
from banyan.protocol.delta import write_delta
from banyan.protocol.effects import Aggregate, Evaluate, Input, Inspect, Lift, Mix, Train, Trained
from banyan.security.admission import norm
from banyan.security.model import AdapterSpec, TensorSpec

SPEC = AdapterSpec(
    2, 1.0, 0, bytes(32), 0, (TensorSpec("layers.0.a", 60, 8), TensorSpec("layers.0.b", 40, 8))
)
BASE = b"b" * 32
SETTINGS = TrainingSettings(steps=2, batch=2)


class StepClient:
    """A fake of a client: adds a fixed step to B, and remembers what it was asked."""

    def __init__(self, step: np.ndarray | None, metrics: dict[str, float] | None = None) -> None:
        self.step = step
        self.metrics = metrics or {}
        self.asked: list[Lesson] = []

    def ask(self, kind: str, lesson: Lesson) -> tuple[np.ndarray | None, dict[str, float]]:
        self.asked.append(lesson)
        return (None if self.step is None else lesson.vector + self.step), self.metrics


def random(seed: int, size: float = 1.0) -> np.ndarray:
    return (size * np.random.default_rng(seed).normal(size=SPEC.dimension)).astype(np.float32)


@pytest.fixture
def here() -> Workplace:
    return Workplace(SPEC, "int8", b"n" * 32, "a node", Path("nowhere"), MemoryBlobs())


def order(adapters: tuple[bytes, ...] = (), carry: tuple[bytes, ...] = (), height: int = 0) -> Train:
    return Train("/en", height, BASE, adapters, carry)


def run(place: Workplace, client: StepClient, job: Train):
    return train(job, place, client, data=[], settings=SETTINGS)


# ----------------------------------------------------------------------------------------------- train


def test_training_starts_from_the_whole_path_plus_the_carry(here: Workplace) -> None:
    path = [write_float32(here.blobs, random(seed), SPEC)[0] for seed in (1, 2)]
    carry = write_float32(here.blobs, random(3, 0.01), SPEC)[0]
    client = StepClient(random(4))
    run(here, client, order(tuple(path), (carry,)))
    np.testing.assert_allclose(
        client.asked[0].vector, random(1) + random(2) + random(3, 0.01), rtol=1e-5, atol=1e-6
    )


def test_an_update_and_its_carry_are_together_all_that_training_changed(here: Workplace) -> None:
    head = write_float32(here.blobs, random(1), SPEC)[0]
    done = run(here, StepClient(random(2)), order((head,)))
    delta = read_blob(here.blobs, done.blob, SPEC)
    assert delta.base == BASE
    assert delta.vector.codec == "int8"
    carry = read_blob(here.blobs, done.carry, SPEC).vector.decode()
    changed = (random(1) + random(2)) - random(1)
    # Sent plus kept is the change, up to the one rounding of a float32 subtraction: the parts overlap by no more.
    np.testing.assert_allclose(delta.vector.decode() + carry, changed, rtol=0, atol=1e-6)
    assert np.linalg.norm(carry) < 0.02 * np.linalg.norm(changed)


def test_what_rounding_kept_back_is_sent_in_the_end(here: Workplace) -> None:
    """Error feedback: after many rounds of a step too small to send at once, the sum of updates is the sum of steps."""
    step = random(5, 1e-3)
    step[0] = 1.0  # its block's scale is coarse for all the others
    total, carry = np.zeros(SPEC.dimension, np.float32), ()
    for height in range(50):
        done = run(here, StepClient(step), order((), carry, height))
        total += read_blob(here.blobs, done.blob, SPEC).vector.decode()
        carry = () if done.carry is None else (done.carry,)
    error = np.abs(total - 50 * step).max()
    assert error < 1.0 / 127  # one quantum of one round, not fifty


def test_without_rounding_there_is_no_carry(here: Workplace) -> None:
    assert run(replace(here, codec="float32"), StepClient(random(2)), order()).carry is None


def test_the_same_job_gives_the_same_blob(here: Workplace) -> None:
    one, two = (run(here, StepClient(random(2)), order()) for _ in range(2))
    assert one == two


def test_each_node_and_branch_has_its_own_seed_and_each_round_goes_on(here: Workplace) -> None:
    client = StepClient(random(2))
    run(here, client, order())
    run(here, client, order(height=3))
    run(replace(here, node="another"), client, order())
    first, later, other = client.asked
    assert first.seed == later.seed != other.seed
    assert (first.first_row, later.first_row) == (0, 12)


def test_training_that_changes_nothing_is_no_update(here: Workplace) -> None:
    with pytest.raises(LearningError, match="changed nothing"):
        run(here, StepClient(np.zeros(SPEC.dimension, np.float32)), order())


def test_an_app_that_returns_no_adapter_is_named(here: Workplace) -> None:
    with pytest.raises(AppError, match="client_app:app answered without"):
        run(here, StepClient(None), order())


# -------------------------------------------------------------------------------------------- compensate


def test_training_starts_from_what_it_was_where_what_came_down_harms() -> None:
    now, before = random(1), random(2)
    losses = {now.tobytes(): 2.0, before.tobytes(): 1.5}

    def loss(model: np.ndarray) -> float:
        return losses[model.tobytes()]

    start, rise = compensated(now, before, 0.4, loss)
    assert start is before and rise == 0.5
    start, rise = compensated(now, before, 0.6, loss)
    assert start is now and rise == 0.0
    assert compensated(now, None, 0.0, loss)[1] == 0.0
    assert compensated(now, before, 0.0, lambda model: None)[1] == 0.0


def test_an_update_takes_off_what_came_down_and_harmed(here: Workplace) -> None:
    above, old, own = (write_float32(here.blobs, random(seed), SPEC)[0] for seed in (1, 2, 3))
    harmful = (random(1) + random(3)).tobytes()

    class Judge(StepClient):
        def ask(self, kind, lesson):
            answer = super().ask(kind, lesson)
            loss = 9.0 if lesson.vector.tobytes() == harmful else 1.0
            return (None, {"loss": loss}) if kind == "evaluate" else answer

    client = Judge(np.full(SPEC.dimension, 0.5, np.float32))
    asked = replace(order((above, own)), before=(old, own), epsilon=0.1)
    done = train(asked, here, client, data=[], settings=SETTINGS)
    assert isinstance(done, Trained)
    assert done.metrics["compensated"] == pytest.approx(8.0)
    delta = read_blob(here.blobs, done.blob, SPEC).vector.decode()
    step = np.full(SPEC.dimension, 0.5)
    np.testing.assert_allclose(delta, random(2) - random(1) + step, atol=0.05)


# -------------------------------------------------------------------------------------------- evaluate


def test_the_model_that_is_measured_is_the_sum_of_its_path(here: Workplace) -> None:
    path = tuple(write_float32(here.blobs, random(seed), SPEC)[0] for seed in (1, 2))
    client = StepClient(None, {"loss": 2.5, "rows": 7.0})
    job = Evaluate("/en", 3, b"j" * 32, (path, path[:1]), rows=64)
    done = evaluate(job, here, client, data=[], settings=SETTINGS)
    assert (done.job, done.losses, done.rows) == (job.job, (2.5, 2.5), 7)
    np.testing.assert_array_equal(client.asked[0].vector, random(1) + random(2))
    np.testing.assert_array_equal(client.asked[1].vector, random(1))
    with pytest.raises(AppError, match="metric named loss"):
        evaluate(job, here, StepClient(None), data=[], settings=SETTINGS)


@pytest.mark.parametrize(("allowed", "measured"), [(5, 5), (10_000, SETTINGS.eval_rows)])
def test_no_more_rows_are_measured_than_the_job_allows_and_the_owner_wants(
    here: Workplace, allowed: int, measured: int
) -> None:
    client = StepClient(None, {"loss": 2.5, "rows": 5.0})
    evaluate(Evaluate("/en", 3, b"j" * 32, ((),), allowed), here, client, data=[], settings=SETTINGS)
    assert [each.settings.eval_rows for each in client.asked] == [measured]


# ------------------------------------------------------------------------------------------- aggregate


def close(blobs: MemoryBlobs, inputs: Sequence[Input], **changes: object):
    job = Aggregate("/en", 1, b"j" * 32, tuple(inputs), "mean", 0, 3.0, None)
    return aggregate(replace(job, **changes), blobs=blobs, spec=SPEC)


def updates(blobs: MemoryBlobs, count: int, codec: str = "int8") -> list[Input]:
    return [
        Input(bytes([i]) * 32, blobs.put(write_delta(encode(random(i), codec), spec=SPEC, base=BASE)))
        for i in range(count)
    ]


def adapter_of(blobs: MemoryBlobs, digest: bytes) -> np.ndarray:
    return read_sum(blobs, [digest], SPEC)


def test_the_new_adapter_is_the_base_plus_the_rules_result() -> None:
    blobs = MemoryBlobs()
    inputs = updates(blobs, 4, "float32")
    base, _ = write_float32(blobs, random(9), SPEC)
    done = close(blobs, inputs, base=base)
    mean = np.mean([random(i) for i in range(4)], axis=0)
    np.testing.assert_allclose(adapter_of(blobs, done.change), mean, atol=1e-6)
    np.testing.assert_array_equal(adapter_of(blobs, done.adapter), random(9) + adapter_of(blobs, done.change))
    assert done.weights == {each.key: 0.25 for each in inputs}
    assert (done.agrees, done.clipped) == (None, ())
    assert len(blobs.read(done.change)) == done.change_size


@given(st.permutations(range(7)), st.sampled_from(["mean", "nnm+multi-krum", "trimmed-mean", "median"]))
def test_the_order_of_arrival_changes_no_bit(arrival: list[int], rule: str) -> None:
    blobs = MemoryBlobs()
    inputs = updates(blobs, 7)
    expected = close(blobs, inputs, rule=rule, f=1)
    assert close(blobs, [inputs[i] for i in arrival], rule=rule, f=1) == expected


def test_an_update_too_long_is_shortened_and_named() -> None:
    blobs = MemoryBlobs()
    inputs = updates(blobs, 4)
    huge = Input(b"\xff" * 32, blobs.put(write_delta(encode(random(8, 1e4), "int8"), spec=SPEC, base=BASE)))
    done = close(blobs, [*inputs, huge], clip=2.0)
    assert done.clipped == (huge.key,)
    assert norm(read_blob(blobs, done.change, SPEC).vector) < 1.5 * np.linalg.norm(random(0))


def test_an_outlier_has_no_share_under_a_robust_rule() -> None:
    blobs = MemoryBlobs()
    centre = random(50)
    inputs = [
        Input(
            bytes([i]) * 32,
            blobs.put(write_delta(encode(centre + random(i, 0.1), "int8"), spec=SPEC, base=BASE)),
        )
        for i in range(5)
    ]
    attack = Input(b"\xff" * 32, blobs.put(write_delta(encode(-centre, "int8"), spec=SPEC, base=BASE)))
    done = close(blobs, [*inputs, attack], rule="multi-krum", f=1)
    assert done.weights[attack.key] == 0.0


def lift_of(blobs: MemoryBlobs, children: Sequence[np.ndarray], **changes: object) -> Lift:
    inputs = [
        Input(bytes([i]) * 32, write_float32(blobs, child, SPEC)[0]) for i, child in enumerate(children)
    ]
    return replace(Lift(tuple(inputs), "mean", 0, 1.0, None), **changes)


def test_a_lift_raises_the_share_of_what_children_hold_beyond_what_was_lifted_before() -> None:
    blobs = MemoryBlobs()
    before, _ = write_float32(blobs, random(9), SPEC)
    lift = lift_of(blobs, [random(1), random(2)], share=0.5, base=before)
    done = close(blobs, [], lift=lift)
    mean = (random(1) + random(2)) / 2 - random(9)
    np.testing.assert_allclose(adapter_of(blobs, done.lift), 0.5 * mean, atol=1e-6)
    np.testing.assert_array_equal(adapter_of(blobs, done.lifted), random(9) + adapter_of(blobs, done.lift))
    assert (done.change, done.adapter) == (b"", b"")


def test_a_child_with_children_of_its_own_counts_with_what_was_lifted_into_it() -> None:
    blobs = MemoryBlobs()
    (child,) = lift_of(blobs, [random(1)]).inputs
    also, _ = write_float32(blobs, random(2), SPEC)
    done = close(blobs, [], lift=lift_of(blobs, [], inputs=(replace(child, also=also),)))
    np.testing.assert_array_equal(adapter_of(blobs, done.lift), random(1) + random(2))


def test_a_round_of_members_and_children_keeps_the_two_apart() -> None:
    blobs = MemoryBlobs()
    inputs, lift = updates(blobs, 3, "float32"), lift_of(blobs, [random(5), random(6)])
    both, members, children = (
        close(blobs, inputs, lift=lift),
        close(blobs, inputs),
        close(blobs, [], lift=lift),
    )
    assert (both.change, both.adapter) == (members.change, members.adapter)
    assert (both.lift, both.lifted) == (children.lift, children.lifted)


def test_another_nodes_lift_is_compared_as_its_change_is() -> None:
    blobs = MemoryBlobs()
    inputs, lift = updates(blobs, 3), lift_of(blobs, [random(5), random(6)])
    own = close(blobs, inputs, lift=lift)
    close_by, _ = write_float32(blobs, np.nextafter(adapter_of(blobs, own.lift), np.float32(1)), SPEC)
    same = close(blobs, inputs, expected=own.change, lift=replace(lift, expected=close_by))
    assert (same.agrees, same.lift) == (True, close_by)
    false, _ = write_float32(blobs, -adapter_of(blobs, own.lift), SPEC)
    other = close(blobs, inputs, expected=own.change, lift=replace(lift, expected=false))
    assert (other.agrees, other.lift, other.change) == (False, own.lift, own.change)


@pytest.mark.parametrize(("share", "count"), [(0.0, 6), (0.5, 6), (0.9, 3), (1.0, 2)])
def test_the_cosine_between_children_is_estimated_from_their_mean(share: float, count: int) -> None:
    def drawn(seed: int) -> np.ndarray:
        return np.random.default_rng(seed).standard_normal(20_000)

    common = drawn(100)
    held = [
        (np.sqrt(share) * common + np.sqrt(1 - share) * drawn(seed)).astype(np.float32)
        for seed in range(count)
    ]
    estimate = cosine_between([encode(each, "float32") for each in held], np.mean(held, axis=0))
    assert estimate == pytest.approx(share, abs=0.05)


def test_a_minority_of_children_cannot_make_the_others_seem_at_odds() -> None:
    common = np.random.default_rng(0).standard_normal(1_000).astype(np.float32)
    held = [encode(each, "float32") for each in (common, common, -50 * common)]
    assert cosine_between(held, common) == pytest.approx(1.0)
    assert cosine_between(held[:1], common) == 1.0
    assert cosine_between([encode(0 * common, "float32")] * 2, 0 * common) == 0.0


def test_too_few_inputs_are_refused_not_degraded() -> None:
    blobs = MemoryBlobs()
    with pytest.raises(TooFewInputs):
        close(blobs, updates(blobs, 4), rule="krum", f=1)


def test_one_key_counts_once() -> None:
    blobs = MemoryBlobs()
    one = updates(blobs, 1)[0]
    with pytest.raises(AdapterError, match="same key"):
        close(blobs, [one, one])


def test_a_change_that_differs_in_its_last_bits_is_agreed_to_and_adopted() -> None:
    blobs = MemoryBlobs()
    inputs = updates(blobs, 4)
    base, _ = write_float32(blobs, random(9), SPEC)
    mine = adapter_of(blobs, close(blobs, inputs, base=base).change)
    theirs = np.nextafter(mine, np.float32(np.inf))
    expected, _ = write_float32(blobs, theirs, SPEC)
    done = close(blobs, inputs, base=base, expected=expected)
    assert done.agrees is True
    assert 0 < done.error <= 1e-6
    assert done.change == expected
    np.testing.assert_array_equal(adapter_of(blobs, done.adapter), random(9) + theirs)


def test_a_change_that_differs_more_is_not_agreed_to() -> None:
    blobs = MemoryBlobs()
    inputs = updates(blobs, 4)
    own = close(blobs, inputs)
    mine = adapter_of(blobs, own.change)
    expected, _ = write_float32(blobs, mine * np.float32(1 + 1e-5), SPEC)
    done = close(blobs, inputs, expected=expected)
    assert done.agrees is False
    assert done.error == pytest.approx(1e-5, rel=0.05)
    assert (done.change, done.adapter) == (own.change, own.adapter)


# --------------------------------------------------------------------------------------------- inspect


def test_a_sound_update_is_measured() -> None:
    blobs = MemoryBlobs()
    coded = encode(random(1), "int8")
    found = inspect(Inspect(blobs.put(write_delta(coded, spec=SPEC, base=BASE))), blobs=blobs, spec=SPEC)
    assert found.refusal is None
    assert found.base == BASE
    assert found.norm == pytest.approx(float(np.linalg.norm(coded.decode().astype(np.float64))))


def test_each_unsound_update_is_refused_with_its_reason() -> None:
    blobs = MemoryBlobs()
    good = write_delta(encode(random(1), "float32"), spec=SPEC, base=BASE)
    poisoned = good[:-4] + np.array([np.nan], "<f4").tobytes()
    other = AdapterSpec(2, 1.0, 1, bytes(32), 0, SPEC.tensors)
    silent = encode(np.zeros(SPEC.dimension, np.float32), "int8")
    cases = {
        "malformed": [b"", b"rubbish", good[:-1], good + b"\0", good[:20]],
        "non-finite": [poisoned],
        "wrong-spec": [write_delta(encode(random(1), "int8"), spec=other, base=BASE)],
        "zero-norm": [write_delta(silent, spec=SPEC, base=BASE)],
    }
    for reason, datas in cases.items():
        for data in datas:
            found = inspect(Inspect(blobs.put(data)), blobs=blobs, spec=SPEC)
            assert (found.refusal, bool(found.detail)) == (reason, True)


@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_bytes_make_an_inspection_fail(noise: bytes, at: int) -> None:
    blobs = MemoryBlobs()
    good = write_delta(encode(random(1), "int8"), spec=SPEC, base=BASE)
    for data in (noise, good[:at] + noise + good[at + len(noise) :]):
        inspect(Inspect(blobs.put(data)), blobs=blobs, spec=SPEC)


def test_aggregating_and_inspecting_need_no_torch() -> None:
    program = (
        "import sys, banyan.node.learning.aggregate_job, banyan.node.learning.inspect_job,"
        " banyan.node.learning.train_job, banyan.node.worker.jobs, banyan.node.worker.client;"
        "print(sorted({'torch', 'transformers', 'peft', 'flwr'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------- mix


def mix_order(
    here: Workplace, rule: str, models: Sequence[np.ndarray], own: tuple[bytes, ...], f: int = 1
) -> Mix:
    blobs = [write_delta(encode(model, "int8"), spec=SPEC, base=b"") for model in models]
    inputs = tuple(Input(bytes([number]) * 32, here.blobs.put(blob)) for number, blob in enumerate(blobs))
    return Mix("/en", 0, 4, own, inputs, rule, f, 0.5)


def test_a_mixture_is_of_the_nodes_exact_model_and_its_neighbours_told_ones(here: Workplace) -> None:
    own = tuple(write_float32(here.blobs, random(seed), SPEC)[0] for seed in (1, 2))
    models = [random(1) + random(2) + random(seed, 0.1) for seed in (3, 4)]
    done = mix(mix_order(here, "mean", models, own, f=0), blobs=here.blobs, spec=SPEC)
    expected = np.mean([random(1) + random(2), *models], axis=0)
    np.testing.assert_allclose(read_sum(here.blobs, [done.adapter], SPEC), expected, atol=0.03)
    assert (done.branch, done.height, done.step, done.adapter_size) == (
        "/en",
        0,
        4,
        len(here.blobs.read(done.adapter)),
    )
    assert done.weights == pytest.approx({b"\0" * 32: 1 / 3, b"\1" * 32: 1 / 3})


def test_a_neighbour_far_off_has_no_weight_and_is_named(here: Workplace) -> None:
    own = (write_float32(here.blobs, random(1), SPEC)[0],)
    models = [random(1) + random(3, 0.1), random(2, 100), random(1) + random(4, 0.1)]
    done = mix(mix_order(here, "nna", models, own), blobs=here.blobs, spec=SPEC)
    assert done.left_out == (b"\1" * 32,)
    assert done.weights is not None
    assert done.weights[b"\1" * 32] == 0
    assert np.linalg.norm(read_sum(here.blobs, [done.adapter], SPEC) - random(1)) < 2


def test_a_node_with_no_model_yet_starts_from_zero_and_column_rules_give_no_weights(here: Workplace) -> None:
    models = [random(1), random(1), random(1)]
    done = mix(mix_order(here, "median", models, ()), blobs=here.blobs, spec=SPEC)
    assert done.weights is None
    assert np.isfinite(read_sum(here.blobs, [done.adapter], SPEC)).all()


def test_too_few_neighbours_for_the_rule_and_f_are_refused(here: Workplace) -> None:
    with pytest.raises(TooFewInputs):
        mix(mix_order(here, "nna", [random(1)], ()), blobs=here.blobs, spec=SPEC)
