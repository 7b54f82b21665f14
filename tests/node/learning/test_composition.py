"""A model at a path is the base plus the sum of the path's adapters: one PEFT adapter, no base weights read twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from banyan.node.learning.aggregate_job import aggregate
from banyan.node.learning.base_model import load
from banyan.node.learning.blobs import read_sum, write_float32
from banyan.node.learning.comparison import compare
from banyan.node.learning.errors import AdapterError
from banyan.node.learning.export import write_peft_folder
from banyan.node.learning.layout import Layout
from banyan.node.learning.learner import Learner, shared_learner
from banyan.node.learning.progress import Progress, listening
from banyan.node.learning.workplace import Workplace
from banyan.protocol.closing import with_sums
from banyan.protocol.composition import blobs_of, parts_of
from banyan.protocol.effects import Aggregate, Input, Lift
from banyan.protocol.release import Release, Seat, opening

IDS = torch.arange(5, 25).reshape(2, 10)
PATHS = {"/": (1,), "/en": (1, 2), "/en/medical": (1, 2, 3), "/de": (1, 4)}


def adapter(place: Workplace, seed: int) -> bytes:
    """The blob of one branch's adapter."""
    vector = np.random.default_rng(seed).normal(0, 0.3, place.spec.dimension).astype(np.float32)
    return write_float32(place.blobs, vector, place.spec)[0]


def compose(place: Workplace, path: str) -> np.ndarray:
    return read_sum(place.blobs, [adapter(place, seed) for seed in PATHS[path]], place.spec)


def learner_of(place: Workplace) -> Learner:
    spec = place.spec
    return shared_learner(
        place.base_model,
        "cpu",
        rank=spec.rank,
        scale=spec.scale,
        tensors=spec.tensors,
        shared_a=place.shared_a(),
    )


def logits(model: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits.numpy()


def test_a_path_is_summed_from_the_root_down(place: Workplace) -> None:
    parts = [
        np.random.default_rng(seed).normal(0, 0.3, place.spec.dimension).astype(np.float32)
        for seed in (1, 2, 3)
    ]
    np.testing.assert_array_equal(compose(place, "/en/medical"), (parts[0] + parts[1]) + parts[2])
    assert not read_sum(place.blobs, [], place.spec).any()


def test_moving_to_another_path_loads_no_base_weights_again(place: Workplace) -> None:
    told: list[Progress] = []
    outputs: dict[str, np.ndarray] = {}
    with listening(told.append):
        first = learner_of(place)
        weights = {
            name: p.data_ptr() for name, p in first.model.peft.named_parameters() if "lora_" not in name
        }
        for path in [*PATHS, "/"]:
            learner = learner_of(place)
            assert learner is first
            learner.model.set_vector(compose(place, path))
            output = logits(learner.model.peft)
            assert np.array_equal(
                outputs.setdefault(path, output), output
            )  # the way back leads to the same model
    now = {name: p.data_ptr() for name, p in first.model.peft.named_parameters() if "lora_" not in name}
    assert now == weights
    assert sum(progress.phase == "load model" for progress in told) <= 1
    assert len({output.tobytes() for output in outputs.values()}) == len(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_the_export_of_any_path_gives_plain_peft_the_same_logits(
    place: Workplace, tiny_model: Path, tmp_path: Path, path: str
) -> None:
    spec, vector = place.spec, compose(place, path)
    write_peft_folder(
        tmp_path,
        vector,
        rank=spec.rank,
        scale=spec.scale,
        tensors=spec.tensors,
        shared_a=place.shared_a(),
        base_model=str(tiny_model),
    )
    learner = learner_of(place)
    learner.model.set_vector(vector)
    loaded = PeftModel.from_pretrained(load(tiny_model, "cpu").model, tmp_path)
    np.testing.assert_allclose(logits(learner.model.peft), logits(loaded), rtol=0, atol=1e-5)


def test_a_comparison_is_that_of_the_weights_themselves(place: Workplace) -> None:
    """B's norms are those of B·A, since A's rows are orthonormal."""
    layout, a = Layout(place.spec.rank, place.spec.tensors), place.shared_a()
    one, other = compose(place, "/en"), compose(place, "/de")
    found = compare(one, other, layout)
    ours, theirs = ({name: b @ a[name] for name, b in layout.split(v).items()} for v in (one, other))
    for name, each in found.tensors.items():
        norms = [
            np.linalg.norm(ours[name]),
            np.linalg.norm(theirs[name]),
            np.linalg.norm(theirs[name] - ours[name]),
        ]
        np.testing.assert_allclose([each.first, each.second, each.difference], norms, rtol=1e-4)
        cosine = np.vdot(ours[name], theirs[name]) / (norms[0] * norms[1])
        np.testing.assert_allclose(each.cosine, cosine, atol=1e-4)
    np.testing.assert_allclose(found.whole.difference, np.linalg.norm(other - one), rtol=1e-6)
    assert found.tensors.keys() == a.keys()


def test_an_adapter_is_equal_to_itself_and_has_no_angle_with_nothing(place: Workplace) -> None:
    layout, one = Layout(place.spec.rank, place.spec.tensors), compose(place, "/en")
    same, nothing = compare(one, one, layout).whole, compare(one * 0, one, layout).whole
    assert (same.difference, same.cosine) == (0.0, pytest.approx(1.0, abs=1e-12))
    assert (nothing.first, nothing.cosine, nothing.difference) == (0.0, None, nothing.second)
    with pytest.raises(AdapterError, match="numbers"):
        compare(one, one[:-1], layout)


def test_no_childs_logits_change_when_what_it_shares_with_its_siblings_is_lifted(place: Workplace) -> None:
    """The sums of a lift, done by the job that closes rounds, on a real model: within 1e-5 in float32."""
    children = {path: adapter(place, seed) for seed, path in enumerate(("/en", "/de", "/fr"), 1)}
    opened = opening("/", [Seat("a", 0, "/")], 0)
    inputs = tuple(Input(path.encode().ljust(32), blob) for path, blob in children.items())
    lift = Lift(inputs, "median", 0, 1.0, None)
    done = aggregate(
        Aggregate("/", 1, b"j" * 32, (), "mean", 0, 3.0, None, lift=lift), blobs=place.blobs, spec=place.spec
    )
    assert done.lift and not done.change
    raised = with_sums(replace(opened, height=1), opened, done)
    model = learner_of(place).model

    def answers(*path: Release) -> np.ndarray:
        model.set_vector(read_sum(place.blobs, blobs_of(parts_of(path)), place.spec))
        return logits(model.peft)

    for name, blob in children.items():
        child = replace(opening(name, [Seat("a", 0, name)], 0), height=1, adapter=blob, adapter_size=1)
        before, after = answers(opened, child), answers(raised, child)
        assert np.abs(after - before).max() <= 1e-5
    assert np.abs(answers(raised) - answers(opened)).max() > 1e-2, "nothing was lifted"
