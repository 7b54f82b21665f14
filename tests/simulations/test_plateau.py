"""Where branches stop gaining a season begins by itself: once, for everybody, whatever a few of them say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from banyan.protocol.effects import Command, InputEvent, Trained
from banyan.protocol.events import Event, ReleaseAudited
from banyan.protocol.paths import path_to
from banyan.protocol.plateau import is_restated, standing_of
from banyan.protocol.release import Release
from banyan.protocol.season import is_turn
from banyan.security.charter import TransferPolicy
from banyan.security.policy import SeasonPolicy
from banyan.simulations.attacks import Attack
from banyan.simulations.device import Device
from banyan.simulations.tasks import Quadratic
from banyan.simulations.tasks.task import Vector
from banyan.simulations.world import World, fast_preset

PATIENCE = 3
SEASONS = SeasonPolicy(patience=PATIENCE, tolerance=0.1, cool_down=0)


class Halves(Quadratic):
    """A quadratic of which a season's A reaches every second number only: what else there is to learn takes another."""

    def __init__(self, **options: float) -> None:
        super().__init__(branch_spread=0.2, **options)  # type: ignore[arg-type]
        self.world: World | None = None

    def train(self, device: str, start: Vector, height: int) -> Vector:
        assert self.world is not None
        peer = self.world.devices[device].peer
        head = peer.branches[peer.branch].chain.head if peer is not None else None
        within = np.arange(self.dimension) % 2 == (head.season if head is not None else 0) % 2
        return np.where(within, super().train(device, start, height), start).astype(np.float32)


def world_of(
    devices: dict[str, int],
    *,
    seed: int = 1,
    rate: float = 0.5,
    seasons: SeasonPolicy = SEASONS,
    bases: tuple[str, ...] = (),
    lift: str = "every-round",
) -> World:
    policies = fast_preset(
        transfer=TransferPolicy(policy=lift),  # type: ignore[arg-type]
        rule="geometric-median",
        f=1,
        min_updates=3,
    )
    task = Halves(rate=rate)
    world = World(
        seed, devices, replace(policies, season=seasons), task=task, bases=bases, fast_signatures=True
    )
    task.world = world
    return world


def on(world: World, path: str) -> list[Device]:
    return [device for device in world.devices.values() if device.settings.branch == path]


def releases(device: Device, path: str) -> list[Release]:
    assert device.peer is not None
    return list(device.peer.branches[path].chain.releases())


def turns(world: World, path: str) -> list[Release]:
    """The beginnings of seasons of a branch, of which all live devices on it and below it know the same."""
    known = {
        tuple(each for each in releases(device, path) if is_turn(each))
        for device in world.live()
        if path in path_to(device.settings.branch)
    }
    assert len(known) == 1, "not everybody has turned"
    return list(known.pop())


def turned_at(world: World, path: str) -> list[int]:
    """When (ms) the branch began seasons, as far as anybody knows."""
    return [each.time for device in world.live() for each in releases(device, path) if is_turn(each)]


def reaches(world: World, heights: dict[str, int]) -> bool:
    return world.run(
        until=lambda: all(world.agreed(path, height) for path, height in heights.items()), limit=400_000
    )


class Braggart(Attack):
    """Learns as everybody and lies about how its loss moves: ``slope`` is what it says that each release costs it;
    None: it says nothing."""

    slope: float | None = 0.0

    def twist(self, event: InputEvent) -> list[InputEvent]:
        if not isinstance(event, Trained):
            return [event]
        said = {} if self.slope is None else {"loss_before": self.slope * event.height}
        return [replace(event, metrics=said)]


# ------------------------------------------------------------------------------------ one branch


def test_members_who_still_gain_open_no_season() -> None:
    world = world_of({"/": 5}, rate=0.05)
    world.start()
    assert reaches(world, {"/": 12})
    assert turns(world, "/") == []
    newest = releases(world.live()[0], "/")[-1]
    assert newest.progress is not None and newest.progress.fell > SEASONS.tolerance
    assert standing_of(newest) == "gains"


def test_members_at_their_optimum_begin_one_season_in_time_and_learn_what_the_old_one_had_no_room_for() -> (
    None
):
    world = world_of({"/": 5})
    world.start()
    assert reaches(world, {"/": 4})
    device = world.live()[0]
    before = world.task.score("/", device.model("/")).loss
    assert reaches(world, {"/": 26})
    begun = turns(world, "/")
    assert [each.season for each in begun][:2] == [1, 2]
    chain = releases(device, "/")
    still = next(each.height for each in chain if each.progress is not None and not each.progress.gains)
    assert begun[0].height == still + 1, "it is the release after the one that said so"
    after = world.task.score("/", device.model("/")).loss
    assert before > 4 and after < 0.3, "the second season taught nothing"


def test_a_season_that_has_gained_nothing_asks_for_no_other() -> None:
    """At the optimum of both halves no A helps: the seasons of a network are numbered, and each makes its models
    longer."""
    world = world_of({"/": 5})
    world.start()
    assert reaches(world, {"/": 40})
    begun = turns(world, "/")
    assert [each.season for each in begun] == [1, 2], "0 and 1 learn a half each, 2 finds nothing and stays"
    newest = releases(world.live()[0], "/")[-1]
    assert standing_of(newest) == "rests" and newest.height > begun[-1].height + 3 * PATIENCE


def test_under_manual_nothing_is_said_and_no_season_begins() -> None:
    world = world_of({"/": 5}, seasons=SeasonPolicy(policy="manual"))
    world.start()
    assert reaches(world, {"/": 12})
    assert turns(world, "/") == []
    assert all(each.progress is None for each in releases(world.live()[0], "/"))


def test_a_season_lasts_for_the_cool_down_however_still_it_stands() -> None:
    world = world_of({"/": 5}, seasons=replace(SEASONS, cool_down=15_000))
    world.start()
    assert world.run(
        until=lambda: any(is_turn(each) for each in releases(world.live()[0], "/")) if world.live() else False
    )
    assert reaches(world, {"/": 20})
    chain = releases(world.live()[0], "/")
    (first, *_) = turns(world, "/")
    assert first.time - chain[0].time >= 15_000
    assert standing_of(chain[first.height - 2]) == "asks", "it stood still long before"


# ------------------------------------------------------------------------------------ liars


@pytest.mark.parametrize("slope", [-5.0, None])
def test_liars_up_to_the_bound_do_not_prevent_a_season(slope: float | None) -> None:
    world = world_of({"/": 4})
    world.corrupt(on(world, "/")[-1], Braggart, slope=slope)
    world.start()
    assert reaches(world, {"/": 14})
    assert turns(world, "/")[0].season == 1


@pytest.mark.parametrize("slope", [0.0, 5.0])
def test_liars_up_to_the_bound_do_not_force_a_season(slope: float) -> None:
    world = world_of({"/": 4}, rate=0.05)
    world.corrupt(on(world, "/")[-1], Braggart, slope=slope)
    world.start()
    assert reaches(world, {"/": 12})
    assert turns(world, "/") == []


# ------------------------------------------------------------------------------------ a tree


@pytest.mark.parametrize("lift", ["every-round", "gain"])
def test_a_tree_of_three_levels_turns_as_one_when_its_branches_have_stopped_gaining(lift: str) -> None:
    world = world_of({"/": 0, "/a": 0, "/a/x": 3, "/a/y": 3, "/b": 3}, lift=lift)
    world.start()
    leaves = ("/a/x", "/a/y", "/b")
    everywhere = ("/", "/a", *leaves)

    def turned() -> bool:
        heads = [
            d.peer.branches[path].chain.head
            for d in world.live()
            for path in everywhere
            if d.peer and path in d.peer.branches
        ]
        return bool(heads) and all(head is not None and head.season >= 1 for head in heads)

    # As soon as the top has turned: the leaves learn on while the branches between them and it wait for its news.
    assert world.run(until=lambda: any(turned_at(world, "/")), limit=400_000)
    before = {path: world.task.score(path, on(world, path)[0].own_model()).loss for path in leaves}
    assert world.run(until=turned, limit=400_000)
    for path in everywhere:
        assert [each.season for each in turns(world, path)] == [1]
    (top,) = turns(world, "/")
    assert all(turns(world, path)[0].time >= top.time for path in everywhere), "the topmost branch opens it"
    said = [each for each in releases(on(world, "/a/x")[0], "/a") if is_restated(each) and not each.season]
    assert said and said[-1].standing == "asks", "the branch between says how those below it stand"
    heights = {path: on(world, path)[0].height(path) + 6 for path in leaves}
    assert reaches(world, heights)
    for path in leaves:
        assert world.task.score(path, on(world, path)[0].own_model()).loss < before[path] / 2


def test_one_branch_that_gains_holds_back_a_tree_where_the_charter_asks_for_all() -> None:
    def gains_where(path: str, share: float) -> list[Release]:
        world = world_of({"/": 0, "/a": 4, "/b": 4}, seasons=replace(SEASONS, share=share))
        task = world.task
        assert isinstance(task, Halves)
        slow = {device.name for device in on(world, path)}
        train = task.train
        task.train = lambda device, start, height: (  # type: ignore[method-assign]
            start + np.float32(0.03) * (task.wish(device) - start)
            if device in slow
            else train(device, start, height)
        )
        world.start()
        assert reaches(world, {"/a": 14, "/b": 14})
        return turns(world, "/")

    assert gains_where("/b", share=1.0) == []
    assert [each.season for each in gains_where("/b", share=0.5)][:1] == [1]


def test_each_base_model_has_seasons_of_its_own() -> None:
    world = world_of({"/": 5, "/small": 5}, bases=("/small",))
    for device in on(world, "/small"):
        device.settings = replace(device.settings, trains=False)
    world.start()
    assert reaches(world, {"/": 14})
    assert turns(world, "/")[0].season == 1
    for device in on(world, "/small"):
        device.handle(Command("train"))
    assert reaches(world, {"/small": 4})
    assert turns(world, "/small") == []
    assert reaches(world, {"/small": 14})
    assert turns(world, "/small")[0].season == 1


# ------------------------------------------------------------------------------------ away meanwhile


def test_a_device_that_slept_through_it_and_one_that_is_new_come_to_the_season() -> None:
    world = world_of({"/": 0, "/a": 4, "/b": 4})
    late = on(world, "/b")[-1]
    world.start([device for device in world.devices.values() if device is not late])
    assert reaches(world, {"/a": 3, "/b": 3})
    asleep = on(world, "/a")[-1]
    asleep.crash()
    assert world.run(
        until=lambda: all(releases(d, d.settings.branch)[-1].season for d in world.live()), limit=400_000
    )
    asleep.start()
    world.start([late])

    def takes_part(device: Device) -> bool:
        if device.peer is None:
            return False
        begun = [each for each in releases(device, device.settings.branch) if each.season]
        return any(device.name in {used.source for used in each.used} for each in begun)

    assert world.run(until=lambda: takes_part(asleep) and takes_part(late), limit=400_000)
    assert turns(world, "/a") and turns(world, "/b")


@pytest.mark.parametrize("step", range(0, 40, 10))
def test_crashes_around_the_turn_neither_repeat_nor_lose_it(step: int) -> None:
    world = world_of({"/": 5}, seed=step)
    world.start()
    assert world.run(
        until=lambda: (
            bool(world.live())
            and any(each.progress and not each.progress.gains for each in releases(world.live()[0], "/"))
        ),
        limit=400_000,
    )
    victim = on(world, "/")[2]
    world.run(limit=step)
    victim.crash()
    world.run(limit=300)
    victim.start()
    height = max(device.height("/") for device in world.live())
    assert reaches(world, {"/": height + 3})
    assert [each.season for each in turns(world, "/")][:1] == [1]
    assert len({releases(device, "/")[height].digest for device in world.live()}) == 1


def test_what_it_rests_on_can_be_audited() -> None:
    world = world_of({"/": 5})
    told: list[Event] = []
    world.on_event = lambda name, event: told.append(event)
    world.start()
    device = on(world, "/")[0]
    assert world.run(
        until=lambda: device.peer is not None and any(map(is_turn, releases(device, "/"))), limit=400_000
    )
    turn = next(filter(is_turn, releases(device, "/")))
    for height in (turn.height - 1, turn.height):
        device.handle(Command("audit", {"branch": "/", "height": height}))
    problems: Callable[[], list[str]] = lambda: [e.problem for e in told if isinstance(e, ReleaseAudited)]  # noqa: E731
    assert world.run(until=lambda: len(problems()) == 2, limit=20_000)
    assert problems() == ["", ""]
