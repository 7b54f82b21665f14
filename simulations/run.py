"""Run one scenario from one seed: set the stage, let time pass, watch, and write down what happened."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from itertools import islice
from typing import Final, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from banyan.protocol.composition import blobs_of, parts_of
from banyan.protocol.effects import Effect, InputEvent
from banyan.protocol.events import BranchOpened, Event, ReleaseCertified
from banyan.protocol.paths import children_in, parent_of, path_to
from banyan.protocol.release import Release
from banyan.protocol.transfer import Transfer
from banyan.security.errors import Refused
from banyan.simulations.border import Border
from banyan.simulations.collector import unhurried
from banyan.simulations.device import Device
from banyan.simulations.graphs import dumbbell
from banyan.simulations.invariants import INVARIANTS, Everywhere, Invariant
from banyan.simulations.layers import read_model
from banyan.simulations.network import Conditions
from banyan.simulations.record import (
    NodeFigures,
    ReleaseFigures,
    RunRecord,
    ScoreFigures,
    ViolationFigures,
)
from banyan.simulations.scenario import Arm, Scenario, ScenarioError
from banyan.simulations.tasks import Score
from banyan.simulations.tasks.choice import make_task
from banyan.simulations.world import World

__all__ = ["Run", "run_scenario"]

Figures = TypeVar("Figures")
Key = TypeVar("Key")

Progress = Callable[[float, str], None]
"""Told how much of a run is done, from 0 to 1, and what is going on."""

Watcher = Callable[[int, str, InputEvent, list[Effect]], None]
"""Told of every step of a core: virtual ms since the start, device, what it heard, what it does."""

TICK: Final = 5_000
"""Virtual ms between two looks at what changes slowly."""

LOOKED_AT: Final = 500
"""At most so many devices are looked at in one tick, in turn; so no device of a larger world waits long."""

JUDGES: Final = 32
"""At most so many devices are asked how well a release serves them."""


def run_scenario(
    scenario: Scenario,
    seed: int,
    arm: Arm = "as-is",
    *,
    invariants: Sequence[type[Invariant]] = INVARIANTS,
    progress: Progress | None = None,
    watcher: Watcher | None = None,
) -> RunRecord:
    """Run one arm of a scenario to its end. Equal arguments give equal records, but for ``seconds``.

    Raises:
        ScenarioError: the scenario asks for what cannot be.
    """
    run = Run(scenario.for_arm(arm), seed, invariants, watcher)
    started = time.perf_counter()
    run.play(progress or (lambda done, what: None))
    return run.record(arm, time.perf_counter() - started)


class Run:
    """One run: the stage on which faults happen and the scene that invariants watch.

    Where several processes share it (``border``), each plays it whole and does what concerns the devices that live in
    it. All come to each :meth:`together <banyan.simulations.world.World.together>` in the same order.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        invariants: Sequence[type[Invariant]] = INVARIANTS,
        watcher: Watcher | None = None,
        border: Border | None = None,
    ) -> None:
        self.scenario, self.seed = scenario, seed
        self.rng = random.Random(f"scenario|{seed}")
        self.world = World(
            seed,
            dict(scenario.tree),
            scenario.charter_policies(),
            Conditions(**scenario.network.model_dump()),
            make_task(scenario.task.name, seed, scenario.task.options),
            admission=scenario.admission,
            guests=scenario.guests,
            small_share=scenario.small.share if scenario.small else 0.0,
            small_rank=scenario.small.rank if scenario.small else 0,
            pinned=scenario.pinned,
            fast_signatures={"auto": None, "ed25519": False, "fast": True}[scenario.signatures],
            border=border,
        )
        self._names = self.world.names
        self._named = {name: node for node, name in self._names.items()}
        self.absent: set[str] = set()
        self.violations: list[ViolationFigures] = []
        self.faults: list[tuple[int, str]] = []
        self.releases: dict[tuple[str, int], ReleaseFigures] = {}
        self.scores: list[ScoreFigures] = []
        self.founded: int | None = None
        """Virtual ms until every branch with devices had its first release."""
        self._sent_founding: dict[str, tuple[int, int, int]] = {}
        self.held_limit, self.traffic_limit = scenario.held_limit * 1e6, scenario.traffic_limit * 1e6
        self.settle = round(1000 * scenario.settle)
        self.calm_since = self.world.clock.now
        self._dismissed: set[str] = set()
        self._crashes: dict[str, int] = {}
        self._opened: dict[str, int] = {}
        self._certified: dict[tuple[str, int], int] = {}
        """When an honest device of this process first had a release."""
        self.rounds = scenario.rounds
        self.gossip = self.world.charter.round.coordination == "gossip"
        self._steps_scored = 0
        self._ticks = 0
        self._turns = -(-len(self.world.devices) // LOOKED_AT)
        self._judging: dict[str, list[Device]] = {}
        self._arrange_devices()
        self.honest = [device for device in self.world.devices.values() if device.attack is None]
        self._own = {path: [d for d in self.honest if d.settings.branch == path] for path in scenario.tree}
        self._below: dict[str, list[Device]] = {path: [] for path in scenario.tree}
        for device in self.honest:
            for path in path_to(device.settings.branch):
                self._below.setdefault(path, []).append(device)
        self.invariants = [kind(self) for kind in invariants]
        self._listening: dict[type[Event], list[Invariant]] = {}
        for invariant in self.invariants:
            for heard in invariant.hears:
                self._listening.setdefault(heard, []).append(invariant)
        self.world.on_event = self._witness
        if watcher is not None:
            self.world.on_step = lambda name, event, effects: watcher(
                self._since_start(), self._names.get(name, name), event, effects
            )
        for fault in scenario.faults:
            fault.arrange(self)

    # ------------------------------------------------------------------------------------ setting the stage

    def _arrange_devices(self) -> None:
        scenario, world = self.scenario, self.world
        for device in world.devices.values():
            device.settings = replace(device.settings, target_height=scenario.rounds)
            device.train_time = round(1000 * self.rng.uniform(*scenario.training))
        if scenario.graph == "dumbbell":
            names = list(world.devices)
            half = len(names) // 2
            world.link(dumbbell(names[:half], names[half:]))
        root = world.charter.roots[0]
        for wanted in scenario.attackers:
            if wanted.devices:
                chosen = [self._device(name) for name in wanted.devices]
            else:
                able = [
                    device
                    for device in world.devices.values()
                    if device.attack is None
                    and device.name != root
                    and wanted.branch in (None, device.settings.branch)
                ]
                if len(able) < wanted.count:
                    raise ScenarioError(
                        f"{scenario.name} wants {wanted.count} attackers and has {len(able)}",
                        "Lower the count, or add devices to the branch",
                    )
                chosen = self.rng.sample(able, wanted.count)
            for device in chosen:
                kind = wanted.attack if isinstance(wanted.attack, str) else self.rng.choice(wanted.attack)
                self._corrupt(device, kind, wanted.options)

    def _corrupt(self, device: Device, attack: str, options: dict[str, object]) -> None:
        try:
            self.world.corrupt(device, attack, **options)
        except ValueError as error:
            raise ScenarioError(str(error), "docs/attacks.md lists the attacks") from None

    def _device(self, name: str) -> Device:
        try:
            return self.world.devices[self._named[name]]
        except KeyError:
            raise ScenarioError(
                f"There is no device {name!r}", "Devices are called by branch and number, such as /en#0"
            ) from None

    # ------------------------------------------------------------------------------------ the stage of faults

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        at = self.world.charter.created + round(1000 * seconds)
        self.calm_since = max(self.calm_since, at)
        self.world.clock.at(at, action)

    def note(self, what: str) -> None:
        self.faults.append((self._since_start(), what))

    def crash(self, device: Device) -> None:
        for invariant in self.invariants:
            invariant.crashed(device)
        device.crash()
        self._crashes[device.name] = self._crashes.get(device.name, 0) + 1
        self.note(f"{self.name_of(device)} crashes")

    def restart(self, device: Device, *, disk_lost: bool = False) -> None:
        if device.on or device.name in self._dismissed:
            return
        if disk_lost:
            device.lose_disk()
        device.start()
        self.note(f"{self.name_of(device)} is back{' with an empty disk' if disk_lost else ''}")
        for invariant in self.invariants:
            invariant.restarted(device, disk_lost)

    def dismiss(self, device: Device) -> None:
        self._dismissed.add(device.name)

    def name_of(self, device: Device) -> str:
        return self._names[device.name]

    # ------------------------------------------------------------------------------------ the scene of invariants

    def expected(self) -> list[Device]:
        return [d for d in self.honest if d.peer is not None and d.name not in self._dismissed]

    def in_turn(self) -> list[Device]:
        return [device for device in self.expected() if self._has_turn(device)]

    def _has_turn(self, device: Device) -> bool:
        return (device.number - self._ticks) % self._turns == 0

    def does_over(self, release: Release) -> bool:
        return int.from_bytes(release.digest[:8], "big") % self._turns == 0

    def lives_here(self, node: str) -> bool:
        return node not in self.world.devices or self.world.devices[node].is_here

    def holds(self, path: str) -> bool:
        return all(device.is_here for device in self._below.get(path, ()))

    def goal_of(self, path: str) -> int:
        """All rounds where devices work; one where a branch lives on what its children send up, which may count
        several of their releases at once."""
        return self.scenario.rounds if self.scenario.tree.get(path, 0) else 1

    def concerns(self, device: Device) -> list[str]:
        """The branches whose news a device must have: those on its way up, and those below its seats. The first root
        looks on at all others too, to open them, and is in no hurry."""
        if device.peer is None:
            return []
        seats = {path for path, branch in device.peer.branches.items() if branch.on_committee}
        above = path_to(device.settings.branch)
        return [
            path
            for path in device.peer.branches
            if path in above or path in seats or parent_of(path) in seats
        ]

    def _since_start(self) -> int:
        return self.world.clock.now - self.world.charter.created

    def _witness(self, name: str, event: Event) -> None:
        device = self.world.devices.get(name)
        if device is None or device.attack is not None:
            return
        if isinstance(event, BranchOpened):
            self._opened.setdefault(event.branch, self._since_start())
        elif isinstance(event, ReleaseCertified):
            self._certified.setdefault((event.branch, event.height), self._since_start())
            if (event.branch, event.height) not in self.releases and self.lives_here(event.leader):
                self._write_down(device, event)
        for invariant in self._listening.get(type(event), ()):
            invariant.happened(device, event)

    def _write_down(self, device: Device, event: ReleaseCertified) -> None:
        self.releases[event.branch, event.height] = ReleaseFigures(
            event.branch,
            event.height,
            0,  # when it was certified and how long that took is known when all have said what they saw
            0,
            self._names.get(event.leader, event.leader),
            tuple(self._names.get(each, each) for each in event.used),
            tuple((self._names.get(each, each), reason) for each, reason in event.left_out),
        )
        self._score(device, event.branch, event.height)

    def _score(self, device: Device, path: str, height: int) -> None:
        """How the newest model of a branch serves the honest devices at and below it."""
        assert device.peer is not None
        heads = [device.peer.branches[each].chain.head for each in self.world.charter.model_path(path)]
        blobs = blobs_of(parts_of(head for head in heads if head is not None))
        try:
            model = read_model(Everywhere(self.world, device), blobs, self.world.charter.adapter_at(path))
        except (KeyError, Refused):
            return  # nobody honest can bring it
        judges = self._judges(path)
        self._write_score(path, height, [self.world.task.score(self._asked(each), model) for each in judges])

    def _judges(self, path: str) -> list[Device]:
        """Some of the honest devices at and below a branch."""
        if path not in self._judging:
            inside = path.rstrip("/") + "/"
            served = [d for d in self.honest if (d.settings.branch + "/").startswith(inside)]
            self._judging[path] = served[:: max(1, -(-len(served) // JUDGES))]
        return self._judging[path]

    def _asked(self, judge: Device) -> str:
        """On whose rows a model is judged."""
        return judge.name if self.scenario.judged_on == "own" else "/"

    def _score_own_models(self) -> None:
        """Where nobody releases: how every device's own model serves it, once all have come a step further."""
        devices = self.expected()
        step = min((device.steps() for device in devices), default=0)
        if step > self._steps_scored:
            self._steps_scored = step
            for path in sorted(self.scenario.tree):
                judges = [each for each in self._judges(path) if each.peer is not None]
                scores = [self.world.task.score(self._asked(each), each.own_model()) for each in judges]
                self._write_score(path, step, scores)

    def _write_score(self, path: str, height: int, scores: list[Score]) -> None:
        if not scores:
            return
        accuracies = [score.accuracy for score in scores if score.accuracy is not None]
        self.scores.append(
            ScoreFigures(
                path,
                height,
                self._since_start(),
                sum(score.loss for score in scores) / len(scores),
                max(score.loss for score in scores),
                sum(accuracies) / len(accuracies) if accuracies else None,
            )
        )

    # ------------------------------------------------------------------------------------ playing

    @threadpool_limits.wrap(limits=1, user_api="blas")  # type: ignore[untyped-decorator, unused-ignore]
    def play(self, progress: Progress) -> None:
        """Let time pass until every goal is reached and all mishaps are over, then until all agree.

        Virtual devices multiply small matrices, for which a second thread waits longer than it works.
        """
        with unhurried(sum(device.is_here for device in self.world.devices.values())):
            self._play(progress)

    def _play(self, progress: Progress) -> None:
        world = self.world
        pace = 1_000 if self._turns == 1 else TICK  # virtual ms between two looks at whether all is done
        end = world.charter.created + round(1000 * self.scenario.limit)
        world.start(device for device in world.devices.values() if device.name not in self.absent)
        ticks = world.clock.now + TICK
        while world.clock.now < end and not (self._reached() and world.clock.now >= self.calm_since):
            world.run(limit=pace)
            if self.gossip:
                self._score_own_models()
            if world.clock.now >= ticks:
                ticks = world.clock.now + TICK
                self._tick()
                heights = self._heights()
                self._note_founding(heights)
                progress(self._share_done(heights), self._standing(heights))
        end = world.clock.now + self.settle
        while world.clock.now < end and not self._agreed():
            world.run(limit=pace)
        self._tick()
        for invariant in self.invariants:
            invariant.finished()
        heights = self._heights()
        self._note_founding(heights)
        progress(1.0, self._standing(heights))

    def _tick(self) -> None:
        self._ticks += 1
        for device in self.world.live():
            if self._has_turn(device) and device.has_new_blobs:
                device.collect_garbage()
        for invariant in self.invariants:
            invariant.ticked()

    def _reached(self) -> bool:
        if self.gossip:
            expected = (device for device in self.honest if device.name not in self._dismissed)
            return all(device.steps() >= self.scenario.rounds for device in expected)
        here = all(
            device.on and device.height(path) >= self.goal_of(path)
            for path in self.scenario.tree
            for device in self._followers(path)
            if device.is_here
        )
        return all(self.world.together(here)) and not self._lifting()

    def _lifting(self) -> bool:
        """Whether a branch without devices may still lift what its children have released, where every round is for
        that: it lives on lifts alone, and is to have the last."""
        if self.world.charter.transfer.policy != "every-round":
            return False
        below = children_in(self.world.charter.branches)
        return any(
            self._uncounted(path, below.get(path, ())) >= Transfer(self.world.charter.transfer).need_moved
            for path, devices in self.scenario.tree.items()
            if not devices
        )

    def _uncounted(self, path: str, children: Iterable[str]) -> int:
        """How many of ``children`` have a release that their parent ``path`` has not counted."""
        counted: dict[str, int] = {}
        newest: dict[str, int] = {}
        for device in self.expected():
            branches = device.peer.branches if device.peer else {}
            head = branches[path].chain.head if path in branches else None
            for child in head.children if head else ():
                counted[child.branch] = max(child.height, counted.get(child.branch, 0))
            for path_below in children:
                if path_below in branches:
                    newest[path_below] = max(branches[path_below].chain.height, newest.get(path_below, 0))
        counted, newest = (self._of_all(each, max) for each in (counted, newest))
        return sum(height > counted.get(path_below, 0) for path_below, height in newest.items())

    def _of_all(self, numbers: Mapping[Key, int], choose: Callable[[int, int], int]) -> dict[Key, int]:
        """Of the numbers that the processes have for each key the greatest (``max``) or the least (``min``)."""
        chosen: dict[Key, int] = {}
        for theirs in self.world.together(numbers):
            for key, number in theirs.items():
                chosen[key] = choose(number, chosen.get(key, number))
        return chosen

    def _followers(self, path: str) -> list[Device]:
        """Who is asked how high a branch stands: its own honest devices, or where it has none one that works below it.
        The first root would know, too, and is in no hurry to."""
        own = [device for device in self._own[path] if device.name not in self._dismissed]
        others = (d for d in self._below[path] if d.on and d.name not in self._dismissed)
        return own or list(islice(others, 1))

    def _agreed(self) -> bool:
        """Whether all whom a branch concerns have the same head of it."""
        heads: dict[str, set[bytes]] = {}
        for device in self.expected():
            for path in self.concerns(device):
                head = device.peer.branches[path].chain.head if device.peer else None
                heads.setdefault(path, set()).add(head.digest if head is not None else b"")
        everywhere: dict[str, set[bytes]] = {}
        for theirs in self.world.together({path: sorted(digests) for path, digests in heads.items()}):
            for path, digests in theirs.items():
                everywhere.setdefault(path, set()).update(digests)
        return all(len(digests) == 1 for digests in everywhere.values())

    def _heights(self) -> dict[str, int]:
        """How many releases each branch has."""
        heights: dict[str, int] = {}
        for path, height in self.releases:
            heights[path] = max(height, heights.get(path, 0))
        return self._of_all(heights, max)

    def _note_founding(self, heights: dict[str, int]) -> None:
        """Keep what each device had sent when every branch had its first release."""
        if self.founded is None and all(heights.get(path) for path, own in self.scenario.tree.items() if own):
            self.founded = self._since_start()
            self._sent_founding = {
                device.name: (device.messages_sent, device.bytes_sent, device.blob_bytes_sent)
                for device in self.world.devices.values()
            }

    def _share_done(self, heights: dict[str, int]) -> float:
        if self.gossip:
            return min(1.0, self._steps_scored / self.scenario.rounds)
        shares = [min(1.0, heights.get(path, 0) / self.goal_of(path)) for path in self.scenario.tree]
        return sum(shares) / len(shares)

    def _standing(self, heights: dict[str, int]) -> str:
        done = f"{self._steps_scored} steps" if self.gossip else f"{sum(heights.values())} releases"
        return f"{done}, {self._since_start() / 1000:.0f} virtual seconds"

    # ------------------------------------------------------------------------------------ writing down

    def record(self, arm: Arm, seconds: float) -> RunRecord:
        """What happened, as plain data."""
        world, scenario = self.world, self.scenario
        shut_out: Counter[str] = Counter()
        for theirs in world.together(Counter(name for d in self.honest for name in _shut_out_by(d))):
            shut_out.update(theirs)
        here = (device for device in world.devices.values() if device.is_here)
        nodes = self._gather(NodeFigures, (self._figures(each, shut_out[each.name]) for each in here))
        order = {node: number for number, node in enumerate(world.devices)}
        violations = self._gather(ViolationFigures, self.violations)
        times = self._of_all(self._certified, min)
        scores = [
            replace(each, time=times.get((each.branch, each.height), each.time))
            for each in self._gather(ScoreFigures, self.scores)
        ]
        return RunRecord(
            scenario=scenario.name,
            about=scenario.about,
            arm=arm,
            seed=self.seed,
            settings=scenario.model_dump(mode="json"),
            signatures=world.signatures,
            trace=world.trace_hash,
            finished=self._reached(),
            goal=f"{scenario.rounds} steps of every honest device"
            if self.gossip
            else f"{scenario.rounds} releases of every branch, and all live honest devices agree",
            virtual_ms=self._since_start(),
            seconds=seconds,
            events=sum(world.together(world.steps)),
            nodes=tuple(sorted(nodes, key=lambda each: order[each.node])),
            releases=self._all_releases(times),
            scores=tuple(sorted(scores, key=lambda each: (each.time, each.branch))),
            violations=tuple(sorted(violations, key=lambda each: each.time)),
            faults=tuple(self.faults),
            alone=self._alone(),
            founded_ms=self.founded,
        )

    def _gather(self, kind: type[Figures], figures: Iterable[Figures]) -> list[Figures]:
        """The figures of all processes."""
        told = self.world.together([astuple(each) for each in figures])  # type: ignore[call-overload]
        return [kind(*each) for theirs in told for each in theirs]

    def _all_releases(self, times: Mapping[tuple[str, int], int]) -> tuple[ReleaseFigures, ...]:
        """By branch and height, each with the time since the one before it, or since its branch opened."""
        opened = self._of_all(self._opened, min)
        releases = self._gather(ReleaseFigures, self.releases.values())
        before = {(path, height + 1): time for (path, height), time in times.items()}
        return tuple(
            replace(
                each,
                time=times[key],
                latency=times[key] - before.get(key, opened.get(each.branch, times[key])),
            )
            for each in sorted(releases, key=lambda each: (each.branch, each.height))
            for key in [(each.branch, each.height)]
        )

    def _figures(self, device: Device, shut_out: int) -> NodeFigures:
        return NodeFigures(
            name=self._names[device.name],
            node=device.name,
            branch=device.settings.branch,
            attack=None if device.attack is None else device.attack_name,
            messages=device.messages_sent,
            bytes=device.bytes_sent,
            blob_bytes=device.blob_bytes_sent,
            held=device.most_held,
            quarantined_by=shut_out,
            crashes=self._crashes.get(device.name, 0),
            founding=self._sent_founding.get(device.name, (0, 0, 0)),
        )

    def _alone(self) -> dict[str, float]:
        """The mean loss of a few devices of each branch that train as often and hear of nobody."""
        losses: dict[str, float] = {}
        task = self.world.task
        for path, devices in self._own.items():
            some = devices[:: max(1, len(devices) // 5)][:5]
            reached = []
            for device in some:
                model = np.zeros(task.dimension, np.float32)
                for height in range(1, self.scenario.rounds + 1):
                    model = task.train(device.name, model, height)
                reached.append(task.score(self._asked(device), model).loss)
            if reached:
                losses[path] = sum(reached) / len(reached)
        return losses


def _shut_out_by(device: Device) -> Iterable[str]:
    return device.peer.quarantined if device.peer else ()
