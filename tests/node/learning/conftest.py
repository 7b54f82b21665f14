"""A tiny random Llama, made once: real code paths in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from banyan.node.learning.adapter_spec import design_adapter
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.learning.tiny_model import write_tiny_model
from banyan.node.learning.workplace import Workplace
from banyan.security.model import AdapterSpec


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads that wait for each other on a busy machine make tiny models slow."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny-chat"))


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a chat template."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny-plain"), chat=False)


@pytest.fixture(scope="session")
def adapter(tiny_model: Path) -> tuple[AdapterSpec, bytes]:
    """The spec of rank 4 for the tiny model, and the blob of its A."""
    return design_adapter(tiny_model, seed=7, rank=4, scale=2.0)


@pytest.fixture
def place(tiny_model: Path, adapter: tuple[AdapterSpec, bytes]) -> Workplace:
    spec, blob = adapter
    blobs = MemoryBlobs()
    blobs.put(blob)
    return Workplace(spec, "int8", b"n" * 32, "a node", tiny_model, blobs)


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Write objects as a JSONL file and return its path."""

    def write(rows: Iterable[object], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return path

    return write


@pytest.fixture
def some_rows(write_rows: Callable[..., Path]) -> Path:
    """Thirty short questions with answers."""
    return write_rows([{"prompt": f"What is {i} + {i}?", "response": f"It is {2 * i}."} for i in range(30)])
