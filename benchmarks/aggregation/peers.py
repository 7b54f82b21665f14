"""The same rule in three libraries: ours, ByzFL's (NumPy and torch) and Flower's public strategies.

A contender is made once for a set of inputs and called many times. What a library does only once for many
calls (converting to its own tensors, building messages) is not timed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from banyan.aggregation import build

RULES = (
    "mean",
    "trimmed-mean",
    "median",
    "meamed",
    "krum",
    "multi-krum",
    "geometric-median",
    "centered-clipping",
    "bulyan",
    "nnm+trimmed-mean",
    "nnm+multi-krum",
    "bucketing+trimmed-mean",
)

Call = Callable[[], object]


def malicious(rule: str, n: int) -> int | None:
    """f for n inputs: a fifth of them; None where the rule's guarantee needs more inputs."""
    f = n // 5
    if rule == "bulyan":
        f = min(f, (n - 3) // 4)
        return f or None
    return f


def ours(rule: str, x: np.ndarray, f: int) -> Call:
    made = build(rule, f)
    return lambda: made(x).vector


# ------------------------------------------------------------------------------------------------- ByzFL


def byzfl() -> types.SimpleNamespace | None:
    """ByzFL's aggregators, or None where it is not installed.

    Its package imports a training benchmark that needs torchvision; only its aggregators are loaded here.
    """
    if "byzfl" not in sys.modules:
        spec = importlib.util.find_spec("byzfl")
        if spec is None:
            return None
        package = types.ModuleType("byzfl")
        package.__spec__ = spec
        package.__path__ = list(spec.submodule_search_locations or [])
        sys.modules["byzfl"] = package
    from byzfl.aggregators import aggregators, preaggregators

    names = {**vars(preaggregators), **vars(aggregators)}
    return types.SimpleNamespace(**{name: value for name, value in names.items() if isinstance(value, type)})


def byzfl_call(rule: str, x: Any, f: int) -> Call | None:
    """ByzFL's form of the rule on a NumPy array or a torch tensor (n, d); None where it has none."""
    library = byzfl()
    if library is None:
        return None
    some = np.asarray(x[:, :: max(1, x.shape[1] // 1000)])
    radius = float(np.median(np.linalg.norm(some, axis=1)) * np.sqrt(x.shape[1] / some.shape[1]))
    makers: dict[str, Callable[[], Any]] = {
        "mean": library.Average,
        "trimmed-mean": lambda: library.TrMean(f),
        "median": library.Median,
        "meamed": lambda: library.Meamed(f),
        "krum": lambda: library.Krum(f),
        "multi-krum": lambda: library.MultiKrum(f),
        "geometric-median": library.GeometricMedian,
        # Its centre starts at zero and stays from call to call; a new one for each call.
        "centered-clipping": lambda: lambda v: library.CenteredClipping(L=3, tau=radius)(v),
        "bucketing+trimmed-mean": lambda: _both(library.Bucketing(2), library.TrMean(f)),
    }
    before, _, last = rule.rpartition("+")
    if rule not in makers and (before != "nnm" or last not in makers):
        return None
    made = makers[rule]() if rule in makers else _both(library.NNM(f), makers[last]())
    return lambda: made(x)


def _both(before: Callable[[Any], Any], after: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda vectors: after(before(vectors))


# ------------------------------------------------------------------------------------------------ Flower


def flower_strategy(rule: str, n: int, f: int) -> Any | None:
    """Flower's public strategy for the rule; None where it has none or is not installed."""
    if importlib.util.find_spec("flwr") is None:
        return None
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    from flwr.serverapp import strategy

    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    makers: dict[str, Callable[[], Any]] = {
        "mean": strategy.FedAvg,
        "trimmed-mean": lambda: strategy.FedTrimmedAvg(beta=(f + 0.01) / n),
        "median": strategy.FedMedian,
        "krum": lambda: strategy.Krum(num_malicious_nodes=f),
        "multi-krum": lambda: strategy.MultiKrum(num_malicious_nodes=f, num_nodes_to_select=n - f),
        "bulyan": lambda: strategy.Bulyan(num_malicious_nodes=f),
    }
    return makers[rule]() if rule in makers else None


def flower_replies(x: np.ndarray) -> list[Any]:
    """The replies of n clients, as a strategy gets them: one array record and the number of examples."""
    from flwr.app import Array, ArrayRecord, Message, Metadata, MetricRecord, RecordDict

    replies = []
    for i, row in enumerate(x):
        content = RecordDict(
            {"arrays": ArrayRecord({"delta": Array(row)}), "metrics": MetricRecord({"num-examples": 1.0})}
        )
        metadata = Metadata(
            run_id=1, message_id=f"m{i}", src_node_id=i + 1, dst_node_id=0, reply_to_message_id=f"r{i}",
            group_id="1", created_at=time.time(), ttl=3600.0, message_type="train",
        )  # fmt: skip
        replies.append(Message(content=content, metadata=metadata))
    return replies


def flower_call(rule: str, x: np.ndarray, f: int) -> Call | None:
    """Flower's strategy on replies; each call needs new ones, made outside the clock by ``call.prepare``."""
    strategy = flower_strategy(rule, len(x), f)
    if strategy is None:
        return None
    state: dict[str, Any] = {}

    def prepare() -> None:
        state["replies"] = flower_replies(x)

    def call() -> object:
        with quiet():
            record, _ = strategy.aggregate_train(1, state.pop("replies"))
        return next(iter(record.values())).numpy()

    call.prepare = prepare  # type: ignore[attr-defined]
    return call


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Flower logs to its own handlers on standard error; a benchmark has a progress bar there."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def contenders(rule: str, x: np.ndarray, f: int) -> dict[str, Call]:
    """Every library that has the rule, by name."""
    found: dict[str, Call | None] = {"banyan": ours(rule, x, f)}
    if byzfl() is not None:
        import torch

        found["byzfl-numpy"] = byzfl_call(rule, x, f)
        found["byzfl-torch"] = byzfl_call(rule, torch.from_numpy(x), f)
    found["flower"] = flower_call(rule, x, f)
    return {name: call for name, call in found.items() if call is not None}


def missing() -> list[str]:
    """Sentences on what cannot be compared here, and the cure."""
    said = []
    if importlib.util.find_spec("byzfl") is None:
        said.append(
            "ByzFL is not installed, so there is no comparison with it: `pip install --no-deps byzfl==0.0.11` "
            "(without --no-deps it replaces torch)."
        )
    if importlib.util.find_spec("flwr") is None:
        said.append(
            "Flower is not installed, so there is no comparison with it: `pip install 'flwr>=1.41,<1.43'`."
        )
    return said
