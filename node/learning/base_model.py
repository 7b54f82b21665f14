"""Base models: what one is (its fingerprint and target matrices), and loading one safely.

Only safetensors weights are ever read and no code of the model's author is ever run: a model folder is data.
Describing a folder needs neither torch nor transformers, so a network can be founded without them.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from banyan.node.learning.errors import ModelError
from banyan.security.model import BaseModel, FileEntry, TensorSpec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: The files that decide what a model computes; a README may change without making it another model.
MODEL_FILES = ("*.json", "*.jinja", "*.safetensors", "*.model", "merges.txt", "vocab.txt")

_WEIGHT = re.compile(r"(?P<module>.+\.\d+\..+)\.weight\Z")  # inside a numbered layer: no embedding, no head
_LICENSE = re.compile(r"^license:\s*[\"']?([\w.+-]{1,64})", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal language model with its tokenizer, on ``device``, in evaluation mode and frozen."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device


def locate(name: str) -> Path:
    """The folder of a base model: ``name`` itself, or a hub id such as ``org/model`` fetched into the hub's cache.

    Raises :class:`ModelError` if there is neither.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise ModelError(f"There is no model folder {name}", "Give a folder, or a hub id such as org/model")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[*MODEL_FILES, "README.md"]))
    except Exception as error:
        raise ModelError(
            f"The model {name} could not be fetched from the hub ({_first_line(error)})",
            "Check the name and the connection, or give a local folder",
        ) from error


def fingerprint(folder: Path, name: str | None = None) -> BaseModel:
    """What the charter says of a base model: every file with its hash, parameters, architecture, license.

    ``name`` defaults to the folder's. Raises :class:`ModelError` if this is not a folder with a ``config.json``
    and safetensors weights.
    """
    paths = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.is_file()})
    config = _config(folder)
    files = tuple(FileEntry(path.name, path.stat().st_size, _sha256(path)) for path in paths)
    return BaseModel.of(
        name or folder.resolve().name,
        files,
        parameters=parameters_of(folder),
        architecture=str(next(iter(config.get("architectures") or []), "unknown")),
        license=_license(folder),
    )


def parameters_of(folder: Path) -> int:
    """How many numbers the weights in ``folder`` are, from the files' headers. Raises :class:`ModelError`."""
    return sum(math.prod(shape) for _, shape in _shapes(folder))


def check_fingerprint(folder: Path, expected: BaseModel) -> None:
    """Raise :class:`ModelError` naming the first file of ``folder`` that is missing or not the charter's."""
    for entry in expected.files:
        path = folder / entry.name
        if not path.is_file():
            raise ModelError(
                f"The base model in {folder} lacks {entry.name}", f"Take the folder of {expected.name} whole"
            )
        if path.stat().st_size != entry.size or _sha256(path) != entry.digest:
            raise ModelError(
                f"{entry.name} in {folder} is not the file this network was founded on",
                f"Take {expected.name} from where the network's founder took it",
            )


def target_tensors(folder: Path, targets: Sequence[str] | None = None) -> tuple[TensorSpec, ...]:
    """The linear layers an adapter may target, sorted by name, from the headers of the weight files.

    ``targets`` are the last parts of module names, such as ``("q_proj", "v_proj")``; by default every matrix
    inside a numbered layer. Raises :class:`ModelError` if nothing matches.
    """
    found = []
    for name, shape in _shapes(folder):
        match = _WEIGHT.match(name)
        if match is None or len(shape) != 2:
            continue
        module = match["module"]
        if targets is None or module.rsplit(".", 1)[-1] in targets:
            found.append(TensorSpec(module, shape[0], shape[1]))
    if not found:
        wanted = "linear layers" if targets is None else " or ".join(targets)
        raise ModelError(f"The model in {folder} has no {wanted} to adapt", "Name layers the model has")
    return tuple(sorted(found, key=lambda tensor: tensor.name))


def load(folder: Path, device: str = "auto") -> LoadedModel:
    """Load model and tokenizer from ``folder`` or a hub id, frozen, in float32 (bfloat16 on a GPU that has it).

    ``device`` is ``auto`` (a GPU where there is one), or a torch device name. Raises :class:`ModelError`.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    half = place.type == "cuda" and torch.cuda.is_bf16_supported()
    safely: dict[str, Any] = {"trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **safely)
        model = AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, dtype=torch.bfloat16 if half else torch.float32, **safely
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"The base model in {folder} cannot be loaded ({_first_line(error)})",
            "It must be a folder with config.json, a tokenizer and safetensors weights, and need no code of its own",
        ) from error
    model.config.use_cache = False
    return LoadedModel(model.to(place).eval().requires_grad_(False), tokenizer, place)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} is not a model folder: its config.json cannot be read ({_first_line(error)})",
            "Give a folder with config.json, a tokenizer and safetensors weights",
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"{folder} is not a model folder: its config.json is not a map")
    return config


def _shapes(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every stored tensor; reads headers only."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ModelError(
            f"There are no safetensors weights in {folder}",
            "Weights in other formats can run code when loaded and are never read: convert them to safetensors",
        )
    for path in paths:
        try:
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
                    yield name, tuple(file.get_slice(name).get_shape())
        except SafetensorError as error:
            raise ModelError(f"{path} is not a whole safetensors file ({error})") from error


def _sha256(path: Path) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _license(folder: Path) -> str:
    """The license a model card names in its front matter, else ``unknown``."""
    card = folder / "README.md"
    match = _LICENSE.search(card.read_text("utf-8", "replace")[:4096]) if card.is_file() else None
    return match[1] if match else "unknown"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
