"""What a base model may consist of: weights as safetensors, a tokenizer, small JSON. Nothing that could run.

The manifest is the list of files in the charter, each with its size and hash. It is checked before a byte is fetched,
and the files once they are here: their hashes prove that they are the founder's, not that they are harmless.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from banyan.node.learning.errors import ModelError
from banyan.security.model import BaseModel, FileEntry

MIB: Final = 1 << 20

#: Bytes that a file may have, by its whole name or its suffix; None: as many as the charter says.
LIMITS: Final = {
    "config.json": MIB,
    "generation_config.json": MIB,
    "tokenizer.json": 256 * MIB,
    "vocab.json": 64 * MIB,
    "vocab.txt": 64 * MIB,
    "merges.txt": 64 * MIB,
    "model.safetensors.index.json": 16 * MIB,
    ".json": 4 * MIB,
    ".jinja": MIB,
    ".model": 64 * MIB,
    ".safetensors": None,
}

#: Larger JSON is vocabulary, which the tokenizer's library reads strictly: parsed here it would take much memory.
READ: Final = LIMITS[".json"] or 0

#: Keys of JSON files by which a model asks for code of its author's to be run.
CODE_KEYS: Final = ("auto_map", "custom_pipelines")

_CURE: Final = "Ask the network's founder for a model that is safetensors, a tokenizer and JSON alone"


def check_manifest(base: BaseModel) -> None:
    """Raise :class:`ModelError` naming the first file of ``base`` that is of no known kind or too large, or what is
    missing of ``config.json`` and weights."""
    for entry in base.files:
        path = PurePosixPath(entry.name)
        key = path.name if path.name in LIMITS else path.suffix
        if key not in LIMITS:
            raise ModelError(
                f"{base.name} has {entry.name}, which is no kind of file that a base model may have", _CURE
            )
        limit = LIMITS[key]
        if limit is not None and entry.size > limit:
            raise ModelError(
                f"{entry.name} of {base.name} has {entry.size:,} bytes where {limit:,} are allowed", _CURE
            )
    names = {entry.name for entry in base.files}
    if "config.json" not in names:
        raise ModelError(f"{base.name} has no config.json", _CURE)
    if not any(name.endswith(".safetensors") for name in names):
        raise ModelError(f"{base.name} has no safetensors weights", _CURE)


def check_content(folder: Path, base: BaseModel) -> None:
    """Raise :class:`ModelError` naming the first file in ``folder`` that is not what its name says, or that asks for
    code to be run. Call it once :func:`check_manifest` has passed and every file is here."""
    from safetensors import SafetensorError, safe_open

    for entry in base.files:
        path = folder / entry.name
        if path.suffix == ".json" and entry.size <= READ:
            _check_json(path, entry)
        elif path.suffix == ".safetensors":
            try:
                with safe_open(path, framework="numpy"):
                    pass
            except SafetensorError as error:
                raise ModelError(
                    f"{entry.name} of {base.name} is not a safetensors file ({error})", _CURE
                ) from error


def weights(base: BaseModel) -> Iterator[FileEntry]:
    """The files of ``base`` that hold its parameters."""
    return (entry for entry in base.files if entry.name.endswith(".safetensors"))


def _check_json(path: Path, entry: FileEntry) -> None:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{entry.name} of the base model is not valid JSON ({error})", _CURE) from None
    if not isinstance(value, dict):
        return
    for key in CODE_KEYS:
        if value.get(key):
            raise ModelError(
                f"{entry.name} of the base model asks for code of its author's to be run ({key})",
                f"Banyan never runs it. {_CURE}",
            )
