"""What daemon and worker say to each other.

Daemon: ``hello`` once, then ``job`` (``id``, ``job``, ``order``) and ``cancel`` (``id``). Worker: ``ready`` once, then
for each job any number of ``progress`` and one of ``done`` (``result``), ``failed`` (``reason``), ``cancelled``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, cast

from banyan.aggregation.encoding import Codec
from banyan.node.learning.continual.rejected import Rejected
from banyan.node.learning.distill.teacher import Teacher
from banyan.node.learning.generate_job import Generate
from banyan.node.learning.private import PrivatelyTrained, PrivateTrain
from banyan.node.learning.progress import Progress
from banyan.node.learning.rehearsal import Rehearsal, Rehearse
from banyan.node.learning.settings import TrainingSettings
from banyan.node.worker.frames import FrameError
from banyan.protocol.effects import (
    Aggregate,
    Aggregated,
    Evaluate,
    Evaluated,
    Inspect,
    Inspected,
    Mix,
    Mixed,
    Train,
    Trained,
)
from banyan.security.model import AdapterSpec
from banyan.security.schema import Between, Digest, Length, from_plain

Kind: TypeAlias = Literal["full", "light"]
Result: TypeAlias = (
    Trained | Rejected | Aggregated | Mixed | Inspected | Evaluated | PrivatelyTrained | Rehearsal | str
)


@dataclass(frozen=True, slots=True)
class Ground:
    """What the branches from ``path`` down are built on: the adapter's ``spec`` and the folder of their base model."""

    path: str
    spec: AdapterSpec
    base_model: str


@dataclass(frozen=True, slots=True)
class Hello:
    """Who the worker works for. ``grounds`` are those of the network's base models, the root's among them. ``memory``
    is its folder for what was learnt before, or empty. ``idle`` (seconds, 0: never) is how long it waits for a job
    before it exits."""

    role: Kind
    parent: int
    grounds: tuple[Ground, ...]
    codec: Codec
    network: Digest
    node: Annotated[str, Length(1, 128)]
    blobs: str
    app: str
    memory: str
    niceness: Annotated[int, Between(0, 19)]
    idle: Annotated[float, Between(0, 1e9)]


@dataclass(frozen=True, slots=True)
class TrainOrder:
    """A :class:`Train` with what only this node knows. With a ``teacher``, the data are public text to learn from it
    on."""

    job: Train
    data: tuple[str, ...]
    settings: TrainingSettings
    teacher: Teacher | None = None


@dataclass(frozen=True, slots=True)
class EvaluateOrder:
    """An :class:`Evaluate` with what only this node knows."""

    job: Evaluate
    data: tuple[str, ...]
    settings: TrainingSettings


@dataclass(frozen=True, slots=True)
class GenerateOrder:
    """A :class:`Generate` and where to run it."""

    job: Generate
    device: str


@dataclass(frozen=True, slots=True)
class PrivateOrder:
    """A :class:`PrivateTrain` with what only this node knows."""

    job: PrivateTrain
    data: tuple[str, ...]
    settings: TrainingSettings


@dataclass(frozen=True, slots=True)
class ContributeOrder:
    """A :class:`Train` that nothing is trained for: it gives what is kept in ``folder``."""

    job: Train
    folder: str


@dataclass(frozen=True, slots=True)
class RehearseOrder:
    """A :class:`Rehearse` with what only this node knows."""

    job: Rehearse
    data: tuple[str, ...]
    settings: TrainingSettings


Order: TypeAlias = (
    TrainOrder
    | PrivateOrder
    | ContributeOrder
    | RehearseOrder
    | EvaluateOrder
    | GenerateOrder
    | Aggregate
    | Mix
    | Inspect
)

ORDERS: dict[str, type[Order]] = {
    "train": TrainOrder,
    "train privately": PrivateOrder,
    "contribute": ContributeOrder,
    "rehearse": RehearseOrder,
    "evaluate": EvaluateOrder,
    "generate": GenerateOrder,
    "aggregate": Aggregate,
    "mix": Mix,
    "inspect": Inspect,
}
NAMES: dict[type[Order], str] = {order: name for name, order in ORDERS.items()}


def read_order(name: object, plain: object) -> Order:
    """The order named ``name``. Raises ``SchemaError`` or KeyError."""
    return from_plain(ORDERS[str(name)], plain)


def write_result(result: Result) -> dict[str, object]:
    """A result as a plain map."""
    if isinstance(result, str):
        return {"text": result}
    plain = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    if isinstance(result, Aggregated | Mixed) and result.weights is not None:
        plain["weights"] = [[key, share] for key, share in sorted(result.weights.items())]
    return plain


def read_result(order: Order, plain: object) -> Result:
    """The result of ``order`` from its plain map. Raises :class:`FrameError` where it is none.

    The worker is our own program, so this trusts the values and checks only that the shape is the one expected.
    """
    try:
        return _result(order, dict(cast(dict[str, Any], plain)))
    except (TypeError, ValueError, KeyError) as error:
        raise FrameError(f"A result of the wrong shape came ({error})") from error


def _result(order: Order, values: dict[str, Any]) -> Result:
    match order:
        case TrainOrder():
            return Rejected(**values) if "rise" in values else Trained(**values)
        case PrivateOrder():
            return PrivatelyTrained(**values)
        case ContributeOrder():
            return Trained(**values)
        case RehearseOrder():
            samples = tuple((str(prompt), str(answer)) for prompt, answer in values["samples"])
            return Rehearsal(**values | {"samples": samples})
        case EvaluateOrder():
            values |= {name: tuple(values[name]) for name in ("losses", "probed")}
            return Evaluated(**values)
        case Inspect():
            return Inspected(**values)
        case Aggregate():
            values["clipped"] = tuple(values["clipped"])
            for name in ("directions", "heads"):
                values[name] = tuple((key, norm, tuple(cosines)) for key, norm, cosines in values[name])
            return Aggregated(**values | {"weights": _weights(values["weights"])})
        case Mix():
            values["left_out"] = tuple(values["left_out"])
            return Mixed(**values | {"weights": _weights(values["weights"])})
        case GenerateOrder():
            return str(values["text"])


def _weights(pairs: Any) -> dict[bytes, float] | None:
    return None if pairs is None else {key: share for key, share in pairs}  # noqa: C416


def write_progress(progress: Progress) -> dict[str, object]:
    """Progress as a plain map."""
    return dataclasses.asdict(progress)


def read_progress(plain: object) -> Progress:
    """Progress from its plain map. Raises :class:`FrameError` where it is none."""
    try:
        return Progress(**cast(dict[str, Any], plain))
    except TypeError as error:
        raise FrameError(f"Progress of the wrong shape came ({error})") from error
