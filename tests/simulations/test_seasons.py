"""A season ends and another begins: nothing learned is lost, whoever was away, cut off or cheating meanwhile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from banyan.protocol.effects import Command, Effect, InputEvent, Train
from banyan.protocol.events import Event, ReleaseAudited, SeasonBegan, SeasonOpened, UpdateLeftOut
from banyan.protocol.release import Release
from banyan.protocol.season import Season, is_turn
from banyan.security.charter import TransferPolicy
from banyan.security.errors import Refused
from banyan.simulations.device import Device
from banyan.simulations.invariants import Everywhere
from banyan.simulations.layers import read_model
from banyan.simulations.tasks import Quadratic
from banyan.simulations.world import World, fast_preset


def world_of(devices: dict[str, int], *, seed: int = 1) -> World:
    policies = fast_preset(
        transfer=TransferPolicy(policy="every-round"), rule="geometric-median", f=1, min_updates=3
    )
    return World(seed, devices, policies, task=Quadratic(branch_spread=0.3))


def root(world: World) -> Device:
    return world.devices[world.charter.roots[0]]


def open_season(world: World) -> None:
    root(world).handle(Command("season"))


def on(world: World, path: str) -> list[Device]:
    return [device for device in world.devices.values() if device.settings.branch == path]


def head(device: Device, path: str) -> Release:
    assert device.peer is not None
    release = device.peer.branches[path].chain.head
    assert release is not None
    return release


def releases(device: Device, path: str) -> list[Release]:
    assert device.peer is not None
    return list(device.peer.branches[path].chain.releases())


def in_season(world: World, season: int, *paths: str, beyond: int = 0) -> bool:
    """Whether every live device of these branches has come ``beyond`` releases further than their turn."""
    for device in world.live():
        path = device.settings.branch
        if path not in paths:
            continue
        assert device.peer is not None
        newest = device.peer.branches[path].chain.head
        turn = next((each for each in releases(device, path) if each.season == season), None)
        if newest is None or turn is None or newest.height < turn.height + beyond:
            return False
    return True


def model_at(world: World, device: Device) -> np.ndarray:
    """The model that the device uses, of whatever blobs anybody has."""
    assert device.peer is not None
    return read_model(Everywhere(world, device), device.peer.model, world.spec)


@pytest.fixture(scope="module")
def turned() -> tuple[World, dict[str, np.ndarray]]:
    """A parent with two children, all in their second season; and the models just before and after each turn."""
    world = world_of({"/": 4, "/a": 4, "/b": 4})
    models: dict[str, np.ndarray] = {}

    def look(name: str, event: Event) -> None:
        if isinstance(event, SeasonBegan) and event.branch == "/" == world.devices[name].settings.branch:
            chain = releases(world.devices[name], "/")
            at = next(index for index, each in enumerate(chain) if each.season == 1)
            for what, release in (("before", chain[at - 1]), ("after", chain[at])):
                blobs = [blob for blob, _ in release.blobs]
                models[what] = read_model(Everywhere(world, world.devices[name]), blobs, world.spec)

    world.on_event = look
    world.start()
    assert world.run(until=lambda: all(world.agreed(path, 2) for path in ("/", "/a", "/b")))
    open_season(world)
    assert world.run(until=lambda: in_season(world, 1, "/", "/a", "/b", beyond=3))
    return world, models


def test_every_branch_turns_once_and_goes_on_in_the_new_season(
    turned: tuple[World, dict[str, np.ndarray]],
) -> None:
    world, _ = turned
    for path in ("/", "/a", "/b"):
        chain = releases(on(world, path)[0], path)
        turns = [each for each in chain if is_turn(each)]
        assert [each.season for each in turns] == [1]
        assert {each.season for each in chain if each.height < turns[0].height} == {0}
        assert {each.season for each in chain if each.height > turns[0].height} == {1}
        assert chain[-1].frozen == turns[0].frozen and len(turns[0].frozen) == 1
        assert chain[-1].adapter, "nothing is learned in the new season"


def test_a_turn_changes_no_model_by_a_single_bit(turned: tuple[World, dict[str, np.ndarray]]) -> None:
    _, models = turned
    np.testing.assert_array_equal(models["before"], models["after"])
    assert np.abs(models["before"]).max() > 0.1


def test_what_is_frozen_and_what_is_learned_after_add_up_to_a_better_model(
    turned: tuple[World, dict[str, np.ndarray]],
) -> None:
    world, _ = turned
    for path in ("/a", "/b"):
        device = on(world, path)[0]
        newest = head(device, path)
        everything = Everywhere(world, device)
        above = [blob for blob, _ in head(device, "/").handed_down]
        whole = read_model(everything, [*above, *(blob for blob, _ in newest.blobs)], world.spec)
        without = read_model(everything, [*above, *(blob for blob, _ in newest.current)], world.spec)
        assert world.task.score(path, whole).loss < world.task.score(path, without).loss
        np.testing.assert_allclose(whole, model_at(world, device), atol=1e-5)


def test_a_lift_counts_children_of_its_own_season_only(turned: tuple[World, dict[str, np.ndarray]]) -> None:
    world, _ = turned
    parent = releases(on(world, "/")[0], "/")
    children = {
        each.digest: each.season for path in ("/a", "/b") for each in releases(on(world, path)[0], path)
    }
    counted = [
        (release.season, children[each.key]) for release in parent for each in release.used if each.is_child
    ]
    assert {0, 1} == {season for season, _ in counted}, "there is no lift in one of the seasons"
    assert all(above == below for above, below in counted)


def test_a_turn_keeps_the_roster_and_the_children_and_can_be_audited(
    turned: tuple[World, dict[str, np.ndarray]],
) -> None:
    world, _ = turned
    device = on(world, "/")[0]
    chain = releases(device, "/")
    turn = next(each for each in chain if is_turn(each))
    base = chain[turn.height - 1]
    assert (turn.roster, turn.children, turn.used) == (base.roster, base.children, ())
    told: list[Event] = []
    world.on_event = lambda name, event: told.append(event)
    for height in (turn.height, turn.height + 1):
        device.handle(Command("audit", {"branch": "/", "height": height}))
    assert world.run(
        until=lambda: sum(isinstance(event, ReleaseAudited) for event in told) >= 2, limit=20_000
    )
    assert {event.problem for event in told if isinstance(event, ReleaseAudited)} == {""}


def test_a_branch_that_opens_later_begins_in_its_parents_season_with_all_that_was_lifted() -> None:
    world = world_of({"/": 0, "/a": 4, "/b": 4, "/c": 4})
    late = on(world, "/c")
    world.start([device for device in world.devices.values() if device not in late])
    assert world.run(until=lambda: any(device.height("/") >= 2 for device in world.live()))
    open_season(world)
    assert world.run(until=lambda: in_season(world, 1, "/a", "/b", beyond=2))
    assert world.run(
        until=lambda: any(
            head(d, "/").lifted and head(d, "/").season == 1 for d in world.live() if d.height("/") >= 0
        )
    )
    for device in late:
        device.settings = replace(device.settings, trains=False)
    world.start(late)
    assert world.run(until=lambda: all(d.height("/c") == 0 and d.has_model("/c") for d in late))
    first = head(late[0], "/c")
    assert first.season == 1 and first.frozen
    parent = next(each for each in releases(root(world), "/") if each.lifted == first.adapter)
    assert [each.adapter for each in first.frozen] == [each.lifted for each in parent.frozen]
    given = read_model(Everywhere(world, late[0]), [blob for blob, _ in first.blobs], world.spec)
    untaught = np.zeros(world.spec.dimension, np.float32)
    assert world.task.score("/c", given).loss < world.task.score("/c", untaught).loss / 2


# ------------------------------------------------------------------------------------ away meanwhile


def test_a_device_that_slept_through_two_seasons_catches_up_and_trains_in_the_newest() -> None:
    world = world_of({"/": 6})
    world.start()
    assert world.run(until=lambda: world.agreed("/", 2))
    asleep = next(device for device in on(world, "/") if device is not root(world))
    asleep.crash()
    for season in (1, 2):
        open_season(world)
        assert world.run(until=lambda season=season: in_season(world, season, "/", beyond=2))
    asleep.start()
    height = head(root(world), "/").height
    assert world.run(
        until=lambda: any(
            asleep.name in {each.source for each in release.used}
            for release in releases(root(world), "/")[height + 1 :]
        )
    )
    newest = head(asleep, "/")
    assert newest.season == 2 and [each.season for each in newest.frozen] == [0, 1]
    assert world.run(until=lambda: world.agreed("/", newest.height + 2))
    np.testing.assert_array_equal(asleep.own_model(), root(world).own_model())


def test_a_branch_cut_off_while_two_seasons_were_opened_comes_to_the_second_once_it_is_back() -> None:
    world = world_of({"/": 0, "/a": 4, "/b": 4})
    world.start()
    assert world.run(until=lambda: world.agreed("/a", 2) and world.agreed("/b", 2))
    world.network.partition({device.name for device in on(world, "/b")})
    for season in (1, 2):
        open_season(world)
        assert world.run(until=lambda season=season: in_season(world, season, "/a", beyond=1))
    assert {device.peer.season for device in on(world, "/b") if device.peer} == {0}
    world.network.heal()
    assert world.run(until=lambda: in_season(world, 2, "/a", "/b", beyond=2))
    chain = releases(on(world, "/b")[0], "/b")
    turns = [each.season for each in chain if is_turn(each)]
    assert turns in ([2], [1, 2]), "it turns to the newest that it has heard of, and never back"
    assert chain[-1].frozen[0].season == 0 and chain[-1].frozen == next(
        each.frozen for each in chain if each.season == 2
    )


def test_half_a_committee_that_has_not_heard_of_the_season_turns_when_it_has() -> None:
    world = world_of({"/": 6})
    world.start()
    assert world.run(until=lambda: world.agreed("/", 2))
    near = {device.name for device in on(world, "/")[:3]}
    world.network.partition({device.name for device in on(world, "/") if device is not root(world)} - near)
    open_season(world)
    assert not world.run(until=lambda: in_season(world, 1, "/"), limit=4_000)
    world.network.heal()
    assert world.run(until=lambda: in_season(world, 1, "/", beyond=2))
    heads = {
        release.digest for device in world.live() for release in releases(device, "/") if is_turn(release)
    }
    assert len(heads) == 1


# ------------------------------------------------------------------------------------ crashes


@pytest.mark.parametrize("step", range(0, 60, 6))
def test_a_crash_at_any_step_leaves_a_device_in_the_old_season_or_in_the_new(step: int) -> None:
    world = world_of({"/": 5})
    world.start()
    assert world.run(until=lambda: world.agreed("/", 2))
    victim = next(device for device in on(world, "/") if device is not root(world))
    taken = 0

    def count(name: str, event: InputEvent, effects: list[Effect]) -> None:
        nonlocal taken
        taken += name == victim.name

    world.on_step = count
    open_season(world)
    world.run(until=lambda: taken >= step)
    victim.crash()
    world.run(limit=500)
    victim.start()
    after = head(victim, "/")
    assert (after.season, len(after.frozen)) in {(0, 0), (1, 1)}
    assert world.run(until=lambda: in_season(world, 1, "/", beyond=2))
    height = head(victim, "/").height
    assert world.run(until=lambda: world.agreed("/", height))
    assert len({releases(device, "/")[height].digest for device in world.live()}) == 1


# ------------------------------------------------------------------------------------ cheats, and the late


def test_only_a_root_key_opens_a_season() -> None:
    world = world_of({"/": 4})
    world.start()
    assert world.run(until=lambda: world.agreed("/", 1))
    other = next(device for device in on(world, "/") if device is not root(world))
    with pytest.raises(Refused, match="root key"):
        other.handle(Command("season"))
    assert other.peer is not None and root(world).peer is not None
    forged = other.peer.gossip.seal(Season(1))
    root(world).receive(other.name, forged.data)
    assert root(world).peer.refusals["not-root"] == 1
    assert root(world).peer.season == 0


def test_liars_in_a_branch_neither_stop_a_turn_nor_turn_without_one() -> None:
    world = world_of({"/": 5})
    liar = on(world, "/")[-1]
    world.corrupt(liar, "sign-flip", strength=3.0)
    world.start()
    assert world.run(until=lambda: world.agreed("/", 2))
    assert all(each.season == 0 for each in releases(root(world), "/"))
    open_season(world)
    assert world.run(until=lambda: in_season(world, 1, "/", beyond=2))


def test_an_update_of_an_old_season_is_left_out_by_name_however_stale_updates_may_be() -> None:
    policies = fast_preset(rule="geometric-median", f=1, min_updates=3, staleness=16)
    world = World(1, {"/": 5}, policies, task=Quadratic())
    late = on(world, "/")[-1]
    world.corrupt(late, "stale-base")
    world.start()
    assert world.run(until=lambda: world.agreed("/", 3))
    before = releases(root(world), "/")
    assert any(late.name in {each.source for each in release.used} for release in before), "never welcome"
    open_season(world)
    assert world.run(until=lambda: in_season(world, 1, "/", beyond=3))
    after = [each for each in releases(root(world), "/") if each.season == 1 and not is_turn(each)]
    reasons = {item.reason for release in after for item in release.left_out if item.source == late.name}
    assert "wrong-season" in reasons
    assert not any(late.name in {each.source for each in release.used} for release in after)


def test_nobody_trains_in_an_old_season_once_its_branch_has_turned() -> None:
    world = world_of({"/": 5})
    trained: list[tuple[int, int]] = []

    def look(name: str, event: InputEvent, effects: list[Effect]) -> None:
        peer = world.devices[name].peer
        for effect in effects:
            if isinstance(effect, Train) and peer is not None:
                newest = peer.branches["/"].chain.head
                assert newest is not None
                trained.append((effect.season, newest.season))

    world.on_step = look
    told: list[Event] = []
    world.on_event = lambda name, event: told.append(event)
    world.start()
    assert world.run(until=lambda: world.agreed("/", 2))
    open_season(world)
    assert world.run(until=lambda: in_season(world, 1, "/", beyond=2))
    assert {0, 1} == {season for season, _ in trained}
    assert all(season == newest for season, newest in trained)
    assert sum(isinstance(event, SeasonOpened) for event in told) == len(world.devices)
    assert not [event for event in told if isinstance(event, UpdateLeftOut) and event.reason == "malformed"]
