"""What is exported computes what the live model does, in plain transformers and as GGUF."""

import json

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from banyan.node.assets import base_model_path
from banyan.node.learning.adapter_spec import design_adapter
from banyan.node.learning.shared_a import from_bytes
from banyan.node.serving.base_in_memory import BaseInMemory
from banyan.node.serving.errors import ServingError
from banyan.node.serving.gguf_file import check_architecture, gguf_tensors, permuted, rope_factors, write_gguf
from banyan.node.serving.gguf_vocabulary import LLAMA_3, vocabulary_of
from banyan.node.serving.merged import DTYPES, write_merged_folder

IDS = torch.arange(5, 45).reshape(2, 20)

#: The largest difference of logits that adding B·A to the weights makes, in float32, where logits are about 1.
TOLERANCE = 2e-5


def logits(model):
    with torch.inference_mode():
        return model(input_ids=IDS).logits.float().numpy()


@pytest.fixture(scope="module")
def live(base, vector_of):
    return logits(base.model_with(vector_of(1)).peft)


def merge(to, tiny_model, spec_and_a, vector, **options):
    spec, shared_a = spec_and_a
    write_merged_folder(to, tiny_model, vector, spec=spec, shared_a=shared_a, **options)
    return to


def test_merged_weights_load_in_plain_transformers_and_say_the_same(
    tmp_path, tiny_model, spec_and_a, vector_of, live, base
):
    told = []
    merge(tmp_path, tiny_model, spec_and_a, vector_of(1), progress=lambda *at: told.append(at))
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.dtype == torch.float32
    np.testing.assert_allclose(logits(model), live, rtol=0, atol=TOLERANCE)
    assert np.abs(live - logits(base.model_with(vector_of(0)).peft)).max() > 100 * TOLERANCE
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.chat_template == base.tokenizer.chat_template
    assert told[-1][0] == told[-1][1] > 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_merged_weights_can_be_rounded_and_say_so(tmp_path, tiny_model, spec_and_a, vector_of, live, dtype):
    merge(tmp_path, tiny_model, spec_and_a, vector_of(1), dtype=dtype)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.dtype == DTYPES[dtype]
    np.testing.assert_allclose(logits(model.float()), live, rtol=0, atol=0.1)


def test_weights_that_a_number_cannot_hold_are_refused(tmp_path, tiny_model, spec_and_a, vector_of):
    with pytest.raises(ServingError, match=r"numbers that float16 cannot\. Write it in --dtype bfloat16"):
        merge(tmp_path, tiny_model, spec_and_a, vector_of(1) * 1e6, dtype="float16")


def test_a_base_of_several_files_stays_one_of_several_files(
    tmp_path, spec_and_a, tiny_model, vector_of, live
):
    parts = tmp_path / "parts"
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.save_pretrained(parts, max_shard_size="5KB")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(parts)
    merged = merge(tmp_path / "merged", parts, spec_and_a, vector_of(1))
    files = sorted(file.name for file in merged.glob("*.safetensors"))
    assert len(files) > 2
    np.testing.assert_allclose(
        logits(AutoModelForCausalLM.from_pretrained(merged)), live, rtol=0, atol=TOLERANCE
    )
    index = json.loads((merged / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(files)


# ------------------------------------------------------------------------------------------------------- GGUF


def write(to, folder, spec_and_a, vector, **options):
    spec, shared_a = spec_and_a
    write_gguf(to, folder, vector, spec=spec, shared_a=shared_a, name="garden /en@1", **options)
    return gguf.GGUFReader(to)


def values(reader):
    """Every tensor of a file by name, as float32 in its own shape."""
    return {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        for tensor in reader.tensors
    }


def field(reader, name):
    return reader.get_field(name).contents()


def from_gguf(reader):
    """A plain Llama with the weights of a file: llama.cpp's order of rows undone."""
    heads = {"attn_q": field(reader, "llama.attention.head_count")}
    heads["attn_k"] = field(reader, "llama.attention.head_count_kv")
    config = LlamaConfig(
        vocab_size=field(reader, "llama.vocab_size"),
        hidden_size=field(reader, "llama.embedding_length"),
        intermediate_size=field(reader, "llama.feed_forward_length"),
        num_hidden_layers=field(reader, "llama.block_count"),
        num_attention_heads=heads["attn_q"],
        num_key_value_heads=heads["attn_k"],
        head_dim=field(reader, "llama.rope.dimension_count"),
        max_position_embeddings=field(reader, "llama.context_length"),
        rms_norm_eps=field(reader, "llama.attention.layer_norm_rms_epsilon"),
        rope_theta=field(reader, "llama.rope.freq_base"),
        tie_word_embeddings="output.weight" not in values(reader),
    )
    model = LlamaForCausalLM(config).eval()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    found = values(reader)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
            numbers = found[stored]
            kind = stored.split(".")[-2]
            if kind in heads:  # pairs of neighbours back to two halves
                rows = numbers.reshape(heads[kind], -1, 2, numbers.shape[-1])
                numbers = rows.swapaxes(1, 2).reshape(numbers.shape)
            parameter.copy_(torch.from_numpy(numbers.copy()))
    return model


def test_a_gguf_file_holds_the_merged_weights_and_the_shape_of_the_model(
    tmp_path, tiny_model, spec_and_a, vector_of, live
):
    reader = write(tmp_path / "model.gguf", tiny_model, spec_and_a, vector_of(1), dtype="float32")
    config = json.loads((tiny_model / "config.json").read_text())
    expected = dict(gguf_tensors(tiny_model, config, *spec_and_a, vector_of(1)))
    found = values(reader)
    assert found.keys() == expected.keys()
    for name, numbers in expected.items():
        np.testing.assert_array_equal(found[name], numbers)
    np.testing.assert_allclose(logits(from_gguf(reader)), live, rtol=0, atol=TOLERANCE)
    assert field(reader, "general.architecture") == "llama"
    assert field(reader, "general.name") == "garden /en@1"
    assert "[U]" in field(reader, "tokenizer.chat_template")


@pytest.fixture(scope="module")
def embedded():
    """The embedded base's spec and A, an adapter, and the live model's logits."""
    spec, blob = design_adapter(base_model_path(), seed=1, rank=2)
    shared_a = from_bytes(blob, 2, spec.tensors)
    vector = np.random.default_rng(5).normal(0, 0.05, spec.dimension).astype(np.float32)
    live = logits(BaseInMemory(base_model_path(), spec, shared_a, "cpu").model_with(vector).peft)
    return (spec, shared_a), vector, live


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.02), ("bfloat16", 0.1), ("q8_0", 0.1)])
def test_smaller_numbers_stay_close_to_the_live_model(tmp_path, embedded, dtype, tolerance):
    """On the embedded base, whose rows are whole blocks of 32."""
    spec_and_a, vector, live = embedded
    reader = write(tmp_path / "model.gguf", base_model_path(), spec_and_a, vector, dtype=dtype)
    kinds = {tensor.tensor_type for tensor in reader.tensors if len(tensor.shape) == 2}
    assert len(kinds) <= 2  # a matrix whose rows are no whole blocks is float16
    away = np.abs(logits(from_gguf(reader)) - live).max() / np.abs(live).max()
    assert away < tolerance


def test_the_tokenizer_of_a_gguf_file_is_that_of_the_base(tmp_path, spec_and_a, tiny_model, vector_of):
    reader = write(tmp_path / "model.gguf", tiny_model, spec_and_a, vector_of(1))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokens = field(reader, "tokenizer.ggml.tokens")
    assert tokens == [tokenizer.convert_ids_to_tokens(i) for i in range(len(tokens))]
    types = field(reader, "tokenizer.ggml.token_type")
    assert [types[i] for i in range(5)] == [gguf.TokenType.CONTROL] * 5
    assert field(reader, "tokenizer.ggml.model") == "gpt2"
    assert field(reader, "tokenizer.ggml.pre") == "gpt-2"
    assert field(reader, "tokenizer.ggml.bos_token_id") == tokenizer.bos_token_id
    assert field(reader, "tokenizer.ggml.add_bos_token") is True


def fast(model, **parts):
    inner = Tokenizer(model)
    for name, part in parts.items():
        setattr(inner, name, part)
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")


def test_a_sentencepiece_tokenizer_scores_its_merges_in_their_order():
    vocabulary = {"<unk>": 0, "<0x41>": 1, "▁": 2, "a": 3, "b": 4, "ab": 5, "▁ab": 6}
    model = models.BPE(
        vocab=vocabulary, merges=[("a", "b"), ("▁", "ab")], byte_fallback=True, unk_token="<unk>"
    )
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    found = vocabulary_of(fast(model, normalizer=normalizer, decoder=decoders.ByteFallback()), size=8)
    assert (found.model, found.space_first) == ("llama", True)
    assert found.scores[5] > found.scores[6] > found.scores[3]
    kinds = gguf.TokenType
    assert found.types[:3] == (kinds.UNKNOWN, kinds.BYTE, kinds.NORMAL)
    assert (found.tokens[7], found.types[7]) == ("[PAD7]", kinds.UNUSED)


def test_a_tokenizer_that_llama_cpp_has_no_name_for_is_refused():
    from tokenizers import Regex, pre_tokenizers

    def byte_level(split):
        steps = [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
        return fast(models.BPE(vocab={"<unk>": 0}, merges=[]), pre_tokenizer=pre_tokenizers.Sequence(steps))

    assert vocabulary_of(byte_level(LLAMA_3), 1).pre == "llama-bpe"
    for tokenizer, why in (
        (byte_level(r"\d"), "splits text in a way"),
        (fast(models.WordLevel({"<unk>": 0}, "<unk>")), "of the kind WordLevel"),
        (
            fast(models.BPE(vocab={"<unk>": 0}, merges=[]), normalizer=normalizers.NFC()),
            "prepares text by NFC",
        ),
    ):
        with pytest.raises(ServingError, match=why) as caught:
            vocabulary_of(tokenizer, 1)
        assert "--format merged" in caught.value.cure


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"architectures": ["Qwen3ForCausalLM"]}, "is a Qwen3ForCausalLM"),
        ({"hidden_act": "gelu"}, "activation gelu"),
        ({"sliding_window": 64}, "sliding window"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "positions by yarn"),
    ],
)
def test_another_architecture_is_refused_with_a_way_out(tiny_model, change, why):
    config = json.loads((tiny_model / "config.json").read_text())
    check_architecture(config)
    with pytest.raises(ServingError, match=why) as caught:
        check_architecture(config | change)
    assert "--format merged" in caught.value.cure


def test_queries_keep_their_scores_when_neighbours_are_rotated_instead_of_halves():
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 8)).astype(np.float32)
    angles = rng.normal(size=4)

    def halves(x):
        a, b = x[:4], x[4:]
        return np.concatenate(
            [a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)]
        )

    def neighbours(x):
        a, b = x[0::2], x[1::2]
        return np.stack(
            [a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], axis=1
        ).ravel()

    theirs = neighbours(permuted(query, 1)) @ permuted(key, 1)
    np.testing.assert_allclose(theirs, halves(query) @ key, rtol=1e-5)


def test_the_frequencies_of_llama_3_are_scaled_as_transformers_scales_them():
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    config = LlamaConfig(
        hidden_size=512, num_attention_heads=4, max_position_embeddings=131_072, rope_parameters=scaling
    )
    expected, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 500_000.0 ** -(np.arange(0, 128, 2) / 128)
    np.testing.assert_allclose(plain / rope_factors(config.to_dict()), expected.numpy(), rtol=1e-5)
    assert rope_factors(LlamaConfig().to_dict()) is None
