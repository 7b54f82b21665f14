"""Workers with apps of their own and a blob store, but no model: most of a worker's life needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from banyan.aggregation import encode
from banyan.node.learning.shared_a import draw, to_bytes
from banyan.node.store.blobs import BlobStore
from banyan.node.worker.client import Worker, WorkerSettings, hello_for
from banyan.protocol.delta import write_delta
from banyan.security.model import AdapterSpec, TensorSpec

TENSORS = (TensorSpec("layers.0.a", 60, 8),)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def spec(store: BlobStore) -> AdapterSpec:
    """A spec whose shared A is in the store."""
    blob = to_bytes(draw(1, 2, TENSORS))
    return AdapterSpec(2, 1.0, 1, store.put(blob), len(blob), TENSORS)


@pytest.fixture
def make_worker(
    tmp_path: Path, store: BlobStore, spec: AdapterSpec, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Worker]:
    """A worker, not started, whose ClientApp is ``fake_app:<app>`` beside this file."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))

    def make(
        app: str = "step", role: str = "full", on_restart=lambda reason, attempt: None, **settings
    ) -> Worker:
        hello = hello_for(
            role=role,
            spec=spec,
            codec="int8",
            network=b"n" * 32,
            node="a node",
            base_model=tmp_path,
            blobs=store.root,
            app=f"fake_app:{app}",
        )
        defaults = {"threads": 1, "niceness": 0, "log": tmp_path / "worker.log"}
        return Worker(hello, WorkerSettings(**{**defaults, **settings}), on_restart=on_restart)

    return make


@pytest.fixture
def put_update(store: BlobStore, spec: AdapterSpec) -> Callable[[int], bytes]:
    """Store a random update and return its digest."""

    def put(seed: int) -> bytes:
        vector = np.random.default_rng(seed).normal(size=spec.dimension).astype(np.float32)
        return store.put(write_delta(encode(vector, "int8"), spec=spec, base=b"b" * 32))

    return put
