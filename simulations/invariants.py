"""What must hold in every run, whatever the network, the crashes and the attackers do.

An invariant watches a run from outside: it sees every device's disk, as no node can, and does over with fresh eyes what
the nodes did. What it finds wrong is a violation, which names the device, the time and what was seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar, Final, Protocol

import numpy as np

from banyan.node.learning.aggregate_job import aggregate
from banyan.node.learning.inspect_job import inspect
from banyan.protocol.audit import Audit
from banyan.protocol.chain import Chain
from banyan.protocol.composition import blobs_of, parts_of
from banyan.protocol.effects import Inspect
from banyan.protocol.events import (
    BranchOpened,
    Event,
    NodeQuarantined,
    ReleaseCertified,
    ReleaseTried,
    RoundClosing,
    UpdateAdmitted,
    UpdateLeftOut,
)
from banyan.protocol.members import Members
from banyan.protocol.messages import CertifiedRelease, Update, read_body
from banyan.protocol.plateau import is_restated
from banyan.protocol.records import record_of
from banyan.protocol.release import Contribution, Release, TrialVote, claims_of, committee_of
from banyan.protocol.season import is_turn
from banyan.protocol.validation import flaw, quorum_of_votes
from banyan.security.admission import Reason
from banyan.security.credential import is_guest
from banyan.security.envelope import open_envelope
from banyan.security.errors import Refused
from banyan.simulations.device import Device
from banyan.simulations.layers import read_model
from banyan.simulations.record import ViolationFigures
from banyan.simulations.world import World

__all__ = ["INVARIANTS", "Invariant", "Scene"]


class Scene(Protocol):
    """The run that is watched."""

    world: World
    violations: list[ViolationFigures]
    held_limit: float
    """Bytes of records and blobs that no device may exceed."""
    traffic_limit: float
    """Bytes of messages a round that no honest device may exceed on average."""
    settle: int
    """Virtual ms after the last mishap within which all must agree again."""
    calm_since: int
    """Virtual time of the last mishap."""

    gossip: bool
    """Whether nobody releases anything, and each device has its own model."""
    rounds: int
    """How many releases, or steps, each is to reach."""

    @property
    def honest(self) -> Sequence[Device]: ...
    def name_of(self, device: Device) -> str: ...
    def expected(self) -> list[Device]:
        """The honest devices that are neither gone nor expelled."""

    def in_turn(self) -> list[Device]:
        """Those of :meth:`expected` whose turn it is to be looked at in this tick: all of up to five hundred, of
        more so many after the other."""

    def does_over(self, release: Release) -> bool:
        """Whether the inputs and the sums of ``release`` are done over: of every release, but above five hundred
        devices of as large a share as these are of all, chosen by its digest."""

    def lives_here(self, node: str) -> bool:
        """Whether a node lives in this process of the run; true of one that is no device."""

    def holds(self, path: str) -> bool:
        """Whether all devices at and below ``path`` live in this process."""

    def goal_of(self, path: str) -> int:
        """The height that ``path`` is to reach."""

    def concerns(self, device: Device) -> list[str]:
        """The branches whose news a device must have."""


class Invariant:
    """One thing that must hold. The class's docstring says it in a sentence."""

    name: ClassVar[str]
    hears: ClassVar[tuple[type[Event], ...]] = ()
    """The kinds of events that it is told of."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def happened(self, device: Device, event: Event) -> None:
        """An honest device emitted ``event``, of one of the kinds that this invariant hears."""

    def crashed(self, device: Device) -> None:
        """``device`` is about to lose its memory."""

    def restarted(self, device: Device, disk_lost: bool) -> None:
        """``device`` is back."""

    def ticked(self) -> None:
        """Some virtual seconds have passed."""

    def finished(self) -> None:
        """The run is over."""

    def violated(self, where: Device | str, what: str) -> None:
        """Report it."""
        world = self.scene.world
        time = world.clock.now - world.charter.created
        name = where if isinstance(where, str) else self.scene.name_of(where)
        self.scene.violations.append(ViolationFigures(self.name, time, name, what))


class OneReleaseAHeight(Invariant):
    """No branch ever has two certified releases at one height, and every certificate is a quorum of its committee."""

    name = "one-release-a-height"
    hears = (BranchOpened, ReleaseCertified)

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self.chains: dict[str, Chain] = {}

    def happened(self, device: Device, event: Event) -> None:
        if device.peer is None or not isinstance(event, ReleaseCertified | BranchOpened):
            return
        theirs = device.peer.branches[event.branch].chain
        ours = self.chains.get(event.branch)
        if ours is None:
            reader = self.scene.world.reader
            ours = Chain(
                event.branch,
                self.scene.world.charter.committee,
                lambda data: reader.record(reader.open(data)),
            )
            opening = theirs.at(0)
            if opening is None:
                return
            ours.open(opening)
            self.chains[event.branch] = ours
        if isinstance(event, BranchOpened):
            self._compare(device, ours, theirs.at(0))
            return
        while ours.height < event.height:
            proof = theirs.proof(ours.height + 1)
            if proof is None or not self._extend(device, ours, proof):
                return
        self._compare(device, ours, theirs.at(event.height))

    def _extend(self, device: Device, ours: Chain, proof: CertifiedRelease) -> bool:
        try:
            ours.verify(proof)
        except Refused as refusal:
            self.violated(
                device, f"{proof.release.branch} {proof.release.height} is not certified: {refusal.what}"
            )
            return False
        ours.append(proof)
        return True

    def _compare(self, device: Device, ours: Chain, theirs: Release | None) -> None:
        if theirs is None:
            return
        first = ours.at(theirs.height)
        if first is not None and first.digest != theirs.digest:
            self.violated(
                device,
                f"{theirs.branch} has two releases {theirs.height}: {first.digest.hex()[:12]} and "
                f"{theirs.digest.hex()[:12]}",
            )

    def finished(self) -> None:
        mine = {path: {r.height: r.digest for r in chain.releases()} for path, chain in self.chains.items()}
        for theirs in self.scene.world.together(mine):
            for path in mine.keys() & theirs.keys():
                for height in mine[path].keys() & theirs[path].keys():
                    if mine[path][height] != theirs[path][height]:
                        self.violated(path, f"two processes of the run know two releases {height}")


class _EachRelease(Invariant):
    """Looks at every release once, when the first honest device has it, where its leader lives."""

    hears: ClassVar[tuple[type[Event], ...]] = (ReleaseCertified,)

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._seen: set[str] = set()

    def happened(self, device: Device, event: Event) -> None:
        if not isinstance(event, ReleaseCertified) or device.peer is None or event.release in self._seen:
            return
        if not self.scene.lives_here(event.leader):
            return
        history = device.peer.branches[event.branch].chain
        release, base = history.at(event.height), history.at(event.height - 1)
        if release is not None and base is not None:
            self._seen.add(event.release)
            self.check(device, release, base)

    def check(self, device: Device, release: Release, base: Release) -> None:
        raise NotImplementedError


class OnlyAdmissibleInputs(_EachRelease):
    """No release contains an update that is unsigned, inadmissible, or not from a member."""

    name = "only-admissible-inputs"

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._members = Members(scene.world.charter, scene.world.verifier)
        self._certified: dict[bytes, tuple[bytes, bytes]] = {}
        self._elsewhere: list[tuple[Device, Release, Contribution]] = []

    def check(self, device: Device, release: Release, base: Release) -> None:
        self._certified[release.digest] = (release.adapter, release.lifted)
        if not self.scene.does_over(release):
            return
        audit = Audit(release, base, self.scene.world.charter, self._members.check_past)
        for used in release.used:
            if used.is_child and not self.scene.holds(used.source):
                self._elsewhere.append((device, release, used))
            else:
                problem = self._child(used) if used.is_child else self._update(device, used, audit, base)
                self._expect_none(problem, device, release, used)

    def finished(self) -> None:
        for theirs in self.scene.world.together(self._certified):
            self._certified |= theirs
        for device, release, used in self._elsewhere:
            self._expect_none(self._child(used), device, release, used)

    def _expect_none(self, problem: str, device: Device, release: Release, used: Contribution) -> None:
        if problem:
            self.violated(device, f"{release.branch} {release.height} uses {used.source}: {problem}")

    def _child(self, used: Contribution) -> str:
        child = self._certified.get(used.key)
        if child is None:
            return "no such release of the child is certified"
        return "" if child == (used.blob, used.lifted) else "it is not what the child's release holds"

    def _update(self, device: Device, used: Contribution, audit: Audit, base: Release) -> str:
        world = self.scene.world
        holders = chain((device,), world.devices.values())
        data = next((holder.records[used.key] for holder in holders if used.key in holder.records), None)
        if data is None:
            return "nobody can show the update"
        try:
            envelope = open_envelope(data, network=world.charter.network_id, verify=world.verifier)
            update = read_body(envelope, Update)
            audit.take(record_of(envelope, update))
        except Refused as refusal:
            return refusal.what
        if update.base != base.digest and world.charter.round.staleness == 0:
            return "it starts from another release"
        try:
            found = inspect(
                Inspect(used.blob, base.branch, base.season),
                blobs=Everywhere(world, device),
                spec=world.charter.adapter_at(base.branch),
            )
        except KeyError:
            return "nobody has its blob"
        return (
            found.detail
            or found.refusal
            or ("" if found.base == update.base else "its blob has another base")
        )


class GuestsDecideNothing(_EachRelease):
    """No release counts more guests than its rule survives, or gives one a seat."""

    name = "guests-decide-nothing"
    hears = (BranchOpened, ReleaseCertified)

    def happened(self, device: Device, event: Event) -> None:
        if isinstance(event, BranchOpened):
            self._look_for_seats(device, f"{event.branch} 0", event.roster)
        super().happened(device, event)

    def check(self, device: Device, release: Release, base: Release) -> None:
        where = f"{release.branch} {release.height}"
        guests = [each.source for each in release.used if each.guest]
        if len(guests) > self.scene.world.charter.round.f:
            self.violated(device, f"{where} counts the guests {', '.join(guests)}")
        self._look_for_seats(device, where, release.members)

    def _look_for_seats(self, device: Device, where: str, seats: Iterable[str]) -> None:
        devices, charter = self.scene.world.devices, self.scene.world.charter
        for seat in seats:
            if seat not in devices or is_guest(devices[seat].settings.credential, charter):
                self.violated(device, f"{where} gives a seat to the guest {seat}")


class ReleasesRecompute(_EachRelease):
    """Every release is what the charter's rule makes of its signed inputs."""

    name = "releases-recompute"

    def check(self, device: Device, release: Release, base: Release) -> None:
        world = self.scene.world
        if not self.scene.does_over(release):
            return
        audit = Audit(release, base, world.charter, lambda *_: None)
        problem = audit.flaw
        spec = world.charter.adapter_at(release.branch)
        for audit.computed in range(len(claims_of(release))):
            try:
                result = aggregate(audit.job(), blobs=Everywhere(world, device), spec=spec)
            except (KeyError, ValueError, Refused) as error:
                self.violated(device, f"{release.branch} {release.height} cannot be recomputed: {error}")
                return
            problem = problem or audit.problem(result)
        if problem:
            self.violated(device, f"{release.branch} {release.height}: {problem}")


class ALiftIsWhole(_EachRelease):
    """A lift moves knowledge and loses none: the branch's model grows by it, and no model below changes by anything but
    what the branch's own members taught."""

    name = "a-lift-is-whole"

    def check(self, device: Device, release: Release, base: Release) -> None:
        if not release.lift or not self.scene.does_over(release) or device.peer is None:
            return
        blobs, where = Everywhere(self.scene.world, device), f"{release.branch} {release.height}"
        try:
            spec = self.scene.world.charter.adapter_at(release.branch)
            change = read_model(blobs, [release.change] if release.change else [], spec)
            step = change + read_model(blobs, [release.lift], spec)
            self._compare(device, where, blobs, [base], [release], step)
            # of several processes each looks at the children whose devices are all its own
            for path in filter(self.scene.holds, device.peer.children_of(release.branch)):
                head = device.peer.branches[path].chain.head if path in device.peer.branches else None
                if head is not None:
                    below = f"{path} {head.height} under {where}"
                    self._compare(device, below, blobs, [base, head], [release, head], change)
        except (KeyError, Refused) as error:
            self.violated(device, f"{where} cannot be done over: {error}")

    def _compare(
        self,
        device: Device,
        where: str,
        blobs: Everywhere,
        before: list[Release],
        after: list[Release],
        step: np.ndarray,
    ) -> None:
        """That the model of the path ``after`` is that of ``before`` plus ``step``."""
        spec = self.scene.world.charter.adapter_at(after[-1].branch)
        first, second = (read_model(blobs, blobs_of(parts_of(path)), spec) for path in (before, after))
        error = float(np.abs(second - first - step).max(initial=0.0))
        if not error <= TOLERANCE * max(1.0, float(np.abs(second).max(initial=0.0))):
            self.violated(device, f"the model of {where} is off by {error:.2g}")


class ReleasedByVote(_EachRelease):
    """No release is certified against the vote: it quotes what honest voters said, and of half of its voters all but
    the f that may lie are honest ones who found it no worse than the charter allows."""

    name = "released-by-vote"
    hears = (ReleaseTried, ReleaseCertified)

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._said: dict[tuple[str, int, str, str], tuple[float | None, float | None]] = {}

    def happened(self, device: Device, event: Event) -> None:
        if isinstance(event, ReleaseTried):
            self._said[event.branch, event.height, event.adapter, device.name] = (
                event.change,
                event.probed,
            )
        super().happened(device, event)

    def check(self, device: Device, release: Release, base: Release) -> None:
        where, charter = f"{release.branch} {release.height}", self.scene.world.charter
        if unsound := flaw(release, base, charter):
            self.violated(device, f"{where}: {unsound[1]}")
        for claim in claims_of(release):
            if false := [vote.voter for vote in claim.votes if not self._is_true(claim, vote)]:
                self.violated(device, f"{where} misquotes the votes of {', '.join(false)}")
        for what, of in (("own rows", "change"), ("probe set", "probed")):
            votes = [vote for vote in release.votes if getattr(vote, of) is not None]
            honest = [getattr(vote, of) for vote in votes if not self._lies(vote)]
            content = sum(change <= charter.validation.epsilon for change in honest)
            tried = len(votes) >= quorum_of_votes(charter)
            if tried and content < (len(votes) + 1) // 2 - charter.round.f:
                self.violated(device, f"{where} was good for {content} of {len(honest)} on the {what}")

    def _lies(self, vote: TrialVote) -> bool:
        voter = self.scene.world.devices.get(vote.voter)
        return voter is None or voter.attack is not None

    def _is_true(self, claim: Release, vote: TrialVote) -> bool:
        key = (claim.branch, claim.height, claim.adapter.hex(), vote.voter)
        if self._lies(vote) or not self.scene.lives_here(vote.voter):
            return True  # what was said elsewhere is not known here
        return self._said.get(key) == (vote.change, vote.probed)


SAID_ONCE: Final = ("update", "draft", "trial", "proposal", "vote")
"""The kinds of records that a device must not contradict after a crash."""


@dataclass
class _Memory:
    """What a device had acknowledged when it crashed."""

    heads: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    records: frozenset[bytes] = frozenset()


class AcknowledgedSurvives(Invariant):
    """What a device had acknowledged before a crash it knows after it: every release, and what it said in the rounds
    that were running."""

    name = "acknowledged-survives"

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._before: dict[str, _Memory] = {}

    def crashed(self, device: Device) -> None:
        peer = device.peer
        if peer is None:
            return
        heads = {
            path: (branch.chain.height, branch.chain.head.digest)
            for path, branch in peer.branches.items()
            if branch.chain.head is not None
        }
        own = frozenset(
            record.id
            for record in peer.records.all()
            if record.envelope.author == device.name and record.slot[0] in SAID_ONCE
        )
        self._before[device.name] = _Memory(heads, own)

    def restarted(self, device: Device, disk_lost: bool) -> None:
        before, peer = self._before.pop(device.name, None), device.peer
        if before is None or peer is None or disk_lost:
            return
        for path, (height, digest) in before.heads.items():
            known = peer.branches[path].chain.at(height) if path in peer.branches else None
            if known is None or known.digest != digest:
                self.violated(device, f"it has forgotten release {height} of {path}")
        for record_id in sorted(before.records):
            if record_id not in peer.records:
                self.violated(device, f"it has forgotten its own record {record_id.hex()[:12]}")


class HonestNeverGuilty(Invariant):
    """No honest device is ever proved to be a cheat, whatever crashes and cuts it went through."""

    name = "honest-never-guilty"
    hears = (NodeQuarantined,)

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._amnesiac: set[str] = set()
        self._told: set[str] = set()

    def restarted(self, device: Device, disk_lost: bool) -> None:
        if disk_lost:  # it may contradict what it no longer knows it said
            self._amnesiac.add(device.name)

    def happened(self, device: Device, event: Event) -> None:
        if not isinstance(event, NodeQuarantined) or event.member in self._told | self._amnesiac:
            return
        accused = self.scene.world.devices.get(event.member)
        if accused is not None and accused.attack is None and event.why != Reason.REVOKED.value:
            self._told.add(event.member)
            self.violated(device, f"it shut out {self.scene.name_of(accused)} for {event.why}")


class HealedHeadsAgree(Invariant):
    """A stated time after the last mishap all live honest devices have the releases that any of them had then; and at
    the end the same heads."""

    name = "healed-heads-agree"

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._known: dict[str, tuple[int, bytes]] | None = None
        self._checked = False

    def ticked(self) -> None:
        now = self.scene.world.clock.now
        if self._known is None and now >= self.scene.calm_since:
            self._known = self._newest()
        if self._known is not None and not self._checked and now >= self.scene.calm_since + self.scene.settle:
            self._checked = True
            self._expect(self._known)

    def finished(self) -> None:
        self._expect(self._newest())

    def _newest(self) -> dict[str, tuple[int, bytes]]:
        newest: dict[str, tuple[int, bytes]] = {}
        for device in self.scene.expected():
            for path in self.scene.concerns(device):
                head = device.peer.branches[path].chain.head if device.peer else None
                if head is not None and head.height > newest.get(path, (-1, b""))[0]:
                    newest[path] = (head.height, head.digest)
        for theirs in self.scene.world.together(newest):
            for path, (height, digest) in theirs.items():
                if height > newest.get(path, (-1, b""))[0]:
                    newest[path] = (height, digest)
        return newest

    def _expect(self, newest: dict[str, tuple[int, bytes]]) -> None:
        for device in self.scene.expected():
            for path in self.scene.concerns(device):
                if device.peer is None or path not in newest:
                    continue
                height, digest = newest[path]
                chain = device.peer.branches[path].chain
                known = chain.at(height)
                if known is None or known.digest != digest:
                    self.violated(
                        device, f"it has not heard of release {height} of {path}, only of {chain.height}"
                    )


class EveryUpdateAnswered(_EachRelease):
    """Every update that reached the release's leader in time, and every seat of the roster, is used or left out with a
    reason, and never both. A guest for whom there was no room is told of by an event instead."""

    name = "every-update-answered"
    hears = (UpdateAdmitted, UpdateLeftOut, RoundClosing, ReleaseCertified)

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._admitted: dict[tuple[str, str, int], set[str]] = {}
        self._closing: dict[tuple[str, str, int], frozenset[str]] = {}

    def happened(self, device: Device, event: Event) -> None:
        if isinstance(event, UpdateAdmitted):
            self._admitted.setdefault((device.name, event.branch, event.height), set()).add(event.author)
        elif isinstance(event, UpdateLeftOut) and event.reason == Reason.GUEST_LIMIT.value:
            key = (device.name, event.branch, event.height)
            self._admitted.get(key, set()).discard(event.author)
            self._closing[key] = self._closing.get(key, frozenset()) - {event.author}
        elif isinstance(event, RoundClosing):
            key = (device.name, event.branch, event.height)
            self._closing[key] = frozenset(self._admitted.pop(key, ()))
        super().happened(device, event)

    def restarted(self, device: Device, disk_lost: bool) -> None:
        if disk_lost:  # and with it what it had admitted
            for known in (self._admitted, self._closing):
                for key in [key for key in known if key[0] == device.name]:
                    del known[key]

    def check(self, device: Device, release: Release, base: Release) -> None:
        where = f"{release.branch} {release.height}"
        used = [each.source for each in release.used]
        left_out = [each.source for each in release.left_out]
        if twice := {name for name in used if name in left_out or used.count(name) > 1}:
            self.violated(device, f"{where} answers {', '.join(sorted(twice))} twice")
        if unknown := {each.reason for each in release.left_out} - _REASONS:
            self.violated(device, f"{where} gives reasons nobody knows: {', '.join(sorted(unknown))}")
        if is_turn(release) or is_restated(release):
            return  # it has no lists; events tell of what it leaves out
        answered = {*used, *left_out}
        seats = {seat.member for seat in base.roster if seat.speaks_for == release.branch}
        if forgotten := seats - answered:
            self.violated(device, f"{where} does not say what became of {', '.join(sorted(forgotten))}")
        assert device.peer is not None
        proof = device.peer.branches[release.branch].chain.proof(release.height)
        committee = committee_of(base, self.scene.world.charter.committee)
        # Who leads a later view may have to propose what another has drafted, and that one knows who was there.
        leaders = committee[: proof.view + 1] if proof else ()
        admitted = [
            self._closing.pop((leader, release.branch, release.height), frozenset[str]())
            for leader in leaders
        ]
        if admitted and (unanswered := frozenset.intersection(*admitted) - answered):
            self.violated(device, f"{where}: its leader had admitted {', '.join(sorted(unanswered))}")


class BoundedDevice(Invariant):
    """No device holds more bytes, and no honest device sends more bytes a round, than the scenario allows: however
    large the network, a phone can take part."""

    name = "bounded-device"

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._told: set[str] = set()

    def ticked(self) -> None:
        for device in self.scene.in_turn():
            if device.held > self.scene.held_limit and device.name not in self._told:
                self._told.add(device.name)
                self.violated(device, f"it holds {device.held / 1e6:.1f} MB")

    def finished(self) -> None:
        for device in self.scene.expected():
            rounds = max([1, *(b.chain.height for b in device.peer.branches.values())]) if device.peer else 1
            if device.bytes_sent / rounds > self.scene.traffic_limit:
                self.violated(device, f"it sent {device.bytes_sent / rounds / 1e6:.1f} MB a round")


class RoundsGoOn(Invariant):
    """Every branch reaches the releases that the scenario asks of it."""

    name = "rounds-go-on"

    def finished(self) -> None:
        if self.scene.gossip:
            for device in self.scene.expected():
                if device.steps() < self.scene.rounds:
                    self.violated(device, f"it made {device.steps()} of its {self.scene.rounds} steps")
            return
        lowest: dict[str, int] = {}
        for device in self.scene.expected():
            for path in self.scene.concerns(device):
                height = device.peer.branches[path].chain.height if device.peer else -1
                lowest[path] = min(height, lowest.get(path, height))
        for path in sorted(lowest.keys() & set(self.scene.world.charter.branches)):
            goal = self.scene.goal_of(path)
            if lowest[path] < goal:
                self.violated(path, f"it has {lowest[path]} of the {goal} releases that it was to reach")


class Everywhere:
    """All devices' blobs as one store that is only read; ``first`` is looked at first."""

    def __init__(self, world: World, first: Device) -> None:
        self._world, self._first = world, first
        self._made: dict[bytes, bytes] = {}

    def read(self, digest: bytes) -> bytes:
        """The bytes of a blob. Raises KeyError where nobody has it."""
        if digest in self._made:
            return self._made[digest]
        for device in chain((self._first,), self._world.devices.values()):
            if digest in device.blobs.data:
                return device.blobs.data[digest]
        raise KeyError(digest.hex())

    def put(self, data: bytes) -> bytes:
        """Keep what a computation makes, for this computation alone."""
        digest = hashlib.sha256(data).digest()
        self._made[digest] = data
        return digest


TOLERANCE: Final = 1e-5
"""What float32 sums in another order may differ by, relative to the largest number."""

_REASONS: Final = frozenset(reason.value for reason in Reason)

INVARIANTS: Final[tuple[type[Invariant], ...]] = (
    OneReleaseAHeight,
    OnlyAdmissibleInputs,
    GuestsDecideNothing,
    ReleasesRecompute,
    ALiftIsWhole,
    ReleasedByVote,
    AcknowledgedSurvives,
    HonestNeverGuilty,
    HealedHeadsAgree,
    EveryUpdateAnswered,
    BoundedDevice,
    RoundsGoOn,
)
