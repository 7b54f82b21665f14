"""A tiny random Llama in memory, and a network founded on it: real code paths in milliseconds."""

import contextlib
import threading

import numpy as np
import pytest
import torch
import trio

from banyan.node.founding import Founding, found_network
from banyan.node.home import Home
from banyan.node.learning.adapter_spec import design_adapter
from banyan.node.learning.shared_a import from_bytes
from banyan.node.learning.tiny_model import write_tiny_model
from banyan.node.serving.base_in_memory import BaseInMemory
from banyan.node.serving.server import ModelServer


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Threads that wait for each other on a busy machine make tiny models slow."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny-chat"))


@pytest.fixture(scope="session")
def spec_and_a(tiny_model):
    spec, blob = design_adapter(tiny_model, seed=7, rank=4, scale=2.0)
    return spec, from_bytes(blob, spec.rank, spec.tensors)


@pytest.fixture(scope="session")
def base(tiny_model, spec_and_a):
    return BaseInMemory(tiny_model, *spec_and_a, "cpu")


@pytest.fixture(scope="session")
def vector_of(spec_and_a):
    """An adapter's B by its seed; 0: none."""

    def make(seed):
        scale = 1.0 if seed else 0.0
        return np.random.default_rng(seed).normal(0, scale, spec_and_a[0].dimension).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def founded(tmp_path_factory, tiny_model):
    """The home of a network that has learnt nothing yet."""
    home = Home(tmp_path_factory.mktemp("home"))
    found_network(
        home, Founding("garden", tiny_model, preset="local", rank=4, branches=("/", "/en", "/en/soil")), 0
    )
    return home


@contextlib.contextmanager
def serving(server):
    """``server`` at work in a thread of its own until the block ends."""
    server.open()
    scope, began = trio.CancelScope(), threading.Event()
    tokens = []

    async def main():
        tokens.append(trio.lowlevel.current_trio_token())
        began.set()
        with scope:
            await server.run()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    began.wait()
    try:
        yield server
    finally:
        tokens[0].run_sync_soon(scope.cancel)
        thread.join()


@pytest.fixture(scope="session")
def server(founded):
    with serving(ModelServer(founded, device="cpu", port=0)) as server:
        yield server
