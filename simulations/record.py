"""What one simulated run did, as plain data: what reports show, benchmarks compare and tests read.

Times are virtual milliseconds since the start of the run. Devices go by a short name, their branch and their number
in it: ``/en/medical#3``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["NodeFigures", "ReleaseFigures", "RunRecord", "ScoreFigures", "ViolationFigures"]


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """One device at the end of the run.

    ``attack`` is what it did to the others (None: honest). ``messages`` and ``bytes`` are what it sent,
    ``blob_bytes`` what it served; ``held`` is the most bytes of records and blobs that it kept at one time.
    ``quarantined_by`` counts the honest devices that shut it out. ``founding`` is what it had sent of messages, bytes
    and blob bytes when every branch had its first release.
    """

    name: str
    node: str
    branch: str
    attack: str | None
    messages: int
    bytes: int
    blob_bytes: int
    held: int
    quarantined_by: int = 0
    crashes: int = 0
    founding: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class ReleaseFigures:
    """One certified release. ``latency`` is the ms since the branch's release before it was certified (for the
    first, since it opened); ``used`` and ``left_out`` name devices, or the child branch where its change was a vote."""

    branch: str
    height: int
    time: int
    latency: int
    leader: str
    used: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ScoreFigures:
    """How well the newest model of a branch serves the honest devices there, on data that they did not train on.

    ``loss`` is their mean and ``worst`` the largest of one device; ``accuracy`` is a share in [0, 1], or None where
    the task has no such notion. ``height`` is the release, or a device's mean step where nobody releases.
    """

    branch: str
    height: int
    time: int
    loss: float
    worst: float
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class ViolationFigures:
    """An invariant that did not hold: its name, when, at which device, and what was seen."""

    invariant: str
    time: int
    where: str
    what: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of one arm of a scenario.

    - ``arm``: ``as-is``, ``no-attack`` (the same seed, everybody honest) or ``plain-mean`` (the same seed and
      attackers, undefended).
    - ``settings``: the scenario as it ran, after every ``--set``.
    - ``alone``: the mean loss on each branch where nobody exchanges anything, at the same number of steps.
    - ``signatures``: ``ed25519``, or the fake that large runs take.
    - ``trace``: SHA-256 of everything that happened; equal seeds give equal traces.
    - ``finished``: whether the scenario's goal was reached; ``goal`` says it in words.
    - ``events``: inputs that the cores handled. ``seconds``: wall time of the run.
    - ``founded_ms``: when every branch with devices had its first release; None: they never all had.
    - ``faults``: (time, what happened) of cuts, crashes, joins and the like, in order.
    """

    scenario: str
    about: str
    arm: str
    seed: int
    settings: dict[str, Any]
    signatures: str
    trace: str
    finished: bool
    goal: str
    virtual_ms: int
    seconds: float
    events: int
    nodes: tuple[NodeFigures, ...]
    releases: tuple[ReleaseFigures, ...]
    scores: tuple[ScoreFigures, ...]
    violations: tuple[ViolationFigures, ...] = ()
    faults: tuple[tuple[int, str], ...] = ()
    alone: dict[str, float] = field(default_factory=dict)
    founded_ms: int | None = None

    @property
    def branches(self) -> list[str]:
        """Every branch with devices or releases, parents first."""
        paths = {node.branch for node in self.nodes} | {release.branch for release in self.releases}
        return sorted(paths, key=lambda path: (path.count("/") if path != "/" else 0, path))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunRecord:
        """The inverse of :meth:`as_dict`, also after a trip through JSON."""
        fields = dict(data)
        fields["nodes"] = tuple(
            NodeFigures(**each | {"founding": tuple(each["founding"])}) for each in data["nodes"]
        )
        fields["releases"] = tuple(
            ReleaseFigures(
                **each | {"used": tuple(each["used"]), "left_out": tuple(map(tuple, each["left_out"]))}
            )
            for each in data["releases"]
        )
        fields["scores"] = tuple(ScoreFigures(**each) for each in data["scores"])
        fields["violations"] = tuple(ViolationFigures(**each) for each in data["violations"])
        fields["faults"] = tuple((int(time), str(what)) for time, what in data["faults"])
        return cls(**fields)
