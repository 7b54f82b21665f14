"""The GGUF file in llama.cpp itself, where it is installed: the same tokens and the same logits as the live model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from banyan.node.assets import base_model_path
from banyan.node.learning.adapter_spec import design_adapter
from banyan.node.learning.shared_a import from_bytes
from banyan.node.serving.base_in_memory import BaseInMemory
from banyan.node.serving.gguf_file import write_gguf

llama_cpp = pytest.importorskip(
    "llama_cpp", reason="llama-cpp-python is not installed, and is not needed: it takes half an hour to build"
)

MODELS = Path(__file__).resolve().parents[4] / "shared/models"
TEXTS = (
    "The quick brown fox, it's 1234 years old.",
    "Wie geht es?  Äpfel & Öl\n\n  néw lines",
    "日本語 emoji 🙂 test",
)
FLOAT32_CACHE = {"type_k": 0, "type_v": 0}


@pytest.mark.parametrize("name", ["embedded", "base-4m", "stories-260k"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float16", 5e-2)])
def test_llama_cpp_reads_the_same_tokens_and_says_the_same(tmp_path, name, dtype, tolerance):
    folder = base_model_path() if name == "embedded" else MODELS / name
    if not folder.is_dir():
        pytest.skip(f"the model {name} is not beside the repository")
    spec, blob = design_adapter(folder, seed=1, rank=4)
    shared_a = from_bytes(blob, 4, spec.tensors)
    vector = np.random.default_rng(5).normal(0, 0.05, spec.dimension).astype(np.float32)
    base = BaseInMemory(folder, spec, shared_a, "cpu")
    live = base.model_with(vector).peft
    file = tmp_path / "model.gguf"
    write_gguf(file, folder, vector, spec=spec, shared_a=shared_a, name="test", dtype=dtype)
    llama = llama_cpp.Llama(
        str(file), logits_all=True, n_ctx=256, n_threads=1, verbose=False, **FLOAT32_CACHE
    )
    for text in TEXTS:
        ids = [base.tokenizer.bos_token_id, *base.tokenizer.encode(text, add_special_tokens=False)]
        assert llama.tokenize(text.encode(), add_bos=True) == ids
        llama.reset()
        llama.eval(ids)
        with torch.inference_mode():
            expected = live(input_ids=torch.tensor([ids])).logits[0].numpy()
        np.testing.assert_allclose(llama.scores[: len(ids)], expected, rtol=0, atol=tolerance)
