"""Banyan's own Flower ClientApp: LoRA with the network's frozen A on the node's JSONL data.

It is also the example to copy for an app of one's own. It uses Flower's public API only and knows nothing of the
network; ``banyan.node.learning.flower`` says what it is called with.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from banyan.node.learning.continual.memory import place
from banyan.node.learning.differential_privacy import train_with_privacy
from banyan.node.learning.errors import LearningError
from banyan.node.learning.export import PREFIX, peft_key
from banyan.node.learning.flower import reply_to
from banyan.node.learning.layout import Vector
from banyan.node.learning.learner import Learner, shared_learner
from banyan.node.learning.settings import TrainingSettings
from banyan.security.model import TensorSpec
from banyan.security.schema import from_plain

app = ClientApp()

#: The file of the privacy budget in the folder of what a node has learnt before: one for all its branches.
LEDGER = "privacy.json"


@app.train()  # type: ignore[untyped-decorator, unused-ignore]
def train(message: Message, context: Context) -> Message:
    """Train B for one round; answers with B and the held-out loss before and after."""
    learner, start = _open(message, context)
    config, settings = message.content["config"], _settings(message)
    if settings.dp_epsilon:
        vector, metrics = _train_with_privacy(learner, start, message, context)
        return reply_to(
            message, learner.model.layout.split(vector), metrics | {"num-examples": metrics["rows"]}
        )
    vector, metrics = learner.train(
        start,
        _data(context),
        settings,
        seed=int(config["seed"]),
        first_row=int(config["first_row"]),
        memory=_memory(message, context),
    )
    return reply_to(message, learner.model.layout.split(vector), metrics | {"num-examples": metrics["rows"]})


def _train_with_privacy(
    learner: Learner, start: Vector, message: Message, context: Context
) -> tuple[Vector, dict[str, float]]:
    folder = str(context.node_config["memory"])
    if not folder:
        raise LearningError(
            "Differential privacy needs a place to keep what is spent", "Give the node a memory"
        )
    return train_with_privacy(learner, start, _data(context), _settings(message), Path(folder) / LEDGER)


@app.evaluate()  # type: ignore[untyped-decorator, unused-ignore]
def evaluate(message: Message, context: Context) -> Message:
    """Answers with the loss over the held-out rows."""
    learner, vector = _open(message, context)
    metrics = learner.evaluate(vector, _data(context), _settings(message))
    return reply_to(message, None, metrics | {"num-examples": metrics["rows"]})


def _open(message: Message, context: Context) -> tuple[Learner, Vector]:
    """The learner for the message's adapter, and its B."""
    config = message.content["config"]
    arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
    shared_a = {name: arrays[peft_key(name, "A")] for name in _modules(arrays)}
    b = {name: arrays[peft_key(name, "B")] for name in shared_a}
    learner = shared_learner(
        Path(str(context.node_config["base_model"])),
        _settings(message).device,
        rank=int(config["rank"]),
        scale=float(config["scale"]),
        tensors=[TensorSpec(name, len(b[name]), shared_a[name].shape[1]) for name in sorted(shared_a)],
        shared_a=shared_a,
    )
    frozen = {name: array.numpy() for name, array in message.content.get("frozen", {}).items()}
    learner.model.freeze(
        {name: (frozen[peft_key(name, "B")], frozen[peft_key(name, "A")]) for name in _modules(frozen)}
    )
    return learner, learner.model.layout.join(b)


def _modules(arrays: dict[str, np.ndarray]) -> list[str]:
    end = ".lora_A.weight"
    return [key.removeprefix(PREFIX).removesuffix(end) for key in arrays if key.endswith(end)]


def _settings(message: Message) -> TrainingSettings:
    config = message.content["config"]
    return from_plain(
        TrainingSettings, {field.name: config[field.name] for field in fields(TrainingSettings)}
    )


def _memory(message: Message, context: Context) -> Path | None:
    """The file of what this node has learnt before for the message's branch, in its season."""
    folder = str(context.node_config["memory"])
    config = message.content["config"]
    return place(Path(folder), str(config["branch"]), int(config["season"])) if folder else None


def _data(context: Context) -> list[Path]:
    return [Path(path) for path in json.loads(str(context.node_config["data"]))]
