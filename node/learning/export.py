"""Standard PEFT adapter folders: what a branch has learnt, for any tool that loads LoRA. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from banyan.node.learning.frozen import NONE, Frozen, reduced
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
    most: int | None = None,
) -> float:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, loadable by ``PeftModel.from_pretrained``.

    ``vector`` is the sum of the adapters along a branch's path in the season that ``shared_a`` is of (float32,
    :class:`Layout` order); ``frozen`` what the path has of others, whose factors are stacked below: the ranks add up.
    Where they come to more than ``most``, the closest factors of that rank are written. Returns the share of the
    change's Frobenius norm that these leave behind, 0 otherwise.
    """
    layout = Layout(rank, tensors)
    factors = {name: (b, shared_a[name]) for name, b in layout.split(vector).items()}
    whole = rank + (next(iter(frozen.values()))[1].shape[0] if frozen else 0)
    cut = most is not None and most < whole
    if frozen or cut:
        factors = {name: (np.float32(scale) * b, a) for name, (b, a) in factors.items()}
        rank, scale = whole, 1.0
    for name, (earlier_b, earlier_a) in frozen.items():
        b, a = factors[name]
        factors[name] = np.concatenate([earlier_b, b], axis=1), np.concatenate([earlier_a, a], axis=0)
    left = 0.0
    if cut:
        assert most is not None
        smaller, left = reduced(factors, most)
        factors = {name: _widened(*pair, most) for name, pair in smaller.items()}
        rank = most
    weights = {
        peft_key(name, factor): np.ascontiguousarray(matrix)
        for name, (b, a) in factors.items()
        for factor, matrix in (("A", a), ("B", b))
    }
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
    return left


def _widened(b: Vector, a: Vector, rank: int) -> tuple[Vector, Vector]:
    """Factors of ``rank`` with the same product: PEFT wants one rank, and a small matrix has less."""
    lacks = rank - a.shape[0]
    return np.pad(b, ((0, 0), (0, lacks))), np.pad(a, ((0, lacks), (0, 0)))


def target_names(names: Sequence[str], linear: Collection[str]) -> list[str]:
    """The shortest way to name the targets to PEFT: last parts of names, if they match no other linear layer."""
    short = sorted({name.rsplit(".", 1)[-1] for name in names})
    matched = {name for name in linear if name.rsplit(".", 1)[-1] in short}
    return short if matched == set(names) else list(names)
