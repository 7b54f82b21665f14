"""Calling a Flower ClientApp with no server: arrays and settings in a Message, the answer checked like any stranger's.

What an app gets, by the names Flower apps use:

- ``message.content["arrays"]``: the adapter under PEFT's names, A and B, so that
  ``set_peft_model_state_dict(model, arrays.to_torch_state_dict())`` works as it stands;
- ``message.content["frozen"]``, once the network has had more than one season: the product that is part of the model
  besides and must not be trained, under the same names, its scale multiplied into B;
- ``message.content["config"]``: the training settings (``lr`` too), ``seed``, ``first_row``, ``rank``, ``scale``,
  ``season``, ``branch`` and ``height``;
- ``context.node_config``: ``base_model`` (a folder) and ``data`` (a JSON list of files and folders) and ``memory`` (a
  folder for what the node has learnt before, or empty);
  ``context.run_config``: the training settings; ``context.state`` lives as long as the worker does.

What it must answer: an ArrayRecord with every B (with A too, if unchanged) and a MetricRecord. Where that has
``gate_passed`` = 0 the version is kept aside and not published.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import time
from collections.abc import Mapping

import numpy as np

from banyan.node.learning.errors import AppError, LearningError
from banyan.node.learning.export import peft_key
from banyan.node.learning.frozen import Frozen
from banyan.node.learning.layout import Layout, Vector
from banyan.node.learning.lesson import Lesson
from banyan.node.learning.workplace import Workplace
from banyan.security.schema import to_plain

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # read by flwr when it is imported
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    Metadata,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp

TIME_TO_LIVE = 7 * 24 * 3600.0  # seconds; nothing here waits for a message, so it only must not expire


def load_app(name: str) -> ClientApp:
    """The ClientApp at ``module:attribute``. Raises :class:`AppError`."""
    module, _, attribute = name.partition(":")
    cure = "Give it as module:attribute, importable from where the node was started"
    if not module or not attribute:
        raise AppError(f"{name!r} does not name a ClientApp", cure)
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise AppError(
            f"The ClientApp {name} cannot be imported ({type(error).__name__}: {error})", cure
        ) from error
    if not isinstance(found, ClientApp):
        raise AppError(f"{name} is a {type(found).__name__}, not a Flower ClientApp", cure)
    return found


class LocalClient:
    """One ClientApp with its Context, called as a server would call it."""

    def __init__(self, app: ClientApp, place: Workplace) -> None:
        self._app = app
        self._place = place
        self._layout = Layout(place.spec.rank, place.spec.tensors)
        self._state = RecordDict()

    def ask(self, kind: str, lesson: Lesson) -> tuple[Vector | None, dict[str, float]]:
        """Send a ``train`` or ``evaluate`` message with the lesson; the B of the answer (None: it has no arrays) and
        its metrics.

        Raises :class:`AppError`, and any :class:`LearningError` of the app.
        """
        chosen = to_plain(lesson.settings)
        spec = self._place.spec
        everything = {
            **chosen,
            "branch": lesson.branch,
            "height": lesson.height,
            "seed": lesson.seed,
            "first_row": lesson.first_row,
            "lr": lesson.settings.learning_rate,
            "rank": spec.rank,
            "scale": spec.scale,
            "season": lesson.season,
        }
        a = self._place.shared_a(lesson.season)
        content = RecordDict({"arrays": self._arrays(lesson.vector, a), "config": ConfigRecord(everything)})
        if lesson.frozen:
            content["frozen"] = _factors(self._place.frozen(lesson.frozen))
        node = _number(self._place.node.encode())
        context = Context(
            run_id=_number(self._place.network),
            node_id=node,
            node_config={
                "base_model": str(self._place.base_model),
                "data": json.dumps([str(path) for path in lesson.data]),
                "memory": str(self._place.memory or ""),
            },
            state=self._state,
            run_config=chosen,
        )
        message = Message(
            content,
            metadata=Metadata(
                run_id=context.run_id,
                message_id=f"{kind}-{lesson.branch}-{lesson.height}",
                src_node_id=0,
                dst_node_id=node,
                reply_to_message_id="",
                group_id=str(lesson.height),
                created_at=time.time(),
                ttl=TIME_TO_LIVE,
                message_type=kind,
            ),
        )
        try:
            reply = self._app(message, context)
        except LearningError:
            raise
        except Exception as error:
            raise AppError(
                f"The ClientApp {self._place.app} failed at {kind} ({type(error).__name__}: {error})",
                "Its own log has the traceback",
            ) from error
        self._state = context.state
        return self._read(reply, a)

    def _arrays(self, vector: Vector, shared_a: Mapping[str, Vector]) -> ArrayRecord:
        record = ArrayRecord()
        for name, b in self._layout.split(vector).items():
            record[peft_key(name, "A")] = Array(shared_a[name])
            record[peft_key(name, "B")] = Array(np.ascontiguousarray(b))
        return record

    def _read(self, reply: object, shared_a: Mapping[str, Vector]) -> tuple[Vector | None, dict[str, float]]:
        if not isinstance(reply, Message) or not reply.has_content():
            raise AppError(f"The ClientApp {self._place.app} answered with an error or nothing")
        metrics = {
            name.replace("-", "_"): float(value)
            for record in reply.content.metric_records.values()
            for name, value in record.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        records = list(reply.content.array_records.values())
        if not records:
            return None, metrics
        if len(records) > 1:
            raise AppError(
                f"The ClientApp {self._place.app} answered with {len(records)} ArrayRecords, not one"
            )
        arrays = {name: array.numpy() for name, array in records[0].items()}
        for name, a in shared_a.items():
            returned = arrays.pop(peft_key(name, "A"), a)
            if not np.array_equal(returned, a):
                raise AppError(
                    f"The ClientApp {self._place.app} changed A of {name}, which the whole network shares",
                    "Train only B: call requires_grad_(False) on every lora_A weight",
                )
        named = {peft_key(name, "B"): name for name in shared_a}
        matrices = {named.get(key, key): value for key, value in arrays.items()}
        return self._layout.join(matrices), metrics


def _factors(frozen: Frozen) -> ArrayRecord:
    record = ArrayRecord()
    for name, (b, a) in frozen.items():
        record[peft_key(name, "A")] = Array(a)
        record[peft_key(name, "B")] = Array(b)
    return record


def _number(data: bytes) -> int:
    """A positive 63-bit number for Flower, whose runs and nodes are numbered."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8]) >> 1


def reply_to(message: Message, arrays: Mapping[str, Vector] | None, metrics: Mapping[str, float]) -> Message:
    """The answer to ``message`` with B matrices by module name (or none) and metrics."""
    content = RecordDict({"metrics": MetricRecord(dict(metrics))})
    if arrays is not None:
        content["arrays"] = ArrayRecord({peft_key(name, "B"): Array(b) for name, b in arrays.items()})
    return Message(content, reply_to=message)
