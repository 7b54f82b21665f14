"""The charter's dials: how rounds close, who closes them, how news travels, and what a peer may cost us.

Every member of a network has the same values, because they are in the signed charter. Times are milliseconds.
Each comment gives unit, the default of the ``local`` / ``lan`` / ``wan`` presets where they differ, and what
the value trades for what.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from banyan.security.errors import BanyanError
from banyan.security.identity import NodeId
from banyan.security.schema import Between, Length, Matches, SchemaError

_SECOND: Final = 1_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_MIB: Final = 2**20
_GIB: Final = 2**30

Codec = Literal["float32", "bf16", "int8", "int4"]
"""How a delta's numbers travel: ``int8`` is a quarter of ``float32``, its error lost in training noise."""


_RULE: Final = re.compile(r"[a-z0-9-]+(\+[a-z0-9-]+)*\+?")


def _is_rule(text: str) -> bool:
    return _RULE.fullmatch(text) is not None


RuleName = Annotated[str, Length(1, 64), Matches(_is_rule, "the name of a rule such as nnm+multi-krum")]


@dataclass(frozen=True, slots=True)
class RoundPolicy:
    """From one release of a branch to the next."""

    coordination: Literal["committee", "gossip"] = "committee"
    """Who moves a branch on. ``committee``: agreed, certified releases that anyone can audit; it waits while too few
    of its members are there. ``gossip``: no releases, every node mixes its neighbours' models into its own
    (:class:`MixingPolicy`) and goes on; it never waits for a quorum, and no two nodes have quite the same model."""

    rule: RuleName = "nnm+multi-krum"
    """The aggregation rule, with its pre-aggregation. ``mean`` learns a little more where everybody is honest
    and is ruined by one liar."""

    f: Annotated[int, Between(0, 1_000)] = 1
    """How many malicious updates a round must survive. More costs honest knowledge (the rule leaves more out)
    and asks for more members."""

    min_updates: Annotated[int, Between(1, 10_000)] = 5
    """The quorum: a round with fewer admitted updates waits, and says so. At least 2f + 1; a rule may ask for
    more (Krum 2f + 3). Higher is safer, lower keeps small branches moving."""

    deadline: Annotated[int, Between(100, 30 * _DAY)] = 2 * _MINUTE
    """ms from a round's first update to its close when not everybody has reported (2 min / 10 min / 6 h).
    Longer waits for slow devices, shorter lets the quick ones learn."""

    codec: Codec = "int8"
    """How updates are encoded. Fewer bits are less traffic and more noise."""

    clip: Annotated[float, Between(1.0, 1e6)] = 3.0
    """An update longer than this many times the round's median norm is shortened to it. Lower bounds an
    attacker more tightly and slows honest members with much to say."""

    staleness: Annotated[int, Between(0, 16)] = 0
    """How many releases behind the head an update may start from. 0 is exact; more lets slow devices take
    part with somewhat outdated gradients."""

    def __post_init__(self) -> None:
        if self.min_updates < 2 * self.f + 1:
            problem = f"must be at least 2 f + 1 = {2 * self.f + 1}, not {self.min_updates}"
            raise SchemaError("min_updates", f"{problem}: f liars need f + 1 honest members more")


@dataclass(frozen=True, slots=True)
class TransferPolicy:
    """How what the children of a branch have in common moves up into it (a *lift*), and when.

    A child branch is one vote, and most branches have few children, so the rule of a round of many members does not
    fit: a lift has its own.
    """

    policy: Literal["every-round", "agreement", "gain"] = "gain"
    """When to lift. ``every-round``: whenever enough children have moved on. ``agreement``: when they agree, too, so
    that what moves up is shared. ``gain``: when the branch's model gets better by it on the committee's own data."""

    rule: RuleName = "median"
    """The aggregation rule over the children. The median of two is their mean; from three on no minority of them
    moves a number beyond those of the others. ``krum`` and its kin need 2f + 3 children."""

    f: Annotated[int, Between(0, 64)] = 0
    """How many captured children a lift must survive for sure. Each asks for two children more; with 0 a lift of two
    believes both, up to the round's ``clip``."""

    min_children: Annotated[int, Between(1, 64)] = 2
    """The quorum: so many children a lift counts at least, all but f of them with a release that was not counted
    before; the others count as they stand. At least 2f + 1. Higher is safer and slower; with 1 a branch believes an
    only child."""

    share: Annotated[float, Between(0.01, 1.0)] = 1.0
    """The part of the consensus that one lift moves up. Less makes the branch a running mean of its children: steadier
    and later."""

    agreement: Annotated[float, Between(0.0, 1.0)] = 0.1
    """Under ``agreement``: the least cosine between children at which to lift, as estimated from how well they agree
    with their consensus. Unrelated children have 0, equal ones 1. Higher lifts less often and only what is common."""

    epsilon: Annotated[float, Between(0.0, 100.0)] = 0.02
    """How much worse, in the loss's own unit, a model may become: under ``gain`` the branch's on any one committee
    member's data, and always a member's on its own by what comes down from above, before it takes that off again. Lower
    protects the minority, higher lets the majority move on."""

    cool_down: Annotated[int, Between(0, 90 * _DAY)] = 0
    """ms between two lifts of one branch. Longer saves traffic, shorter brings news sooner."""

    staleness: Annotated[int, Between(1_000, 365 * _DAY)] = 7 * _DAY
    """ms after which a child's release no longer counts. Longer keeps silent branches in, shorter old knowledge out."""

    def __post_init__(self) -> None:
        if self.min_children < 2 * self.f + 1:
            problem = f"must be at least 2 f + 1 = {2 * self.f + 1}, not {self.min_children}"
            raise SchemaError("min_children", f"{problem}: f captured children need f + 1 honest ones more")


@dataclass(frozen=True, slots=True)
class CommitteePolicy:
    """The few members that close a round and co-sign its release."""

    size: Annotated[int, Between(1, 64)] = 7
    """Seats. More seats survive more faulty members and cost more recomputation and messages."""

    pinned: Annotated[tuple[NodeId, ...], Length(0, 64)] = ()
    """Members that always have a seat: steadier where some devices are always on, more central."""

    leader_timeout: Annotated[int, Between(100, _DAY)] = 15 * _SECOND
    """ms of silence after which the next leader takes over (15 s / 30 s / 2 min). Shorter recovers sooner
    from a crash, longer tolerates slow aggregation without needless changes."""

    memory: Annotated[int, Between(1, 1_000)] = 3
    """Rounds that a silent member stays on the roster. Longer tolerates naps, shorter stops waiting for the
    departed."""

    def __post_init__(self) -> None:
        if len(set(self.pinned)) != len(self.pinned):
            raise SchemaError("pinned", "must not name a member twice")
        if len(self.pinned) > self.size:
            raise SchemaError("pinned", f"must not exceed the {self.size} seats")


@dataclass(frozen=True, slots=True)
class ValidationPolicy:
    """How a release is tried before a committee signs it: members drawn by lot measure it on their own held-out rows,
    and the median of what they say decides. It holds for branches with a committee."""

    voters: Annotated[int, Between(0, 64)] = 0
    """Members of the roster that try each proposal; 0: none is tried. At least 3 f + 1 are drawn, of whom f may lie and
    f be silent. More are harder to mislead and cost two evaluations and one model's traffic each."""

    epsilon: Annotated[float, Between(0.0, 1e6)] = 0.0
    """By how much a proposal may raise the median loss (nats). Higher spares honest rounds that wobble, and is what an
    attacker may take in each of them."""

    rows: Annotated[int, Between(1, 100_000)] = 64
    """Held-out rows that a voter measures on, at most. More are a surer word and take longer."""

    deadline: Annotated[int, Between(100, _DAY)] = 30 * _SECOND
    """ms that votes are waited for (30 s / 1 min / 10 min). Longer hears slow devices, shorter wastes less on silent
    ones."""

    stricter: Annotated[tuple[RuleName, ...], Length(0, 3)] = ("arc+nnm+trimmed-mean",)
    """Rules that are tried in turn when the median is against the round's own; after the last the round closes
    unchanged. One that needs more updates than are here is passed over."""

    silence: Literal["pass", "refuse"] = "pass"
    """What happens to a proposal that fewer than 2 f + 1 members try in time. ``pass`` keeps a branch moving whose
    members are away, ``refuse`` moves nothing that nobody has tried."""


@dataclass(frozen=True, slots=True)
class SeasonPolicy:
    """When a season begins: a fresh A for every branch on one base model. It holds for branches with a committee."""

    policy: Literal["manual", "plateau"] = "plateau"
    """``plateau``: the committee of the topmost branch of a base model begins one when the branches have stopped
    gaining; a root key may open one besides. ``manual``: a root key only."""

    patience: Annotated[int, Between(1, 1_000)] = 10
    """Releases over which a member looks back at the loss on its own held-out rows. More is a surer sign and a later
    season."""

    tolerance: Annotated[float, Between(0.0, 1e6)] = 0.02
    """What that loss has to fall by over these releases for the member to gain (nats). Higher begins seasons sooner,
    also where a little more could have been had."""

    share: Annotated[float, Between(0.01, 1.0)] = 0.75
    """The part of the branches right below another one, and of its own members as one more, that must have stopped
    gaining for it to have stopped. Lower lets the many move on, higher waits for the slow."""

    cool_down: Annotated[int, Between(0, 365 * _DAY)] = 10 * _MINUTE
    """ms that a season lasts at least (10 min / 1 day / 7 days). Longer spends the seasons of a network, which are
    numbered, more slowly."""


@dataclass(frozen=True, slots=True)
class MixingPolicy:
    """How a node mixes its neighbours' models into its own: under ``coordination = "gossip"``, and where a branch
    has lost its committee. How long a node waits for them is the round's ``deadline``."""

    rule: RuleName = "nna"
    """The mixing rule, or an aggregation rule over the node and its neighbours. ``nna`` costs little and keeps all
    but the f farthest; ``nnm+trimmed-mean`` withstands a little more for much more computing; ``mean`` is ruined by
    one liar."""

    f: Annotated[int, Between(0, 64)] = 1
    """How many malicious neighbours a node must survive. More costs honest knowledge and asks for more
    neighbours."""

    min_neighbours: Annotated[int, Between(1, 128)] = 2
    """With fewer neighbours a node mixes nothing, says so and learns on alone. At least 2f; a rule may ask for more.
    Higher is safer, lower keeps small branches together."""

    siblings: Annotated[int, Between(1, 64)] = 8
    """Members of the node's own branch that it mixes with, at most. More spreads knowledge faster and costs one
    model's traffic each."""

    cousins: Annotated[int, Between(0, 64)] = 4
    """Members of the branches next to its own (the parent, the children, the parent's other children), at most. They
    tie the tree together where a liar sits at a parent; too many blur what is special to a branch."""

    staleness: Annotated[int, Between(0, 1_000)] = 2
    """How many steps behind its own a neighbour's model may be; who is silent for one deadline more than that is no
    longer waited for. More keeps slow devices in, less keeps old knowledge out."""

    fallback: Annotated[int, Between(0, 90 * _DAY)] = 10 * _MINUTE
    """ms after its own update at which a node gives up waiting for the committee and mixes with its siblings until
    the next release (10 min / 2 h / 2 days); 0: never. Longer avoids work that the release will replace, shorter
    keeps learning through an outage."""

    def __post_init__(self) -> None:
        if self.min_neighbours < 2 * self.f:
            problem = f"must be at least 2 f = {2 * self.f}, not {self.min_neighbours}"
            raise SchemaError("min_neighbours", f"{problem}: f liars need as many honest neighbours")


@dataclass(frozen=True, slots=True)
class GossipPolicy:
    """How news travels: push is the fast path, sync the guarantee."""

    fanout: Annotated[int, Between(0, 64)] = 4
    """Random peers that get each message besides parent and siblings. More is faster and noisier."""

    sync_interval: Annotated[int, Between(100, _DAY)] = 3 * _SECOND
    """ms between two anti-entropy exchanges with a peer (3 s / 10 s / 60 s): the longest that a lost message
    stays lost, against idle traffic."""

    presence_interval: Annotated[int, Between(100, _DAY)] = 2 * _SECOND
    """ms between two signs of life (2 s / 10 s / 60 s): quicker notice of a death against idle traffic."""

    presence_lifetime: Annotated[int, Between(200, 7 * _DAY)] = 10 * _SECOND
    """ms that a sign of life counts (10 s / 45 s / 5 min), at least twice the interval, so that one may be
    lost."""

    def __post_init__(self) -> None:
        if self.presence_lifetime < 2 * self.presence_interval:
            raise SchemaError("presence_lifetime", "must be at least twice presence_interval")


@dataclass(frozen=True, slots=True)
class GrowthPolicy:
    """How the tree grows beyond the branches that the network was founded with."""

    branches: Literal["founders", "members", "votes"] = "founders"
    """Who may found a branch. ``founders``: the root keys; ``members``: whoever is a member of the branch above it;
    ``votes``: any such member, once ``votes`` of the committee of the branch above agree. Each lets the tree follow
    its members' needs more freely than the one before, or the last one with more care, and more clutter."""

    votes: Annotated[int, Between(1, 64)] = 3
    """Committee members of the branch above that must agree, under ``votes``. More is more care and more waiting."""

    each: Annotated[int, Between(0, 256)] = 8
    """Branches that one member may found, ever; root keys found as many as there is room for. Fewer bound clutter,
    more let the active do more."""

    most: Annotated[int, Between(0, 4_096)] = 256
    """Branches that may be founded in all, each at the cost of about 600 bytes on every node."""

    depth: Annotated[int, Between(1, 8)] = 8
    """Levels below the root. Deeper is finer, and each level adds one adapter to what its devices fetch and sum."""

    dormancy: Annotated[int, Between(1_000, 365 * _DAY)] = 10 * _MINUTE
    """ms without anybody on a branch, or below it, after which nobody spends traffic on it until somebody comes
    (10 min / 1 day / 7 days). Shorter saves traffic, longer wakes fewer branches for nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What anyone may ask of a node. Higher serves heavier use, lower keeps small devices safe."""

    message_bytes: Annotated[int, Between(16_384, _MIB)] = 65_536
    """Bytes of one signed message. Larger lists more in one message, smaller bounds gossip."""

    blob_bytes: Annotated[int, Between(1_024, 64 * _GIB)] = 256 * _MIB
    """Bytes of one blob other than base model files (256 MiB / 1 GiB / 1 GiB): must hold one float32
    adapter."""

    streams_per_peer: Annotated[int, Between(1, 1_024)] = 16
    """Streams that one peer may have open with us. More is more parallel, fewer starves flooders."""

    bytes_per_second_per_peer: Annotated[int, Between(1_024, 64 * _GIB)] = 64 * _MIB
    """Sustained bytes/s that one peer may send us (64 MiB / 16 MiB / 2 MiB): throughput against fairness."""

    connections: Annotated[int, Between(2, 65_536)] = 64
    """Peers connected at once. More spreads news faster and costs memory (about 1 MiB each)."""

    clock_skew: Annotated[int, Between(0, _DAY)] = 30 * _SECOND
    """ms that clocks may disagree (30 s / 2 min / 10 min): lenient to bad clocks, against a longer life of
    expired invites and a wider window for replays."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Policies that suit each other."""

    round: RoundPolicy
    committee: CommitteePolicy
    mixing: MixingPolicy
    gossip: GossipPolicy
    growth: GrowthPolicy
    limits: Limits
    validation: ValidationPolicy = ValidationPolicy()
    transfer: TransferPolicy = TransferPolicy()
    season: SeasonPolicy = SeasonPolicy()


_PRESETS: Final = {
    "local": Preset(
        RoundPolicy(), CommitteePolicy(), MixingPolicy(), GossipPolicy(), GrowthPolicy(), Limits()
    ),
    "lan": Preset(
        RoundPolicy(deadline=10 * _MINUTE),
        CommitteePolicy(leader_timeout=30 * _SECOND),
        MixingPolicy(fallback=2 * _HOUR),
        GossipPolicy(
            sync_interval=10 * _SECOND, presence_interval=10 * _SECOND, presence_lifetime=45 * _SECOND
        ),
        GrowthPolicy(dormancy=_DAY),
        Limits(
            blob_bytes=_GIB,
            bytes_per_second_per_peer=16 * _MIB,
            clock_skew=2 * _MINUTE,
        ),
        ValidationPolicy(deadline=_MINUTE),
        season=SeasonPolicy(cool_down=_DAY),
    ),
    "wan": Preset(
        RoundPolicy(deadline=6 * _HOUR),
        CommitteePolicy(leader_timeout=2 * _MINUTE),
        MixingPolicy(fallback=2 * _DAY),
        GossipPolicy(sync_interval=_MINUTE, presence_interval=_MINUTE, presence_lifetime=5 * _MINUTE),
        GrowthPolicy(dormancy=7 * _DAY),
        Limits(
            blob_bytes=_GIB,
            bytes_per_second_per_peer=2 * _MIB,
            clock_skew=10 * _MINUTE,
        ),
        ValidationPolicy(deadline=10 * _MINUTE),
        season=SeasonPolicy(cool_down=7 * _DAY),
    ),
}


def preset(name: str) -> Preset:
    """The policies for ``local`` (one machine), ``lan`` (one site) or ``wan`` (the internet)."""
    try:
        return _PRESETS[name]
    except KeyError:
        raise BanyanError(f"There is no preset '{name}'", "Choose local, lan or wan") from None
