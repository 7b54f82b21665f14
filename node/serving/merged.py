"""A model of the tree with its adapter added into the weights: ``W + s·B·A``, for tools that know no LoRA."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from banyan.node.learning.base_model import MODEL_FILES
from banyan.node.learning.layout import Layout, Vector
from banyan.node.serving.errors import ServingError
from banyan.security.model import AdapterSpec

#: The numbers that weights can be written in.
DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

INDEX = "model.safetensors.index.json"

#: Told ``(done, whole)`` bytes of the base's weights, as they are written.
Progress = Callable[[int, int], None]


def merged_tensors(
    file: Path, spec: AdapterSpec, shared_a: Mapping[str, Vector], vector: Vector
) -> Iterator[tuple[str, Tensor]]:
    """Name and float32 value of every tensor of one of the base's weight files, the adapter ``vector`` added.

    Each is added up in float32, as a node on a processor computes.
    """
    b = Layout(spec.rank, spec.tensors).split(vector)
    with safe_open(file, framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118 - a safetensors file is no mapping
            tensor: Tensor = weights.get_tensor(name)
            module = name.removesuffix(".weight")
            tensor = tensor.float() if tensor.is_floating_point() else tensor
            if name.endswith(".weight") and module in b:
                product = torch.from_numpy(b[module]) @ torch.from_numpy(shared_a[module])
                tensor = tensor + spec.scale * product
            yield name, tensor


def weight_files(folder: Path) -> list[Path]:
    """The base's weight files, in order."""
    return sorted(folder.glob("*.safetensors"))


def write_merged_folder(
    to: Path,
    folder: Path,
    vector: Vector,
    *,
    spec: AdapterSpec,
    shared_a: Mapping[str, Vector],
    dtype: str = "float32",
    progress: Progress = lambda done, whole: None,
) -> None:
    """Write the base in ``folder`` with the adapter ``vector`` added into ``to``: a folder that
    ``AutoModelForCausalLM.from_pretrained`` loads, its tokenizer included.

    Works through one weight file at a time. Raises :class:`ServingError` where a weight does not fit into ``dtype``.
    """
    to.mkdir(parents=True, exist_ok=True)
    files = weight_files(folder)
    whole, done, size = sum(file.stat().st_size for file in files), 0, 0
    for file in files:
        merged = {
            name: as_dtype(name, tensor, dtype).contiguous()
            for name, tensor in merged_tensors(file, spec, shared_a, vector)
        }
        save_file(merged, to / file.name, metadata={"format": "pt"})
        size += sum(tensor.nbytes for tensor in merged.values())
        done += file.stat().st_size
        progress(done, whole)
    for path in sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)} - set(files)):
        shutil.copyfile(path, to / path.name)
    _change(to / "config.json", {"dtype": dtype, "torch_dtype": None})
    if (to / INDEX).exists():
        metadata = json.loads((to / INDEX).read_text("utf-8")).get("metadata") or {}
        _change(to / INDEX, {"metadata": metadata | {"total_size": size}})


def as_dtype(name: str, tensor: Tensor, dtype: str) -> Tensor:
    """``tensor`` in ``dtype``; integers stay. Raises :class:`ServingError` where a number is too large for it."""
    if not tensor.is_floating_point():
        return tensor
    rounded = tensor.to(DTYPES[dtype])
    if not bool(torch.isfinite(rounded).all()):
        raise ServingError(
            f"{name} holds numbers that {dtype} cannot", "Write it in --dtype bfloat16 or float32"
        )
    return rounded


def _change(path: Path, changes: Mapping[str, object]) -> None:
    """Set keys of a JSON file; None removes one."""
    plain = json.loads(path.read_text("utf-8")) | changes
    text = json.dumps({key: value for key, value in plain.items() if value is not None}, indent=2)
    path.write_text(text + "\n", "utf-8")
