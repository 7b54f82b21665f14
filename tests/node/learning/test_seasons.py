"""A season ends: the model computes what it did, a fresh A is trained, and one PEFT folder holds it all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from banyan.node.learning.base_model import load
from banyan.node.learning.blobs import read_layers, read_sum, write_float32
from banyan.node.learning.evaluate_job import evaluate
from banyan.node.learning.export import write_peft_folder
from banyan.node.learning.flower import LocalClient, load_app
from banyan.node.learning.frozen import reduced
from banyan.node.learning.inspect_job import inspect
from banyan.node.learning.learner import Learner, shared_learner
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.shared_a import draw
from banyan.node.learning.train_job import train
from banyan.node.learning.workplace import OWN_APP, Workplace, newest_first
from banyan.node.serving.base_in_memory import BaseInMemory
from banyan.node.serving.merged import write_merged_folder
from banyan.protocol.delta import DeltaRefused
from banyan.protocol.effects import Evaluate, Inspect, Train, Trained
from banyan.protocol.release import Seat, opening
from banyan.protocol.season import turned

IDS = torch.arange(5, 25).reshape(2, 10)
SETTINGS = TrainingSettings(device="cpu", steps=3, batch=2, learning_rate=0.02, eval_rows=6, max_length=48)


def adapter(place: Workplace, seed: int, season: int = 0) -> tuple[bytes, int]:
    vector = np.random.default_rng(seed).normal(0, 0.3, place.spec.dimension).astype(np.float32)
    return write_float32(place.blobs, vector, place.spec, season=season)


def learner_of(place: Workplace, season: int = 0) -> Learner:
    spec = place.spec
    return shared_learner(
        place.base_model,
        "cpu",
        rank=spec.rank,
        scale=spec.scale,
        tensors=spec.tensors,
        shared_a=place.shared_a(season),
    )


def logits(model: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits.numpy()


def logits_of(place: Workplace, blobs: tuple[bytes, ...]) -> np.ndarray:
    """What the model that is the sum of ``blobs`` says."""
    season, vector, earlier = newest_first(read_layers(place.blobs, blobs, place.spec), place.spec)
    learner = learner_of(place, season)
    learner.model.set_vector(vector)
    learner.model.freeze(place.frozen(earlier))
    return logits(learner.model.peft)


def test_the_a_of_a_season_is_the_same_everywhere_and_another_than_before(place: Workplace) -> None:
    spec = place.spec
    first, second, third = (draw(spec.seed, spec.rank, spec.tensors, season) for season in range(3))
    again = draw(spec.seed, spec.rank, spec.tensors, 1)
    for name, a in second.items():
        assert a.tobytes() == again[name].tobytes()
        np.testing.assert_allclose(a @ a.T, np.eye(spec.rank), atol=1e-6)
        assert np.abs(a @ first[name].T).max() < 0.9 and np.abs(a @ third[name].T).max() < 0.9
    assert {name: a.tobytes() for name, a in first.items()} == {
        name: a.tobytes() for name, a in place.shared_a().items()
    }


def test_a_turn_changes_no_logit_beyond_rounding(place: Workplace) -> None:
    (taught, size), (lifted, lifted_size) = adapter(place, 1), adapter(place, 2)
    base = replace(
        opening("/", [Seat("someone", 0, "/")], 1, taught, size), lifted=lifted, lifted_size=lifted_size
    )
    turn = turned(base, 1, 2)
    before = logits_of(place, tuple(blob for blob, _ in base.blobs))
    frozen = tuple(blob for blob, _ in turn.blobs)
    fresh = write_float32(place.blobs, np.zeros(place.spec.dimension, np.float32), place.spec, season=1)[0]
    after = logits_of(place, (*frozen, fresh))
    assert np.abs(before - logits_of(place, ())).max() > 0.01
    np.testing.assert_allclose(after, before, atol=2e-5, rtol=1e-5)


def test_an_export_of_three_seasons_gives_plain_peft_the_same_logits(
    place: Workplace, tmp_path: Path
) -> None:
    blobs = tuple(adapter(place, 10 + season, season)[0] for season in range(3))
    spec = place.spec
    season, vector, earlier = newest_first(read_layers(place.blobs, blobs, spec), spec)
    write_peft_folder(
        tmp_path / "adapter",
        vector,
        rank=spec.rank,
        scale=spec.scale,
        tensors=spec.tensors,
        shared_a=place.shared_a(season),
        base_model=str(place.base_model),
        frozen=place.frozen(earlier),
    )
    plain = PeftModel.from_pretrained(load(place.base_model, "cpu").model, str(tmp_path / "adapter"))
    assert plain.peft_config["default"].r == 3 * spec.rank
    np.testing.assert_allclose(logits(plain), logits_of(place, blobs), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("seasons", [1, 3])
def test_an_adapter_is_exported_at_a_lower_rank_as_close_as_that_allows(
    place: Workplace, tmp_path: Path, seasons: int
) -> None:
    blobs = tuple(adapter(place, 10 + season, season)[0] for season in range(seasons))
    spec = place.spec
    season, vector, earlier = newest_first(read_layers(place.blobs, blobs, spec), spec)
    whole = seasons * spec.rank

    def written(most: int) -> tuple[float, int, float]:
        """What is left behind as told, the rank in the folder, and how far its model's answers are off."""
        left = write_peft_folder(
            tmp_path / str(most),
            vector,
            rank=spec.rank,
            scale=spec.scale,
            tensors=spec.tensors,
            shared_a=place.shared_a(season),
            base_model=str(place.base_model),
            frozen=place.frozen(earlier),
            most=most,
        )
        model = PeftModel.from_pretrained(load(place.base_model, "cpu").model, str(tmp_path / str(most)))
        off = float(np.abs(logits(model) - logits_of(place, blobs)).max())
        return left, model.peft_config["default"].r, off

    left, rank, off = written(whole + 5)
    assert (left, rank, off < 1e-4) == (0.0, whole, True)
    lefts = [written(most) for most in (whole - 1, 1)]
    assert [rank for _, rank, _ in lefts] == [whole - 1, 1]
    assert 0 < lefts[0][0] < lefts[1][0] < 1
    assert 0 < lefts[0][2] < lefts[1][2]


def test_what_is_served_and_what_is_merged_has_every_season_in_it(place: Workplace, tmp_path: Path) -> None:
    blobs = tuple(adapter(place, 30 + season, season)[0] for season in range(3))
    layers = read_layers(place.blobs, blobs, place.spec)
    first, later = layers[0], place.frozen({1: layers[1], 2: layers[2]})
    expected = logits_of(place, blobs)
    served = BaseInMemory(place.base_model, place.spec, place.shared_a(), "cpu")
    whole, alone = served.model_with(first, later), served.model_with(first)
    np.testing.assert_allclose(logits(whole.peft), expected, atol=2e-5, rtol=1e-5)
    np.testing.assert_allclose(logits(alone.peft), logits_of(place, blobs[:1]), atol=2e-5, rtol=1e-5)
    given = {"spec": place.spec, "shared_a": place.shared_a(), "later": later}
    write_merged_folder(tmp_path / "merged", place.base_model, first, **given)
    merged = load(tmp_path / "merged", "cpu").model
    np.testing.assert_allclose(logits(merged), expected, atol=5e-5, rtol=1e-4)


def test_frozen_factors_are_reduced_to_the_closest_of_a_rank_and_say_what_is_left_behind(
    place: Workplace,
) -> None:
    blobs = [adapter(place, 20 + season, season)[0] for season in range(3)]
    frozen = place.frozen(read_layers(place.blobs, blobs, place.spec))
    rank = 2 * place.spec.rank
    smaller, left = reduced(frozen, rank)
    whole = missing = 0.0
    for name, (b, a) in frozen.items():
        product = b.astype(np.float64) @ a
        assert smaller[name][0].shape[1] <= rank
        missing += float(np.sum((product - smaller[name][0].astype(np.float64) @ smaller[name][1]) ** 2))
        whole += float(np.sum(product**2))
    assert 0.05 < left < 1
    assert left == pytest.approx((missing / whole) ** 0.5, rel=1e-3)
    assert reduced(frozen, 3 * place.spec.rank)[1] < 1e-6


@pytest.fixture
def rows(write_rows) -> list[Path]:
    return [write_rows([{"text": f"the leaf number {n} fell on the wet grass"} for n in range(60)])]


def test_training_in_a_new_season_starts_from_what_is_frozen_and_leaves_it_alone(
    place: Workplace, rows: list[Path]
) -> None:
    client = LocalClient(load_app(OWN_APP), place)
    frozen = adapter(place, 1)[0]
    done = train(
        Train("/", 5, b"b" * 32, (frozen,), (), season=1), place, client, data=rows, settings=SETTINGS
    )
    assert isinstance(done, Trained)
    assert inspect(Inspect(done.blob, season=1), blobs=place.blobs, spec=place.spec).refusal is None
    again = train(Train("/", 5, b"b" * 32, (), (), season=1), place, client, data=rows, settings=SETTINGS)
    assert isinstance(again, Trained)
    assert done.metrics["loss_before"] != pytest.approx(again.metrics["loss_before"])
    measured = evaluate(
        Evaluate("/", 5, b"j" * 32, ((frozen,), ()), 6), place, client, data=rows, settings=SETTINGS
    )
    assert measured.losses[0] == pytest.approx(done.metrics["loss_before"], rel=1e-4)
    assert measured.losses[1] == pytest.approx(again.metrics["loss_before"], rel=1e-4)


def test_a_carry_of_an_earlier_season_is_dropped_and_nothing_else(place: Workplace, rows: list[Path]) -> None:
    client = LocalClient(load_app(OWN_APP), place)
    old = adapter(place, 3)[0]
    job = Train("/", 5, b"b" * 32, (), (old,), season=1)
    with_carry = train(job, place, client, data=rows, settings=SETTINGS)
    without = train(replace(job, carry=()), place, client, data=rows, settings=SETTINGS)
    assert isinstance(with_carry, Trained) and isinstance(without, Trained)
    assert with_carry.blob == without.blob


def test_an_update_of_another_season_is_refused_by_name(place: Workplace) -> None:
    blob = adapter(place, 4, season=2)[0]
    for season in (0, 1):
        assert (
            inspect(Inspect(blob, season=season), blobs=place.blobs, spec=place.spec).refusal
            == "wrong-season"
        )
        with pytest.raises(DeltaRefused, match="season 2"):
            read_sum(place.blobs, [blob], place.spec, season)
