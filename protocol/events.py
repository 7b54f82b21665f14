"""Everything notable a node does is one of these: log, status, dashboard, metrics and tests read the same list.

An event is a frozen dataclass of plain values; :func:`plain` gives its JSON-ready form, whose ``event`` key
is the class's name in kebab-case. Digests appear as hexadecimal text, times as milliseconds.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from banyan.security.quick import quick

__all__ = [
    "AttemptRefused",
    "BranchFellAsleep",
    "BranchFounded",
    "BranchMergeSuggested",
    "BranchOpened",
    "BranchSplitSuggested",
    "BranchWoke",
    "CardPublished",
    "CaughtUp",
    "Compensated",
    "Event",
    "JobFailedEvent",
    "LeaderChanged",
    "MemberJoined",
    "MessageRefused",
    "MixingBegan",
    "MixingEnded",
    "MixingWaiting",
    "ModelMixed",
    "NodeQuarantined",
    "PinFailed",
    "ProbeRefused",
    "ProposalRefused",
    "ReleaseAudited",
    "ReleaseCertified",
    "ReleasePinned",
    "ReleaseTried",
    "ReleaseUnpinned",
    "RoundClosing",
    "RoundWaiting",
    "SeasonBegan",
    "SeasonOpened",
    "ServiceRestarted",
    "StateLeftOut",
    "StatePublished",
    "UpdateAdmitted",
    "UpdateLeftOut",
    "UpdatePublished",
    "plain",
]


@dataclass(frozen=True, slots=True)
class Event:
    """The root of the list."""


@dataclass(frozen=True, slots=True)
class MemberJoined(Event):
    """A node with a valid credential announced itself on a branch."""

    branch: str
    member: str


@dataclass(frozen=True, slots=True)
class BranchOpened(Event):
    """A root key signed the branch's opening: from now on it has a roster and can close rounds."""

    branch: str
    roster: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeasonOpened(Event):
    """A root key opened a season: every branch turns to it when it has closed its running round."""

    season: int


@dataclass(frozen=True, slots=True)
class SeasonBegan(Event):
    """A branch has turned: what it has learned is frozen, and its members train with a fresh A from now on."""

    branch: str
    height: int
    season: int


@dataclass(frozen=True, slots=True)
class BranchFounded(Event):
    """There is a new branch in the tree: the charter's policy is met."""

    branch: str
    founder: str
    description: str


@dataclass(frozen=True, slots=True)
class BranchFellAsleep(Event):
    """Nobody has been on the branch for the charter's ``dormancy``: no traffic is spent on it until somebody comes."""

    branch: str
    height: int


@dataclass(frozen=True, slots=True)
class BranchWoke(Event):
    """Somebody is on a branch again that had been asleep."""

    branch: str
    height: int


@dataclass(frozen=True, slots=True)
class BranchSplitSuggested(Event):
    """For ``rounds`` rounds the updates of a branch have pulled two ways, as far as this node has closed them: mean
    cosines ``within`` the groups and ``across`` them. Each group may want a branch of its own."""

    branch: str
    rounds: int
    first: tuple[str, ...]
    second: tuple[str, ...]
    within: float
    across: float


@dataclass(frozen=True, slots=True)
class BranchMergeSuggested(Event):
    """For ``rounds`` rounds of ``branch`` two of its children have been nearly the same model."""

    branch: str
    rounds: int
    children: tuple[str, str]
    cosine: float


@quick
@dataclass(frozen=True, slots=True)
class UpdatePublished(Event):
    """This node announced its own update for a round."""

    branch: str
    height: int
    blob: str
    size: int
    loss_before: float | None = None
    loss_after: float | None = None


@dataclass(frozen=True, slots=True)
class Compensated(Event):
    """What came down from the branches above raised the loss on this node's data by ``rise``, more than the charter
    allows: its update takes that off again in its own branch."""

    branch: str
    height: int
    rise: float


@quick
@dataclass(frozen=True, slots=True)
class UpdateAdmitted(Event):
    """An update passed every check of admission and will be counted in its round."""

    branch: str
    height: int
    author: str
    norm: float


@quick
@dataclass(frozen=True, slots=True)
class UpdateLeftOut(Event):
    """An update failed admission and will not be counted; ``reason`` is the code, ``detail`` the sentence."""

    branch: str
    height: int
    author: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class RoundWaiting(Event):
    """A round is past its deadline without its quorum. It goes on waiting, and says for what."""

    branch: str
    height: int
    have: int
    need: int
    missing: tuple[str, ...]
    waits_for: str


@dataclass(frozen=True, slots=True)
class RoundClosing(Event):
    """A round has what it needs; the committee now agrees on its release."""

    branch: str
    height: int
    updates: int
    leader: str


@dataclass(frozen=True, slots=True)
class LeaderChanged(Event):
    """The leader of this view was silent or wrong; the next one takes over."""

    branch: str
    height: int
    view: int
    was: str
    now: str
    why: str


@dataclass(frozen=True, slots=True)
class ProposalRefused(Event):
    """This node would not co-sign what the leader proposed; ``reason`` says why."""

    branch: str
    height: int
    view: int
    leader: str
    reason: str
    detail: str


@quick
@dataclass(frozen=True, slots=True)
class ReleaseCertified(Event):
    """A release got its certificate: the branch has a new head."""

    branch: str
    height: int
    release: str
    leader: str
    cosigners: tuple[str, ...]
    used: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ReleaseNarrowed(Event):
    """A release moved only the first ``columns`` of the ``rank`` columns of B: too few updates had trained the others,
    which stay as they were."""

    branch: str
    height: int
    columns: int
    rank: int


@dataclass(frozen=True, slots=True)
class ReleaseTried(Event):
    """This node measured a drafted release on its own held-out rows and on the branch's probe set, and said so; a
    ``change`` of the loss, or one ``probed``, above zero is worse than the head; None was not measured."""

    branch: str
    height: int
    adapter: str
    change: float | None
    rows: int
    seconds: float
    probed: float | None = None


@dataclass(frozen=True, slots=True)
class ProbeRefused(Event):
    """The probe set of a branch is not what one has to be, or another than was announced; this node tries releases
    without it. ``reason`` is a code."""

    branch: str
    probe: str
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptRefused(Event):
    """Before a release was certified the vote was against what ``rule`` made of the same updates. ``change`` is the
    worse of the medians of the ``votes``, None where too few voted; ``then`` is the rule that was tried next, or
    ``unchanged``."""

    branch: str
    height: int
    rule: str
    change: float | None
    votes: int
    then: str


@dataclass(frozen=True, slots=True)
class ReleaseAudited(Event):
    """This node did a certified release over from its signed inputs; ``problem`` is empty if it is right."""

    branch: str
    height: int
    release: str
    problem: str
    weights: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class CardPublished(Event):
    """This node has signed a model card of its branch, of the release of ``height`` (-1: it has none yet)."""

    branch: str
    height: int
    card: str


@dataclass(frozen=True, slots=True)
class ReleasePinned(Event):
    """This node now serves and exports this release, whatever the branch's head is."""

    branch: str
    height: int
    release: str


@dataclass(frozen=True, slots=True)
class ReleaseUnpinned(Event):
    """This node was pinned to this release and uses the branch's head again."""

    branch: str
    height: int
    release: str


@dataclass(frozen=True, slots=True)
class PinFailed(Event):
    """This node could not be pinned to this release and goes on as it was; ``why`` says what is missing."""

    branch: str
    height: int
    release: str
    why: str


@dataclass(frozen=True, slots=True)
class CaughtUp(Event):
    """This node was behind and has reached the branch's newest release."""

    branch: str
    height: int
    behind: int


@dataclass(frozen=True, slots=True)
class StatePublished(Event):
    """This node told its neighbours the model it has reached by its own training."""

    branch: str
    height: int
    step: int
    blob: str
    size: int
    loss_before: float | None = None
    loss_after: float | None = None


@dataclass(frozen=True, slots=True)
class StateLeftOut(Event):
    """A neighbour's model will not be mixed; ``reason`` is the code, ``detail`` the sentence."""

    branch: str
    height: int
    step: int
    author: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ModelMixed(Event):
    """This node mixed its neighbours' models into its own; ``weights`` by author where the rule gives any."""

    branch: str
    height: int
    step: int
    used: tuple[str, ...]
    left_out: tuple[str, ...]
    weights: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class MixingWaiting(Event):
    """Past the deadline a node has too few neighbours to mix with. Nothing is mixed, and this says what for it waits;
    under gossip it learns on alone if it has data."""

    branch: str
    height: int
    step: int
    have: int
    need: int
    missing: tuple[str, ...]
    waits_for: str


@dataclass(frozen=True, slots=True)
class MixingBegan(Event):
    """The committee has not answered for too long: this node mixes with its siblings until there is a release."""

    branch: str
    height: int


@dataclass(frozen=True, slots=True)
class MixingEnded(Event):
    """The committee is back: this node goes on from its release; what mixing made since is dropped."""

    branch: str
    height: int
    steps: int


@dataclass(frozen=True, slots=True)
class NodeQuarantined(Event):
    """Evidence that anyone can check shows this node cheated; nothing of it is used any more."""

    member: str
    why: str
    evidence: str


@dataclass(frozen=True, slots=True)
class MessageRefused(Event):
    """Something from a peer was refused before it could do anything; counted by ``reason``."""

    sender: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class JobFailedEvent(Event):
    """Training, aggregation or mixing on this device failed; the others go on without it."""

    kind: str
    branch: str
    height: int
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceRestarted(Event):
    """A service of the daemon failed and was started again."""

    service: str
    reason: str
    attempt: int


def name(kind: type[Event]) -> str:
    """``UpdateAdmitted`` -> ``update-admitted``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__.removesuffix("Event")).lower()


def plain(event: Event) -> dict[str, object]:
    """The JSON-ready form of an event."""
    return {"event": name(type(event)), **dataclasses.asdict(event)}
