"""Learning without a committee, on a virtual network: attackers, crashes, cuts, trees, and the way back."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from banyan.protocol.effects import Command
from banyan.protocol.events import (
    Event,
    MixingBegan,
    MixingEnded,
    MixingWaiting,
    ModelMixed,
    NodeQuarantined,
    ReleaseAudited,
    ReleaseCertified,
    StateLeftOut,
    StatePublished,
)
from banyan.security.charter import Preset
from banyan.simulations.device import Device
from banyan.simulations.graphs import dumbbell
from banyan.simulations.network import Conditions
from banyan.simulations.tasks import Quadratic
from banyan.simulations.world import World, fast_preset


def by_gossip(rule: str = "nna", f: int = 1, **mixing: object) -> Preset:
    """The dials of a network without committees."""
    policies = fast_preset(coordination="gossip")
    least = max(2, 2 * f)
    policy = replace(policies.mixing, rule=rule, f=f, **({"min_neighbours": least} | mixing))  # type: ignore[arg-type]
    return replace(policies, mixing=policy)


def gossiping(
    devices: int = 7, seed: int = 1, policies: Preset | None = None, conditions: Conditions | None = None
) -> tuple[World, list[Device]]:
    world = World(seed, {"/": devices}, policies or by_gossip(), conditions)
    return world, list(world.devices.values())


def heard(devices: list[Device], kind: type[Event]) -> list[Event]:
    return [event for device in devices for event in device.events if isinstance(event, kind)]


def all_at(devices: list[Device], steps: int) -> Callable[[], bool]:
    return lambda: all(device.steps() >= steps for device in devices)


def farthest(world: World, devices: list[Device]) -> float:
    """How far the worst of ``devices`` is from their best common model, relative to its length."""
    best = np.mean([world.task.wish(device.name) for device in devices], axis=0)
    return max(float(np.linalg.norm(each.own_model() - best) / np.linalg.norm(best)) for each in devices)


def between(one: list[Device], other: list[Device]) -> float:
    """The distance between the means of two groups, one of which may have mixed a moment ago and the other trained."""
    first, second = (np.mean([device.own_model() for device in group], axis=0) for group in (one, other))
    return float(np.linalg.norm(first - second))


def spread(devices: list[Device]) -> float:
    """The largest distance between the models of two of ``devices``."""
    models = [device.own_model() for device in devices]
    return max(float(np.linalg.norm(one - other)) for one in models for other in models)


def test_ten_honest_nodes_meet_near_their_best_common_model() -> None:
    world, devices = gossiping(10)
    world.start()
    assert world.run(until=all_at(devices, 7))
    assert farthest(world, devices) < 0.05
    assert spread(devices) < 0.2 * np.linalg.norm(devices[0].own_model())
    assert not heard(devices, ReleaseCertified)
    assert not heard(devices, NodeQuarantined)


@pytest.mark.parametrize(
    ("rule", "attack"),
    [("nna", "sign-flip"), ("nna", "noise"), ("nna", "nan"), ("nnm+trimmed-mean", "sign-flip")],
)
def test_a_liar_among_the_neighbours_does_not_bend_the_robust_rules(rule: str, attack: str) -> None:
    world, devices = gossiping(6, policies=by_gossip(rule))
    *good, bad = devices
    world.corrupt(bad, attack)
    world.start()
    assert world.run(until=all_at(good, 6))
    assert farthest(world, good) < 0.08
    left_out = heard(good, StateLeftOut)
    if attack == "nan":
        assert {(event.author, event.reason) for event in left_out} == {(bad.name, "non-finite")}  # type: ignore[attr-defined]
        assert all(device.peer.refusals["non-finite"] for device in good if device.peer)
    elif rule == "nna":
        last = [heard([device], ModelMixed)[-1] for device in good]
        assert all(bad.name in event.left_out for event in last)  # type: ignore[attr-defined]


@pytest.mark.parametrize("attack", ["sign-flip", "noise"])
def test_plain_gossip_is_ruined_by_the_same_liar(attack: str) -> None:
    world, devices = gossiping(6, policies=by_gossip("mean", f=0))
    *good, bad = devices
    world.corrupt(bad, attack)
    world.start()
    assert world.run(until=all_at(good, 6))
    assert farthest(world, good) > 0.3


def test_who_tells_neighbours_different_things_about_one_step_is_proved_a_cheat() -> None:
    world, devices = gossiping(6)
    *good, bad = devices
    world.corrupt(bad, "equivocate")
    world.start()
    assert world.run(until=all_at(good, 6))
    assert all(bad.name in device.peer.quarantined for device in good if device.peer)
    assert {event.member for event in heard(good, NodeQuarantined)} == {bad.name}  # type: ignore[attr-defined]


def test_a_crash_costs_a_node_the_time_it_was_away_and_nothing_else() -> None:
    world, devices = gossiping(5)
    victim = devices[2]
    world.start()
    for at in (4_000, 6_300, 8_050, 9_990):
        world.clock.after(at, victim.crash)
        world.clock.after(at + 700, victim.start)
    assert world.run(until=all_at(devices, 12))
    published = heard([victim], StatePublished)
    said = {}
    for event in published:
        assert said.setdefault(event.step, event.blob) == event.blob  # type: ignore[attr-defined]
    assert not heard(devices, NodeQuarantined)
    assert farthest(world, devices) < 0.05
    before, steps = victim.own_model(), victim.steps()
    victim.crash()
    victim.start()
    assert (victim.steps(), victim.own_model().tobytes()) == (steps, before.tobytes())


def test_a_node_that_lost_its_disk_never_says_a_step_twice() -> None:
    world, devices = gossiping(5)
    victim = devices[2]
    world.start()
    assert world.run(until=all_at(devices, 4))
    victim.crash()
    victim.records.clear()
    victim.state.clear()
    victim.blobs.data.clear()
    victim.start()
    assert world.run(until=all_at(devices, 9))
    assert not heard(devices, NodeQuarantined)


def test_both_sides_of_a_cut_go_on_and_meet_again_once_it_heals() -> None:
    world, devices = gossiping(6, policies=by_gossip(f=0))
    names = list(world.devices)
    world.start()
    assert world.run(until=all_at(devices, 2))
    world.network.partition(set(names[:3]), set(names[3:]))
    before = [device.steps() for device in devices]
    world.run(limit=30_000)
    assert all(device.steps() > steps + 2 for device, steps in zip(devices, before, strict=True))
    apart = between(devices[:3], devices[3:])
    world.network.heal()
    reached = max(device.steps() for device in devices)
    assert world.run(until=all_at(devices, reached + 6))
    assert between(devices[:3], devices[3:]) < apart / 2
    assert farthest(world, devices) < 0.07, "one alone ends at 0.09"


def test_a_node_alone_learns_on_and_says_what_it_waits_for() -> None:
    world, devices = gossiping(4)
    world.start(devices[:1])
    assert world.run(until=all_at(devices[:1], 3))
    waiting = heard(devices[:1], MixingWaiting)
    assert [(event.step, event.have, event.need) for event in waiting] == [(1, 0, 2), (2, 0, 2), (3, 0, 2)]  # type: ignore[attr-defined]
    assert waiting[0].waits_for == "2 more neighbours; nobody else is here"  # type: ignore[attr-defined]
    assert not heard(devices[:1], ModelMixed)
    assert world.task.loss(devices[0].name, devices[0].own_model()) < 0.5
    world.start(devices[1:])
    assert world.run(until=all_at(devices, 6))
    assert heard(devices[:1], ModelMixed)


def test_a_newcomer_leaps_to_the_step_of_the_others() -> None:
    world, devices = gossiping(6)
    *early, late = devices
    world.start(early)
    assert world.run(until=all_at(early, 10))
    world.start([late])
    assert world.run(until=all_at(devices, 14), limit=60_000)
    told = [event.step for event in heard([late], StatePublished)]  # type: ignore[attr-defined]
    assert told[0] == 1
    assert told[1] > 8
    assert farthest(world, devices) < 1.1 * farthest(world, early), "it stands apart from the others"


def test_a_slow_node_is_waited_for_up_to_the_deadline_and_takes_part() -> None:
    world, devices = gossiping(5)
    slow = devices[-1]
    slow.train_time = 15_000
    world.start()
    assert world.run(until=lambda: len(heard([slow], StatePublished)) == 4)
    mixed = heard(devices[:1], ModelMixed)
    assert all(slow.name in (*event.used, *event.left_out) for event in mixed[-2:])  # type: ignore[attr-defined]
    assert max(device.steps() for device in devices) <= slow.steps() + 2
    assert not heard(devices, StateLeftOut)


def test_a_node_slower_than_the_deadline_is_left_behind_and_named() -> None:
    world, devices = gossiping(4)
    *quick, slow = devices
    slow.train_time = 45_000
    for device in quick:
        device.train_time = 4_000
    world.start()
    assert world.run(until=lambda: len(heard([slow], StatePublished)) == 2)
    quickest = min(device.steps() for device in quick)
    assert world.run(until=all_at(quick, quickest + 3))
    left_out = heard(quick, StateLeftOut)
    assert {(event.author, event.reason) for event in left_out} == {(slow.name, "stale-state")}  # type: ignore[attr-defined]


def test_a_node_without_data_follows_and_is_waited_for_by_nobody() -> None:
    world, devices = gossiping(5)
    *others, follower = devices
    follower.settings = replace(follower.settings, trains=False)
    world.start()
    assert world.run(until=all_at(devices, 8), limit=20_000)
    assert not heard([follower], StatePublished)
    assert farthest(world, [*others]) < 0.08
    assert np.linalg.norm(follower.own_model() - others[0].own_model()) < 0.05 * np.linalg.norm(
        follower.own_model()
    )


def test_a_node_stops_at_its_target_and_goes_on_when_told() -> None:
    world, devices = gossiping(4)
    for device in devices:
        device.settings = replace(device.settings, target_height=3)
    world.start()
    world.run(limit=60_000)
    assert [device.steps() for device in devices] == [3, 3, 3, 3]
    for device in devices:
        device.handle(Command("train", {"rounds": 2}))
    world.run(limit=60_000)
    assert [device.steps() for device in devices] == [5, 5, 5, 5]


def test_knowledge_crosses_from_branch_to_branch_through_cousins() -> None:
    world = World(1, {"/": 1, "/en": 4, "/sv": 4}, by_gossip())
    world.start()
    devices = list(world.devices.values())
    assert world.run(until=all_at(devices, 8))
    home = {device.name: device.settings.branch for device in devices}
    english = next(device for device in devices if device.settings.branch == "/en")
    mixed = heard([english], ModelMixed)[-1]
    near = {home[name] for name in (*mixed.used, *mixed.left_out)}  # type: ignore[attr-defined]
    assert {"/en", "/sv"} <= near
    assert farthest(world, devices) < 0.1


def dumbbell_world(rule: str, liar: str | None, seed: int = 1) -> tuple[World, list[Device]]:
    """Two cliques of four that want different things; the last of the left holds the bridge, or lies on it."""
    world = World(seed, {"/": 8}, by_gossip(rule, f=0 if rule == "mean" else 1), task=Quadratic(spread=0.3))
    devices = list(world.devices.values())
    names = list(world.devices)
    world.link(dumbbell(names[:4], names[4:]))
    if liar is not None:
        world.corrupt(devices[3], liar)
    world.start()
    good = [device for device in devices if device.attack is None]
    assert world.run(until=all_at(good, 6))
    return world, good


@pytest.mark.parametrize("rule", ["nna", "clipped-gossip"])
def test_a_dumbbell_mixes_along_its_edges_only(rule: str) -> None:
    world, devices = dumbbell_world(rule, None)
    names = [device.name for device in devices]
    left, right = set(names[:4]), set(names[4:])
    for device in devices:
        own_side = left if device.name in left else right
        bridge = {names[3], names[4]} if device.name in (names[3], names[4]) else set()
        for event in heard([device], ModelMixed):
            assert {*event.used, *event.left_out} <= own_side | bridge  # type: ignore[attr-defined]
    assert farthest(world, devices) < 0.3


def test_a_liar_on_the_bridge_ruins_plain_gossip_and_not_the_robust_rule() -> None:
    ruined = farthest(*dumbbell_world("mean", "sign-flip"))
    kept = farthest(*dumbbell_world("nna", "sign-flip"))
    assert kept < 0.2 < ruined


def test_members_whose_committee_is_gone_mix_until_it_is_back() -> None:
    policies = fast_preset()
    policies = replace(policies, mixing=replace(policies.mixing, fallback=40_000))
    world = World(1, {"/": 6}, policies)
    devices = list(world.devices.values())
    releases: dict[int, str] = {}

    def watch(_: str, event: Event) -> None:
        if isinstance(event, ReleaseCertified):
            assert releases.setdefault(event.height, event.release) == event.release

    world.on_event = watch
    world.start()
    assert world.run(until=lambda: world.agreed("/", 2))
    gone, here = devices[:3], devices[3:]
    for device in gone:
        device.crash()
    world.run(limit=30_000)
    assert not heard(here, MixingBegan), "an ordinary wait is no outage"
    stuck = here[0].height("/")
    assert world.run(until=all_at(here, 3))
    assert {device.height("/") for device in here} == {stuck}
    assert heard(here, ModelMixed)
    assert here[0].own_model().tobytes() != here[0].model("/").tobytes()
    here[0].crash()  # in the middle of it: it takes up its own model where it was
    here[0].start()
    assert world.run(until=all_at(here, 5))
    for device in gone:
        device.start()
    assert world.run(until=lambda: world.agreed("/", stuck + 3))
    assert len(heard(here, MixingEnded)) == 3
    assert all(device.peer and not device.peer.mixer.is_active for device in devices)
    assert all(device.own_model().tobytes() == devices[0].own_model().tobytes() for device in devices)
    assert not heard(devices, NodeQuarantined)
    assert farthest(world, devices) < 0.05
    devices[0].handle(Command("audit", {"branch": "/", "height": stuck + 1}))
    assert world.run(until=lambda: bool(heard(devices[:1], ReleaseAudited)), limit=20_000)
    assert heard(devices[:1], ReleaseAudited)[0].problem == ""  # type: ignore[attr-defined]


def test_where_the_charter_knows_no_fallback_a_branch_waits_for_its_committee() -> None:
    policies = fast_preset()
    policies = replace(policies, mixing=replace(policies.mixing, fallback=0))
    world = World(1, {"/": 5}, policies)
    devices = list(world.devices.values())
    world.start()
    assert world.run(until=lambda: world.agreed("/", 1))
    devices[0].crash()
    world.run(limit=200_000)
    assert not heard(devices, MixingBegan)


CHAOS = """
from banyan.simulations.network import Conditions
from banyan.simulations.world import World
from tests.simulations.test_gossip import all_at, by_gossip
world = World({seed}, {{"/": 3, "/en": 3}}, by_gossip(), Conditions(latency=(5, 300), loss=0.1, duplication=0.05))
devices = list(world.devices.values())
world.corrupt(devices[-1], "noise")
world.start()
world.clock.after(5_000, devices[1].crash)
world.clock.after(9_000, devices[1].start)
assert world.run(until=all_at(devices, 3))
print(world.trace_hash)
"""


def test_one_seed_gives_one_trace_in_any_process() -> None:
    def trace(seed: int, hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", CHAOS.format(seed=seed)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert trace(7, "1") == trace(7, "4")


def crash_and_cut(world: World, rng: random.Random, until: int) -> None:
    """Eight power cuts and one cut of the network, somewhere before ``until`` (ms)."""
    devices, names = list(world.devices.values()), list(world.devices)
    for _ in range(8):
        victim, at = rng.choice(devices), rng.randrange(2_000, until)
        world.clock.after(at, victim.crash)
        back = at + rng.randrange(200, 12_000)
        world.clock.after(back, lambda victim=victim: None if victim.peer else victim.start())  # type: ignore[misc]
    rng.shuffle(names)
    at = rng.randrange(2_000, until)
    world.clock.after(at, lambda: world.network.partition(set(names[:3]), set(names[3:])))
    world.clock.after(at + 15_000, world.network.heal)


ROUGH = Conditions(latency=(5, 300), loss=0.15, duplication=0.05)


@pytest.mark.parametrize("seed", [1, 16])
def test_crashes_loss_cuts_and_a_liar_stop_no_honest_node_and_frame_none(seed: int) -> None:
    rng = random.Random(seed)
    world = World(seed, {"/": 3, "/en": 3}, by_gossip(), ROUGH)
    *good, bad = world.devices.values()
    world.corrupt(bad, rng.choice(["noise", "nan", "equivocate", "replay"]))
    world.start()
    crash_and_cut(world, rng, 30_000)
    world.run(limit=45_000)
    reached = max(device.steps() for device in good)
    assert world.run(until=all_at(good, reached + 3))
    assert {event.member for event in heard(good, NodeQuarantined)} <= {bad.name}  # type: ignore[attr-defined]
    assert farthest(world, good) < 0.1


def test_falling_back_again_and_again_never_forks_a_branch() -> None:
    rng = random.Random(2)
    policies = fast_preset()
    policies = replace(policies, mixing=replace(policies.mixing, fallback=6_000))
    world = World(2, {"/": 6}, policies, ROUGH)
    releases: dict[int, str] = {}

    def watch(_: str, event: Event) -> None:
        if isinstance(event, ReleaseCertified):
            assert releases.setdefault(event.height, event.release) == event.release

    world.on_event = watch
    world.start()
    crash_and_cut(world, rng, 50_000)
    world.run(limit=70_000)
    devices = list(world.devices.values())
    top = max(releases, default=0)
    assert heard(devices, MixingBegan)
    assert heard(devices, ModelMixed)
    assert world.run(until=lambda: len(world.live()) == 6 and world.agreed("/", max(2, top + 1)))
    assert not heard(devices, NodeQuarantined)
