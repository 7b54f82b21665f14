"""A model of the tree as one GGUF file, for llama.cpp and what is built on it. Llama's architecture only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray

from banyan.node.learning.layout import Vector
from banyan.node.serving.errors import ServingError
from banyan.node.serving.gguf_vocabulary import Vocabulary, vocabulary_of
from banyan.node.serving.merged import Progress, merged_tensors, weight_files
from banyan.security.model import AdapterSpec

#: Architectures of transformers that compute what llama.cpp calls ``llama``.
ARCHITECTURES = frozenset({"LlamaForCausalLM", "MistralForCausalLM"})

#: The numbers that matrices can be written in; vectors are always float32, as llama.cpp wants them.
KINDS: Mapping[str, tuple[Kind, gguf.LlamaFileType]] = {
    "float32": (Kind.F32, gguf.LlamaFileType.ALL_F32),
    "float16": (Kind.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bfloat16": (Kind.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (Kind.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}

Numbers = NDArray[np.float32]


def write_gguf(
    to: Path,
    folder: Path,
    vector: Vector,
    *,
    spec: AdapterSpec,
    shared_a: Mapping[str, Vector],
    name: str,
    dtype: str = "float16",
    progress: Progress = lambda done, whole: None,
) -> None:
    """Write the base in ``folder`` with the adapter ``vector`` added as the file ``to``.

    ``name`` is what people see. Raises :class:`ServingError` for another architecture, or a tokenizer that llama.cpp
    has no name for.
    """
    from transformers import AutoTokenizer

    config = json.loads((folder / "config.json").read_text("utf-8"))
    check_architecture(config)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    kind, file_type = KINDS[dtype]
    writer = gguf.GGUFWriter(to, "llama", use_temp_file=True)
    try:
        writer.add_name(name)
        writer.add_file_type(file_type)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _add_shape(writer, config)
        _add_vocabulary(writer, vocabulary_of(tokenizer, config["vocab_size"]))
        if tokenizer.chat_template:
            writer.add_chat_template(tokenizer.chat_template)
        for gguf_name, numbers in gguf_tensors(folder, config, spec, shared_a, vector, progress):
            _add(writer, gguf_name, numbers, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def check_architecture(config: Mapping[str, Any]) -> None:
    """Raise :class:`ServingError` unless llama.cpp's ``llama`` computes what a model with this config does."""
    architecture = next(iter(config.get("architectures") or []), "unknown")
    why = None
    if architecture not in ARCHITECTURES:
        why = f"is a {architecture}"
    elif config.get("hidden_act", "silu") != "silu":
        why = f"uses the activation {config['hidden_act']}"
    elif (config.get("sliding_window") or math.inf) < config["max_position_embeddings"]:
        why = "sees a sliding window only"
    elif (kind := _rope(config)[1].get("rope_type", "default")) not in ("default", "linear", "llama3"):
        why = f"scales its positions by {kind}"
    if why is not None:
        raise ServingError(
            f"The base model {why}, and only plain {' and '.join(sorted(ARCHITECTURES))} are written as GGUF",
            "Use `--format merged`, and the converter of llama.cpp on that",
        )


def gguf_tensors(
    folder: Path,
    config: Mapping[str, Any],
    spec: AdapterSpec,
    shared_a: Mapping[str, Vector],
    vector: Vector,
    progress: Progress = lambda done, whole: None,
) -> Iterator[tuple[str, Numbers]]:
    """Every tensor by GGUF's name, float32, with the rows of queries and keys in llama.cpp's order."""
    heads = config["num_attention_heads"]
    groups = {"q_proj": heads, "k_proj": config.get("num_key_value_heads") or heads}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    files = weight_files(folder)
    whole, done = sum(file.stat().st_size for file in files), 0
    for file in files:
        for name, tensor in merged_tensors(file, spec, shared_a, vector):
            if name.endswith("rotary_emb.inv_freq"):
                continue  # llama.cpp computes them
            gguf_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if gguf_name is None:
                raise ServingError(
                    f"The base model's tensor {name} has no place in a GGUF file of Llama's architecture",
                    "Use `--format merged`",
                )
            numbers = tensor.numpy()
            module = name.rsplit(".", 2)[-2]
            yield gguf_name, permuted(numbers, groups[module]) if module in groups else numbers
        done += file.stat().st_size
        progress(done, whole)
    if (factors := rope_factors(config)) is not None:
        yield "rope_freqs.weight", factors


def permuted(numbers: Numbers, heads: int) -> Numbers:
    """The rows of a query or key matrix (or the numbers of its bias) in llama.cpp's order: it rotates pairs of
    neighbours, transformers the two halves of a head."""
    half = numbers.shape[0] // heads // 2
    shaped = numbers.reshape(heads, 2, half, *numbers.shape[1:])
    return np.ascontiguousarray(shaped.swapaxes(1, 2)).reshape(numbers.shape)


def rope_factors(config: Mapping[str, Any]) -> Numbers | None:
    """By what llama.cpp is to divide each frequency of the rotary embedding, as Llama 3.1 scales them; None: by 1."""
    theta, scaling = _rope(config)
    if scaling.get("rope_type") != "llama3":
        return None
    size, old = _head_size(config), scaling["original_max_position_embeddings"]
    low, high, factor = (scaling[key] for key in ("low_freq_factor", "high_freq_factor", "factor"))
    waves = 2 * np.pi * theta ** (np.arange(0, size, 2, dtype=np.float64) / size)
    smooth = np.clip((old / waves - low) / (high - low), 0.0, 1.0)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def _rope(config: Mapping[str, Any]) -> tuple[float, Mapping[str, Any]]:
    """Base frequency and scaling, from either place where a config may have them."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = scaling.get("rope_theta") or config.get("rope_theta") or 10_000.0
    return float(theta), scaling


def _head_size(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _add_shape(writer: gguf.GGUFWriter, config: Mapping[str, Any]) -> None:
    heads, size = config["num_attention_heads"], _head_size(config)
    theta, scaling = _rope(config)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-6))
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(theta)
    if scaling.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.model == "llama":
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.space_first)
    else:
        writer.add_token_merges(vocabulary.merges)
    for name, add in (
        ("bos", writer.add_bos_token_id),
        ("eos", writer.add_eos_token_id),
        ("unk", writer.add_unk_token_id),
        ("pad", writer.add_pad_token_id),
    ):
        if name in vocabulary.special:
            add(vocabulary.special[name])
    writer.add_add_bos_token("bos" in vocabulary.special)  # texts were trained on with it
    writer.add_add_eos_token(False)


def _add(writer: gguf.GGUFWriter, name: str, numbers: Numbers, kind: Kind) -> None:
    block = gguf.GGML_QUANT_SIZES[kind][0]
    if numbers.ndim < 2:
        kind = Kind.F32
    elif numbers.shape[-1] % block:
        kind = Kind.F16  # too narrow for this kind's blocks
    if kind is Kind.F16 and np.abs(numbers).max(initial=0) > np.finfo(np.float16).max:
        raise ServingError(
            f"{name} holds numbers that float16 cannot", "Write it in --dtype bfloat16 or float32"
        )
    writer.add_tensor(name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)
