"""A small network to test with: named identities from fixed seeds, and a founder for charters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache

import pytest

from banyan.security.charter import AdapterSpec, BaseModel, Charter, FileEntry, TensorSpec, found, preset
from banyan.security.identity import Identity

NOW = 1_800_000_000_000  # ms; every test's "now"
DAY = 86_400_000


@cache
def _who(name: str) -> Identity:
    return Identity.from_seed(hashlib.sha256(name.encode()).digest())


@cache
def _charter(admission: str, name: str) -> Charter:
    files = [FileEntry("model.safetensors", 1_000, b"m" * 32), FileEntry("config.json", 20, b"c" * 32)]
    tensors = tuple(TensorSpec(f"layers.{n}.q_proj", 16, 16) for n in range(2))
    return found(
        _who("founder"),
        name=name,
        created=NOW - 30 * DAY,
        admission=admission,  # type: ignore[arg-type]
        base=BaseModel.of("tiny", files, parameters=1_000, architecture="llama", license="Apache-2.0"),
        adapter=AdapterSpec(4, 2.0, 7, b"a" * 32, 512, tensors),
        branches=("/en/medical", "/sv"),
        policies=preset("local"),
    )


@pytest.fixture(scope="session")
def who() -> Callable[[str], Identity]:
    """``who("ada")`` is always the same identity."""
    return _who


@pytest.fixture(scope="session")
def charter() -> Charter:
    """An invite-only network."""
    return _charter("invite", "orchard")


@pytest.fixture(scope="session")
def other_charter() -> Charter:
    """Another network of the same founder."""
    return _charter("invite", "vineyard")


@pytest.fixture(scope="session")
def open_charter() -> Charter:
    """A network that anyone may join."""
    return _charter("open", "common")
