"""The memory of a model follows from its sizes."""

import numpy as np
import pytest
from tests.node.catalog.conftest import device, listing

from banyan.node.catalog.memory import RUNTIME, needed, to_run, to_train
from banyan.node.catalog.speed import tokens_per_second


@pytest.mark.parametrize("base", ["small", "middle", "large"])
def test_less_precision_takes_less_and_training_more(base):
    model = listing("/en", base=base)
    runs = [needed(model, "run", each) for each in ("int8", "bfloat16", "float32")]
    assert runs == sorted(runs)
    assert needed(model, "train", "float32") > runs[-1]


def test_an_eight_billion_model_takes_what_its_weights_and_window_take():
    model = listing("/en", base="large")
    weights, cache = 2 * 8_030_261_248, 2 * 32 * 1_024 * 2_048 * 2
    assert 1.0 < (to_run(model, "bfloat16") - RUNTIME) / (weights + cache) < 1.2


def test_no_more_window_is_counted_than_the_model_has():
    model = listing("/en", base="middle")
    short = model.model_copy(update={"base": model.base.model_copy(update={"context": 128})})
    assert to_run(short, "float32") < to_run(model, "float32")
    assert to_run(model, "float32", tokens=10**9) == to_run(model, "float32")
    assert to_train(short, "float32", tokens=4_096) == to_train(short, "float32", tokens=128)


def test_the_formula_counts_every_tensor_that_a_real_model_holds(tmp_path):
    """A real model's weights, B, gradients, moments and keys are counted, tensor by tensor, on one that torch makes."""
    import torch

    from banyan.node.catalog.describing import base_of
    from banyan.node.learning.adapter import AdaptedModel
    from banyan.node.learning.base_model import fingerprint, load, target_tensors
    from banyan.node.learning.shared_a import draw
    from banyan.node.learning.tiny_model import write_tiny_model

    folder = write_tiny_model(tmp_path)
    tensors = target_tensors(folder)
    base = base_of(folder / "config.json", fingerprint(folder))
    assert (base.layers, base.hidden, base.intermediate, base.heads, base.kv_width) == (2, 16, 24, 2, 8)
    assert (base.vocabulary, base.context) == (261, 128)
    loaded = load(folder, "cpu")
    held = sum(each.numel() for each in loaded.model.parameters())
    assert held == base.parameters
    model = AdaptedModel(loaded.model, rank=4, scale=1.0, tensors=tensors, shared_a=draw(0, 4, tensors))
    ids = torch.zeros(1, 32, dtype=torch.int64)
    with torch.no_grad():
        cache = model.peft(input_ids=ids, use_cache=True).past_key_values
    kept = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert kept == 2 * base.layers * base.kv_width * 32
    trained = sum(each.numel() for each in model.trainable())
    assert trained == len(np.asarray(model.vector())) == 4 * sum(tensor.rows_out for tensor in tensors)


def test_a_model_is_as_fast_as_its_weights_can_be_read():
    place = device(bytes_per_second=16e9, flops=1e15)
    model = listing("/en", base="large")
    assert tokens_per_second(model, place, "run", "bfloat16") == pytest.approx(1.0, rel=0.02)
    assert tokens_per_second(model, place, "run", "float32") == pytest.approx(0.5, rel=0.02)
    assert tokens_per_second(model, device(flops=None), "run", "float32") is None
    assert tokens_per_second(model, device(flops=3.2e12), "train", "float32") == pytest.approx(100, rel=0.02)
