"""What goes into the core and what comes out of it.

The core (:class:`banyan.protocol.peer.Peer`) is a pure state machine: a driver hands it one *input*
with the time, and performs the *effects* it returns, in order. Two drivers exist: ``banyan.node`` for
real, ``banyan.simulations`` on a virtual network. Neither decides anything.

Every digest here is a raw 32-byte SHA-256; every time is an integer of milliseconds since the epoch;
every node is named by its libp2p peer id in base58 (``NodeId``).

The one rule of order a driver must keep: within one list of effects, every :class:`Persist` is durable
before any :class:`Send` is performed. A node never says what it could forget.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from banyan.protocol.events import Event
from banyan.security.quick import quick

NodeId: TypeAlias = str
Digest: TypeAlias = bytes
Path: TypeAlias = str


# --------------------------------------------------------------------------------------------- effects


@quick
@dataclass(frozen=True, slots=True)
class Send:
    """Deliver ``data`` (one signed envelope, at most ``limits.message_bytes``) to each of ``to``.

    Best effort: a driver may lose, repeat or reorder messages; anti-entropy repairs what matters.
    """

    to: tuple[NodeId, ...]
    data: bytes


@quick
@dataclass(frozen=True, slots=True)
class Inspect:
    """Strictly decode the delta blob ``digest`` against the adapter spec of ``branch`` and measure it.

    It must be of ``season``. Asked for with the blob (:class:`FetchBlob`), answered by :class:`Inspected`.
    """

    digest: Digest
    branch: Path = "/"
    season: int = 0


@quick
@dataclass(frozen=True, slots=True)
class FetchBlob:
    """Bring the blob ``digest`` of ``size`` bytes into the local blob store; ask ``sources`` first.

    The driver verifies length and hash while streaming and answers with :class:`BlobFetched`. If the blob is
    already in the store it answers at once. Where it is to ``inspect`` what came, it does so next, and the end of that,
    an :class:`Inspected`, is the answer; a blob that did not come is told of by :class:`BlobFetched` as ever.
    """

    digest: Digest
    size: int
    sources: tuple[NodeId, ...]
    inspect: Inspect | None = None


@quick
@dataclass(frozen=True, slots=True)
class Train:
    """Train on this device's own data for ``branch``, starting from the sum of ``adapters`` plus ``carry``.

    A node that mixes trains from its own model alone: ``adapters`` is empty, ``carry`` its model, ``base`` empty, and
    the update is the whole model.

    ``adapters`` are the float32 adapter blobs (B) from where the branch's base model begins down to it, in that order:
    of the head of ``branch``, and of the newest release of each branch above it that is here; a branch still at its
    opening has none.
    ``carry`` are delta blobs that are this node's alone: what the encoding of its last update lost, or that whole
    update if the network left it out. The update is all that training changed plus the carry, against ``base``, the
    digest of the branch's head. Answered by
    :class:`Trained` or :class:`JobFailed`.

    What is trained is B in terms of the A of ``season``, which ``carry`` is of, too; ``adapters`` of other seasons are
    part of the model and stay as they are. A carry of another season cannot be said in this one's terms and is dropped.

    ``before`` is what ``adapters`` would be if nothing had come down from above since this node trained last; None
    where nothing has, or it cannot be told. If the model of ``adapters`` has a loss more than ``epsilon`` above that of
    ``before``, training starts from the latter, and ``compensated`` among the metrics is the difference.
    """

    branch: Path
    height: int
    base: Digest
    adapters: tuple[Digest, ...]
    carry: tuple[Digest, ...]
    before: tuple[Digest, ...] | None = None
    epsilon: float = 0.0
    season: int = 0


@quick
@dataclass(frozen=True, slots=True)
class Input:
    """One vote in an aggregation: the delta in ``blob``, or the sum of the adapters ``blob`` and ``also``.

    ``key`` names the input (an update's record id, or a child's release id); inputs are always
    aggregated in the order of their keys, so that every machine sums in the same order.
    """

    key: Digest
    blob: Digest
    also: Digest | None = None


@dataclass(frozen=True, slots=True)
class Lift:
    """The part of an aggregation that is about children: ``share`` of what ``rule`` with ``f`` makes of what each of
    ``inputs`` holds beyond ``base`` (None: zero), which is what was lifted before. ``expected`` as in
    :class:`Aggregate`."""

    inputs: tuple[Input, ...]
    rule: str
    f: int
    share: float
    base: Digest | None
    expected: Digest | None = None


Direction: TypeAlias = tuple[Digest, float, tuple[float, ...]]
"""Where one vector points: what names it, its norm, and its cosines with each of a list, in that list's order."""


@quick
@dataclass(frozen=True, slots=True)
class Aggregate:
    """Apply ``rule`` with ``f`` to ``inputs`` and add the result to ``base`` (None: zero), where there are any; and do
    the ``lift``, if there is one.

    Norms are first clipped to ``clip`` times their median. The change is written as a float32 delta blob
    and the new adapter as a float32 adapter blob. If ``expected`` is given, it is another node's change
    blob for the same inputs, and the answer tells whether the two agree within 1e-6 relative. So for the lift. Columns
    of B that fewer than ``least`` of ``inputs`` trained, or fewer than the rule needs, stay as they are. All of it is
    of ``season``.
    Answered by :class:`Aggregated` or :class:`JobFailed`.
    """

    branch: Path
    height: int
    job: Digest
    inputs: tuple[Input, ...]
    rule: str
    f: int
    clip: float
    base: Digest | None
    expected: Digest | None = None
    least: int = 1
    lift: Lift | None = None
    season: int = 0


@dataclass(frozen=True, slots=True)
class Mix:
    """Apply the mixing ``rule`` with ``f`` to this node's own model, the sum of the blobs ``own``, and its neighbours'.

    ``neighbours`` are whole models, named by the ids of the states that announced them; ``progress`` in [0, 1] is how
    much of the training is done. All are of ``season``. The mixture is written as a float32 adapter blob. Answered by
    :class:`Mixed` or :class:`JobFailed`.
    """

    branch: Path
    height: int
    step: int
    own: tuple[Digest, ...]
    neighbours: tuple[Input, ...]
    rule: str
    f: int
    progress: float
    season: int = 0


@quick
@dataclass(frozen=True, slots=True)
class Evaluate:
    """Measure ``models``, each the sum of some adapter blobs (none: the base model), on the same held-out rows of this
    device's data for ``branch``, at most ``rows`` of them, and on all rows of the ``probe`` blob, the branch's probe
    set (None: it has none). Nothing is learned from them.

    ``job`` is the caller's name for it. Answered by :class:`Evaluated` or :class:`JobFailed`.
    """

    branch: Path
    height: int
    job: Digest
    models: tuple[tuple[Digest, ...], ...]
    rows: int
    probe: Digest | None = None


@quick
@dataclass(frozen=True, slots=True)
class PutRecord:
    """Keep the signed envelope ``data`` (its SHA-256 is ``record``) until told to drop it."""

    record: Digest
    data: bytes


@quick
@dataclass(frozen=True, slots=True)
class DropRecords:
    """Forget these records: their round is over and a certified release speaks for them."""

    records: tuple[Digest, ...]


@quick
@dataclass(frozen=True, slots=True)
class PutState:
    """Keep ``value`` (canonical msgpack) under ``key``; an earlier value of the key is replaced."""

    key: str
    value: bytes


Persist: TypeAlias = PutRecord | DropRecords | PutState


@quick
@dataclass(frozen=True, slots=True)
class SetTimer:
    """Wake the core with :class:`TimerFired` at ``at`` (ms). A later one with the same key replaces it."""

    key: str
    at: int


@quick
@dataclass(frozen=True, slots=True)
class Emit:
    """Tell the world: log, status, dashboard, metrics and tests all read these."""

    event: Event


Effect: TypeAlias = (
    Send
    | FetchBlob
    | Train
    | Aggregate
    | Mix
    | Evaluate
    | PutRecord
    | DropRecords
    | PutState
    | SetTimer
    | Emit
)


# ---------------------------------------------------------------------------------------------- inputs


@dataclass(frozen=True, slots=True)
class Started:
    """The driver is up; the first input a core gets, after :meth:`Peer.restore` if there was a past."""


@quick
@dataclass(frozen=True, slots=True)
class MessageReceived:
    """``data`` arrived from ``sender``, whose key the transport has proved."""

    sender: NodeId
    data: bytes


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A connection to ``peer`` stands; a good moment to compare what we know."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class PeerLost:
    """The last connection to ``peer`` is gone."""

    peer: NodeId


@quick
@dataclass(frozen=True, slots=True)
class BlobFetched:
    """The end of a :class:`FetchBlob`: the blob is in the store, or ``error`` says why not."""

    digest: Digest
    error: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class Inspected:
    """The end of an :class:`Inspect`, and of the :class:`FetchBlob` that asked for it: the blob is in the store.

    ``refusal`` is a reason code of :class:`banyan.security.admission.Reason` (its value), or None; ``norm`` is the
    float64 Euclidean norm of the decoded delta; ``base`` is the release the blob says it starts from.
    """

    digest: Digest
    refusal: str | None
    norm: float = 0.0
    base: Digest = b""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Trained:
    """The end of a :class:`Train`: the encoded delta, what the encoding left over, and what it measured."""

    branch: Path
    height: int
    base: Digest
    blob: Digest
    size: int
    carry: Digest | None
    metrics: dict[str, float] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True)
class Aggregated:
    """The end of an :class:`Aggregate`.

    ``change`` and ``adapter`` come of the members' inputs, ``lift`` and ``lifted`` of the children's; where there are
    none of a kind the step is empty and the sum is its base, of which no size is told.
    ``weights`` gives, per input key, the share its rule gave it (None where a rule has no such notion).
    ``agrees`` answers ``expected``; ``error`` is the relative difference found, the greater of two.
    ``agreement`` estimates the cosine between two of the children (0 without a lift). ``narrowed_to``, if above 0, says
    that only so many columns of B moved by the change, the first: too few inputs trained the others.
    ``directions`` says where the members' inputs point in the columns that all of them trained, by their keys, before
    anything is clipped; ``heads`` where the children's do.
    """

    branch: Path
    height: int
    job: Digest
    change: Digest
    change_size: int
    adapter: Digest
    adapter_size: int
    weights: dict[Digest, float] | None
    clipped: tuple[Digest, ...] = ()
    agrees: bool | None = None
    error: float = 0.0
    lift: Digest = b""
    lift_size: int = 0
    lifted: Digest = b""
    lifted_size: int = 0
    agreement: float = 0.0
    narrowed_to: int = 0
    directions: tuple[Direction, ...] = ()
    heads: tuple[Direction, ...] = ()


@dataclass(frozen=True, slots=True)
class Mixed:
    """The end of a :class:`Mix`: the mixture as an adapter blob.

    ``weights`` gives, per neighbour's state, the share that the rule gave it (None where a rule has no such notion);
    ``left_out`` are those without any.
    """

    branch: Path
    height: int
    step: int
    adapter: Digest
    adapter_size: int
    weights: dict[Digest, float] | None
    left_out: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The end of an :class:`Evaluate`: the mean loss of each model (nats a token; infinite or no number where a model
    has lost itself) over ``rows`` rows of the device's own (none: it has none, or keeps them to itself) and, in
    ``probed``, over the probe set, and how long it took. ``probe_refusal`` is why a probe set could not be read."""

    branch: Path
    height: int
    job: Digest
    losses: tuple[float, ...]
    rows: int
    seconds: float = 0.0
    probed: tuple[float, ...] = ()
    probe_refusal: str = ""


@dataclass(frozen=True, slots=True)
class JobFailed:
    """A :class:`Train`, :class:`Aggregate`, :class:`Mix` or :class:`Evaluate` ended without a result, after the
    driver's own retries."""

    kind: str
    branch: Path
    height: int
    reason: str
    job: Digest = b""


@quick
@dataclass(frozen=True, slots=True)
class TimerFired:
    """The time asked for by :class:`SetTimer` has come."""

    key: str


@dataclass(frozen=True, slots=True)
class Command:
    """A wish of the device's owner. ``name`` is one of the core's commands, ``arguments`` its plain values."""

    name: str
    arguments: dict[str, str | int | float | bool | None] = field(default_factory=dict)


InputEvent: TypeAlias = (
    Started
    | MessageReceived
    | PeerConnected
    | PeerLost
    | BlobFetched
    | Inspected
    | Trained
    | Aggregated
    | Mixed
    | Evaluated
    | JobFailed
    | TimerFired
    | Command
)
