"""The adapter is plain PEFT with a frozen A, so it composes and exports exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from banyan.node.learning.adapter import AdaptedModel
from banyan.node.learning.base_model import load
from banyan.node.learning.errors import AdapterError
from banyan.node.learning.export import target_names, write_peft_folder
from banyan.node.learning.shared_a import from_bytes
from banyan.security.model import AdapterSpec, TensorSpec

IDS = torch.arange(5, 25).reshape(2, 10)


@pytest.fixture
def adapted(tiny_model: Path, adapter: tuple[AdapterSpec, bytes]) -> AdaptedModel:
    spec, blob = adapter
    a = from_bytes(blob, spec.rank, spec.tensors)
    return AdaptedModel(
        load(tiny_model, "cpu").model, rank=spec.rank, scale=spec.scale, tensors=spec.tensors, shared_a=a
    )


def logits(model: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits.numpy()


def vector(seed: int, adapted: AdaptedModel) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, adapted.layout.dimension).astype(np.float32)


def test_a_new_adapter_changes_nothing(adapted: AdaptedModel, tiny_model: Path) -> None:
    assert not adapted.vector().any()
    np.testing.assert_array_equal(logits(adapted.peft), logits(load(tiny_model, "cpu").model))


def test_only_b_is_trainable(adapted: AdaptedModel) -> None:
    trainable = {name for name, p in adapted.peft.named_parameters() if p.requires_grad}
    assert trainable
    assert all("lora_B" in name for name in trainable)
    assert sum(p.numel() for p in adapted.trainable()) == adapted.layout.dimension


def test_a_vector_that_is_set_is_read_back(adapted: AdaptedModel) -> None:
    wanted = vector(0, adapted)
    adapted.set_vector(wanted)
    np.testing.assert_array_equal(adapted.vector(), wanted)


def test_the_model_is_the_base_plus_scale_times_b_times_a(
    adapted: AdaptedModel, tiny_model: Path, adapter: tuple[AdapterSpec, bytes]
) -> None:
    spec, blob = adapter
    b = vector(1, adapted)
    adapted.set_vector(b)
    merged = load(tiny_model, "cpu").model
    a = from_bytes(blob, spec.rank, spec.tensors)
    with torch.no_grad():
        for name, matrix in adapted.layout.split(b).items():
            merged.get_submodule(name).weight += torch.from_numpy(spec.scale * matrix @ a[name])
    np.testing.assert_allclose(logits(adapted.peft), logits(merged), atol=2e-5)


def test_one_adapter_for_a_whole_path_is_the_sum_of_its_branches(
    adapted: AdaptedModel, tiny_model: Path, adapter: tuple[AdapterSpec, bytes], tmp_path: Path
) -> None:
    """Three branches stacked as three PEFT adapters, all active, compute what one adapter with their sum does."""
    spec, blob = adapter
    a = from_bytes(blob, spec.rank, spec.tensors)
    branches = [vector(seed, adapted) for seed in (1, 2, 3)]
    adapted.set_vector(branches[0] + branches[1] + branches[2])
    stacked = None
    for i, b in enumerate(branches):
        folder = tmp_path / f"branch{i}"
        write_peft_folder(
            folder, b, rank=spec.rank, scale=spec.scale, tensors=spec.tensors, shared_a=a, base_model="tiny"
        )
        if stacked is None:
            stacked = PeftModel.from_pretrained(load(tiny_model, "cpu").model, folder, adapter_name="branch0")
        else:
            stacked.load_adapter(folder, adapter_name=f"branch{i}")
    stacked.base_model.set_adapter([f"branch{i}" for i in range(3)])
    np.testing.assert_allclose(logits(adapted.peft), logits(stacked), atol=2e-5)


def test_an_exported_folder_gives_plain_peft_the_same_logits(
    adapted: AdaptedModel, tiny_model: Path, adapter: tuple[AdapterSpec, bytes], tmp_path: Path
) -> None:
    spec, blob = adapter
    b = vector(4, adapted)
    adapted.set_vector(b)
    write_peft_folder(
        tmp_path,
        b,
        rank=spec.rank,
        scale=spec.scale,
        tensors=spec.tensors,
        shared_a=from_bytes(blob, spec.rank, spec.tensors),
        base_model=str(tiny_model),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    loaded = PeftModel.from_pretrained(load(tiny_model, "cpu").model, tmp_path)
    np.testing.assert_array_equal(logits(adapted.peft), logits(loaded))


def test_a_simplified_model_computes_the_same_bits_with_whatever_b_it_is_given(adapted: AdaptedModel) -> None:
    first, second = vector(1, adapted), vector(2, adapted)
    expected = []
    for each in (first, second):
        adapted.set_vector(each)
        expected.append(logits(adapted.peft))
    frozen = {
        tensor.name: (np.ones((tensor.rows_out, 2), np.float32), np.ones((2, tensor.cols_in), np.float32))
        for tensor in adapted.layout.tensors
    }
    adapted.freeze(frozen)
    with_frozen = logits(adapted.peft)
    adapted.freeze({})
    adapted.simplify()
    for each, known in zip((first, second), expected, strict=True):
        adapted.set_vector(each)
        np.testing.assert_array_equal(logits(adapted.peft), known)
    adapted.freeze(frozen)
    np.testing.assert_array_equal(logits(adapted.peft), with_frozen)
    np.testing.assert_array_equal(adapted.vector(), second)


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (TensorSpec("model.layers.9.self_attn.q_proj", 16, 16), "no linear layer"),
        (TensorSpec("model.embed_tokens", 261, 16), "no linear layer"),
        (TensorSpec("model.layers.0.self_attn.q_proj", 8, 16), "16×16 in the base model and 8×16"),
    ],
)
def test_a_tensor_that_the_model_lacks_is_refused(tiny_model: Path, tensor: TensorSpec, problem: str) -> None:
    with pytest.raises(AdapterError, match=problem):
        AdaptedModel(load(tiny_model, "cpu").model, rank=2, scale=1.0, tensors=[tensor], shared_a={})


def test_targets_are_named_shortly_only_where_that_is_exact() -> None:
    linear = ["layers.0.q", "layers.0.k", "layers.1.q", "layers.1.k"]
    assert target_names(["layers.0.q", "layers.1.q"], linear) == ["q"]
    assert target_names(["layers.0.q"], linear) == ["layers.0.q"]
