"""Standard PEFT adapter folders: what a branch has learnt, for any tool that loads LoRA. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from banyan.node.learning.frozen import NONE, Frozen
from banyan.node.learning.layout import Layout, Tensor, Vector

PREFIX = "base_model.model."


def peft_key(name: str, factor: str) -> str:
    """The name PEFT gives to ``factor`` (``A`` or ``B``) of the module ``name`` in its adapter files."""
    return f"{PREFIX}{name}.lora_{factor}.weight"


def write_peft_folder(
    folder: Path,
    vector: Vector,
    *,
    rank: int,
    scale: float,
    tensors: Sequence[Tensor],
    shared_a: Mapping[str, Vector],
    base_model: str,
    frozen: Frozen = NONE,
) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, loadable by ``PeftModel.from_pretrained``.

    ``vector`` is the sum of the adapters along a branch's path in the season that ``shared_a`` is of (float32,
    :class:`Layout` order); ``frozen`` what the path has of others, whose factors are stacked below: the ranks add up.
    """
    layout = Layout(rank, tensors)
    weights = {}
    for name, b in layout.split(vector).items():
        a = shared_a[name]
        if frozen:
            earlier_b, earlier_a = frozen[name]
            b = np.concatenate([earlier_b, np.float32(scale) * b], axis=1)
            a = np.concatenate([earlier_a, a], axis=0)
        weights[peft_key(name, "A")] = np.ascontiguousarray(a)
        weights[peft_key(name, "B")] = np.ascontiguousarray(b)
    if frozen:
        rank, scale = next(iter(weights.values())).shape[0], 1.0
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": rank,
        "lora_alpha": scale * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "target_modules": [tensor.name for tensor in layout.tensors],
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def target_names(names: Sequence[str], linear: Collection[str]) -> list[str]:
    """The shortest way to name the targets to PEFT: last parts of names, if they match no other linear layer."""
    short = sorted({name.rsplit(".", 1)[-1] for name in names})
    matched = {name for name in linear if name.rsplit(".", 1)[-1] in short}
    return short if matched == set(names) else list(names)
