"""Learning without a committee: a node trains, tells its neighbours the model it has reached, mixes theirs into its
own, and goes on.

So does a whole network under ``coordination = "gossip"``, and a node whose branch has not answered for ``fallback`` ms
after the node's own update: it mixes with its siblings from where its training has brought it, and drops what came of
that at the next release. Nothing here is certified, so nothing here can contradict a release.

A step: train → announce a :class:`State` → wait for the neighbours' states of that step, or the deadline → mix. With
too few neighbours past the deadline nothing is mixed; the node says so and learns on alone (in a fallback it waits:
what one node learns alone is in its update already). A slow node or a newcomer leaps to the median of the steps it
mixed, which a minority cannot move.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cached_property
from statistics import median_low
from typing import Final, Protocol

from banyan.aggregation import build_mixing
from banyan.protocol.branch import Branch
from banyan.protocol.composition import blobs_of, parts_of
from banyan.protocol.effects import (
    Digest,
    Input,
    Inspected,
    JobFailed,
    Mix,
    Mixed,
    PutState,
    SetTimer,
    Train,
    Trained,
)
from banyan.protocol.events import MixingBegan, MixingEnded, MixingWaiting, ModelMixed, StatePublished
from banyan.protocol.learner import RETRY, Learner, finite
from banyan.protocol.messages import State
from banyan.protocol.neighbourhood import Host as NeighbourhoodHost
from banyan.protocol.neighbourhood import Neighbourhood, Offer, kin_of
from banyan.protocol.records import Record
from banyan.security import canonical
from banyan.security.credential import Credential

__all__ = ["Mixer"]

KEY: Final = "mixing"
"""Under which this node's own model and step are kept on disk."""


class Phase(Enum):
    """What a node that mixes is doing."""

    IDLE = "idle"
    TRAINING = "training"
    WAITING = "waiting"
    MIXING = "mixing"
    RESTING = "resting"
    """A job failed; it is tried again in a while."""


class Host(NeighbourhoodHost, Protocol):
    """What a mixer needs of the node it lives at."""

    branches: dict[str, Branch]

    def publish(self, message: object) -> Record: ...
    def has_blob(self, digest: bytes) -> bool: ...


class Mixer:
    """This node's own model, and how it goes on from step to step.

    Args:
        host: the node.
        path: the branch it works on.
        credential: goes into every state.
        learner: says whether to train and until when; its update is where a fallback begins.
        allowed: the only nodes to mix with, for experiments on a given graph; None: chosen by kinship.
    """

    def __init__(
        self, host: Host, path: str, credential: Credential, learner: Learner, allowed: tuple[str, ...] | None
    ) -> None:
        charter = host.charter
        self.is_rule: Final = charter.round.coordination == "gossip"
        """Whether this network has no committees at all."""
        self.branches = (
            (path, *kin_of(path, charter.alike(path, charter.branches)))
            if self.is_rule
            else (path,) * bool(charter.mixing.fallback)
        )
        """The branches whose members' states concern this node."""
        self.neighbourhood: Final = Neighbourhood(
            host, path, self.branches, None if allowed is None else frozenset(allowed)
        )
        self._host = host
        self._path = path
        self._credential = credential
        self._learner = learner
        self._policy = charter.mixing
        self._fallen = False
        self._phase = Phase.IDLE
        self._height = 0
        self._step = 1
        self._own: tuple[Digest, ...] = ()
        self._told_before: Digest = b""
        self._since = 0
        self._mixing: list[Offer] = []

    def tree_grew(self, branches: Iterable[str]) -> None:
        """There are new branches: some may be kin."""
        if self.is_rule:
            alike = self._host.charter.alike(self._path, branches)
            self.branches = (self._path, *kin_of(self._path, alike))
            self.neighbourhood.branches = self.branches

    # ------------------------------------------------------------------------------------ where we stand

    @property
    def is_active(self) -> bool:
        """Whether this node mixes at present."""
        return self.is_rule or self._fallen

    @property
    def is_training(self) -> bool:
        return self._phase is Phase.TRAINING

    @property
    def steps(self) -> int:
        """How many steps lie behind this node since the release it stands at."""
        return self._step - 1

    @property
    def model(self) -> tuple[Digest, ...]:
        """The blobs whose sum is this node's whole model; none before the first step."""
        return self._own

    @cached_property
    def need(self) -> int:
        """The fewest neighbours to mix with: the charter's minimum and the rule's own."""
        rule = build_mixing(self._policy.rule, self._policy.f)
        return max(self._policy.min_neighbours, rule.minimum_n)

    def status(self) -> dict[str, object]:
        """Where the mixing stands, JSON-ready."""
        return {
            "step": self.steps,
            "phase": self._phase.value,
            "have": len(self.neighbourhood.ready(self._step)),
            "need": self.need,
            "neighbours": self.neighbourhood.status(),
            "missing": list(self.neighbourhood.missing(self._step)),
        }

    def keep(self) -> set[Digest]:
        """The blobs that must not be collected: our own, those told, and the neighbours'."""
        told = self._told
        kept = {*self._own, self._told_before, *(offer.state.blob for offer in self._mixing)}
        return (kept | self.neighbourhood.keep() | ({told.blob} if told else set())) - {b""}

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Take up the model and the step from before a restart."""
        data = state.get(KEY)
        match canonical.decode(data, max_bytes=1024) if data else None:
            case [int(height), int(step), [*own]]:
                self._height, self._step = height, step
                self._own = tuple(digest for digest in own if isinstance(digest, bytes))

    @property
    def _told(self) -> State | None:
        """This node's newest own state."""
        record = self._host.records.at("state", self._path, self._host.me)
        return record.body if record is not None and isinstance(record.body, State) else None

    # ------------------------------------------------------------------------------------ what comes in

    def take(self, record: Record, state: State) -> None:
        """Act on a state that was checked and is new here."""
        if record.envelope.author != self._host.me:
            self._look()
        elif state.height == self._height:  # from before our disk was lost: no step is told twice
            self._step = max(self._step, state.step + 1)
            if self.is_active:
                self._take_up()

    def blob_fetched(self, blob: Digest, error: str | None) -> None:
        """The end of a transfer."""
        self.neighbourhood.blob_fetched(blob, error)

    def inspected(self, result: Inspected) -> None:
        """A model was decoded and measured."""
        self.neighbourhood.inspected(result)
        self._look()

    def go_on(self) -> None:
        """Look whether there is anything to do: at the start, every sync interval, at the owner's wish."""
        if not self.is_active:
            self._fall_back_if_due()
        elif self._phase is Phase.IDLE:
            self._take_up()
        else:
            self.neighbourhood.retry()
            self._look()

    # ------------------------------------------------------------------------------------ a step

    def _take_up(self) -> None:
        """Begin this step where it stands: not yet trained, or trained and told already."""
        self._phase, target, told = Phase.IDLE, self._learner.target, self._told
        if self.is_rule and target is not None and self.steps >= target:
            return
        if self._learner.trains and (told is None or (told.height, told.step) != (self._height, self._step)):
            self._phase = Phase.TRAINING
            self._host.do(Train(self._path, self._height + self._step, b"", (), self._own))
            return
        self._phase = Phase.WAITING
        self._wait()
        self._look()

    def trained(self, event: Trained) -> None:
        """Training is done: this is our model now; tell the neighbours."""
        if not self.is_training or event.height != self._height + self._step:
            return
        self._told_before = self._told.blob if self._told else b""
        self._own = (event.blob, *((event.carry,) if event.carry else ()))
        self._persist()
        before, after = (finite(event.metrics.get(name)) for name in ("loss_before", "loss_after"))
        self._host.publish(
            State(
                branch=self._path,
                height=self._height,
                step=self._step,
                blob=event.blob,
                size=event.size,
                credential=self._credential,
                loss_before=before,
                loss_after=after,
            )
        )
        blob = event.blob.hex()
        self._host.tell(StatePublished(self._path, self._height, self._step, blob, event.size, before, after))
        self._take_up()

    def timed_out(self, step: int) -> None:
        """The deadline of a step has passed."""
        self._look()
        if self._phase is Phase.WAITING and step == self._step:
            self._wait()

    def _wait(self) -> None:
        self._since = self._host.now
        self._host.do(SetTimer(f"mix|{self._step}", self._since + self._host.charter.round.deadline))

    def _look(self) -> None:
        """While we wait: is everybody here, or is it time to go on without the missing?"""
        if self._phase is not Phase.WAITING:
            return
        self.neighbourhood.meet(self._height)
        here, missing = self.neighbourhood.ready(self._step), self.neighbourhood.missing(self._step)
        late = self._host.now >= self._since + self._host.charter.round.deadline
        if late:
            self.neighbourhood.leave_behind(self._step)
        if len(here) >= self.need and (late or not missing):
            self._mix(here)
        elif late:
            self._report_waiting(len(here), missing)
            if self._learner.trains and self.is_rule:
                self._advance(self._step)

    def _mix(self, here: list[Offer]) -> None:
        self._phase, self._mixing = Phase.MIXING, here
        inputs = sorted((Input(o.record.id, o.state.blob) for o in here), key=lambda each: each.key)
        target = self._learner.target if self.is_rule else None
        self._host.do(
            Mix(
                branch=self._path,
                height=self._height,
                step=self._step,
                own=self._own,
                neighbours=tuple(inputs),
                rule=self._policy.rule,
                f=self._policy.f,
                progress=min(1.0, self.steps / target) if target else 0.0,
            )
        )

    def mixed(self, event: Mixed) -> None:
        """The mixture is our model now: next step."""
        if self._phase is not Phase.MIXING or (event.height, event.step) != (self._height, self._step):
            return
        authors = {offer.record.id: offer.author for offer in self._mixing}
        left_out = {authors[key] for key in event.left_out if key in authors}
        weights = {authors[key]: share for key, share in (event.weights or {}).items() if key in authors}
        self._host.tell(
            ModelMixed(
                self._path,
                self._height,
                self._step,
                used=tuple(sorted(set(authors.values()) - left_out)),
                left_out=tuple(sorted(left_out)),
                weights=tuple(sorted(weights.items())),
            )
        )
        reached = median_low([offer.state.step for offer in self._mixing])
        self._own, self._mixing = (event.adapter,), []
        self._advance(max(self._step, reached))

    def _advance(self, done: int) -> None:
        """Step ``done`` is over."""
        self._step = done + 1
        self._persist()
        self._take_up()

    def _persist(self) -> None:
        self._host.do(PutState(KEY, canonical.encode([self._height, self._step, list(self._own)])))

    def _report_waiting(self, have: int, missing: tuple[str, ...]) -> None:
        need = self.need
        wants = f"{need - have} more neighbour{'s' if need - have != 1 else ''}"
        names = f"nothing yet from {', '.join(missing)}" if missing else "nobody else is here"
        self._host.tell(
            MixingWaiting(self._path, self._height, self._step, have, need, missing, f"{wants}; {names}")
        )

    # ------------------------------------------------------------------------------------ failures

    def failed(self, event: JobFailed) -> bool:
        """A job came to nothing: try again in a while. False if the job was not ours."""
        if event.kind == "train":
            ours = self.is_training and event.height == self._height + self._step
        else:
            ours = event.kind == "mix" and self._phase is Phase.MIXING
        if ours:
            self._phase, self._mixing = Phase.RESTING, []
            self._host.do(SetTimer("train", self._host.now + RETRY))
        return ours

    def retry(self) -> None:
        """The rest after a failure is over."""
        if self._phase is Phase.RESTING:
            self._take_up()

    # ------------------------------------------------------------------------------------ falling back

    def _fall_back_if_due(self) -> None:
        """Where our update has waited too long for its release: go on from our own model, with the siblings."""
        update, head = self._learner.update, self._host.branches[self._path].chain.head
        wait = self._policy.fallback
        if not wait or update is None or head is None or self._host.now < update.envelope.time + wait:
            return
        heads = [self._host.branches[path].chain.head for path in self._host.charter.model_path(self._path)]
        adapters = blobs_of(parts_of(each for each in heads if each is not None))
        if not all(self._host.has_blob(adapter) for adapter in adapters):
            return
        self._fallen = True
        if self._height != head.height or not self._own:
            self._height, self._step = head.height, 1
            self._own = (*adapters, *self._learner.announced)
            self._persist()
        self._host.tell(MixingBegan(self._path, self._height))
        self._take_up()

    def head_moved(self) -> None:
        """The branch has a release again: it was made of every sibling's update, and what mixing made since is
        dropped."""
        if self._fallen:
            self._host.tell(MixingEnded(self._path, self._height, self.steps))
        if self._own and not self.is_rule:
            self._own, self._step, self._mixing = (), 1, []
            self.neighbourhood.clear()
            self._persist()
        self._fallen, self._phase = False, Phase.IDLE
