"""What a node says about itself; the core's own events are in :mod:`banyan.protocol.events`."""

from __future__ import annotations

from dataclasses import dataclass, field

from banyan.protocol.events import Event


@dataclass(frozen=True, slots=True)
class NodeStarted(Event):
    """The node listens and takes part."""

    node: str
    network: str
    addresses: tuple[str, ...]
    version: str


@dataclass(frozen=True, slots=True)
class NodeStopping(Event):
    """The node was asked to end and does so cleanly."""

    why: str


@dataclass(frozen=True, slots=True)
class Joining(Event):
    """A step on the way into a network; ``detail`` is for people."""

    step: str
    detail: str


@dataclass(frozen=True, slots=True)
class PeerConnectedEvent(Event):
    """A first connection to a peer stands."""

    peer: str


@dataclass(frozen=True, slots=True)
class PeerLostEvent(Event):
    """The last connection to a peer is gone."""

    peer: str


@dataclass(frozen=True, slots=True)
class DiskTrouble(Event):
    """A write failed. Until it succeeds this node acknowledges nothing; it keeps trying."""

    what: str
    cure: str


@dataclass(frozen=True, slots=True)
class DiskRecovered(Event):
    """The write that had failed succeeded."""

    after_seconds: float


@dataclass(frozen=True, slots=True)
class BlobArrived(Event):
    """A blob came from peers, whole and true; ``liars`` sent bytes of another and are not asked again for a while."""

    blob: str
    size: int
    seconds: float
    sources: dict[str, int] = field(default_factory=dict)
    liars: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BlobUnavailableEvent(Event):
    """A blob could not be fetched; whoever needs it asks again."""

    blob: str
    size: int
    why: str
    liars: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingStarted(Event):
    """The worker began a round's local training."""

    branch: str
    height: int
    steps: int


@dataclass(frozen=True, slots=True)
class TrainingFinished(Event):
    """The worker ended a round's local training."""

    branch: str
    height: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PrivateLessonFinished(Event):
    """What was learnt in a lesson is kept on this device; nobody was told. ``lessons`` counts all on this branch."""

    branch: str
    lessons: int
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PrivateLessonFailed(Event):
    """A lesson came to nothing; what was kept before stays."""

    branch: str
    reason: str


@dataclass(frozen=True, slots=True)
class PrivateShared(Event):
    """What was learnt privately on this branch is in the update ``blob`` now, and no longer kept apart."""

    branch: str
    height: int
    blob: str


@dataclass(frozen=True, slots=True)
class VersionRejected(Event):
    """A version was kept in ``file`` and not published: it would have raised an earlier source's held-out loss by
    ``rise`` nats a token, more than is ``allowed``; or that of the text it was taught on, where nothing is allowed. The
    losses are the new source's own."""

    branch: str
    height: int
    rise: float
    allowed: float
    loss_before: float | None
    loss_after: float | None
    file: str


@dataclass(frozen=True, slots=True)
class MemoryLost(Event):
    """What was remembered of a branch's earlier sources was damaged; it lies aside, and a new memory has begun."""

    branch: str


@dataclass(frozen=True, slots=True)
class FileRefused(Event):
    """A file in the watched folder cannot be learnt from; it is left out until it changes. ``why`` names the line."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class FilesArrived(Event):
    """New files in the watched folder are learnt from now on."""

    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkerRestarted(Event):
    """A worker process died or hung and was replaced; its job is tried again or reported."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class HookFailed(Event):
    """A program that the owner has set in ``[hooks]`` failed, hung, or had too much to do; the node goes on."""

    hook: str
    branch: str
    height: int
    reason: str


@dataclass(frozen=True, slots=True)
class PeerMuted(Event):
    """A message of this peer made the core fail; it is not listened to for a while."""

    peer: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class BlobsCollected(Event):
    """Blobs that nothing needs any more were removed."""

    blobs: int
    bytes: int
