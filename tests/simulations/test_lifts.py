"""What the children of a branch share moves up into it: nothing is lost on the way, whatever happens."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from banyan.node.learning.blobs import read_sum
from banyan.protocol.composition import blobs_of, parts_of
from banyan.protocol.effects import Command, Effect, InputEvent, Send
from banyan.protocol.events import Event, ReleaseAudited
from banyan.protocol.messages import CertifiedRelease, Proposal, Vote
from banyan.protocol.release import Release
from banyan.security.charter import Preset, TransferPolicy
from banyan.simulations.device import Device
from banyan.simulations.invariants import Everywhere
from banyan.simulations.tasks import Quadratic
from banyan.simulations.world import World, fast_preset

EVERY_ROUND = TransferPolicy(policy="every-round")


def policies(transfer: TransferPolicy = EVERY_ROUND, **round_policy: object) -> Preset:
    return fast_preset(
        transfer=transfer, **{"rule": "geometric-median", "f": 1, "min_updates": 3} | round_policy
    )


def world_of(devices: dict[str, int], *, seed: int = 1, transfer: TransferPolicy = EVERY_ROUND) -> World:
    return World(seed, devices, policies(transfer), task=Quadratic(branch_spread=0.3))


def lifted(world: World, height: int) -> bool:
    """Whether somebody has so many releases of the root branch."""
    return any(device.height("/") >= height for device in world.live())


def head(device: Device, path: str) -> Release:
    assert device.peer is not None
    release = device.peer.branches[path].chain.head
    assert release is not None
    return release


def on(world: World, path: str) -> list[Device]:
    return [device for device in world.devices.values() if device.settings.branch == path]


def model_of(world: World, path: list[Release]) -> np.ndarray:
    """The model of a path of releases, of whatever blobs anybody has."""
    anybody = next(iter(world.devices.values()))
    return read_sum(Everywhere(world, anybody), blobs_of(parts_of(path)), world.spec)


def releases(device: Device, path: str) -> list[Release]:
    assert device.peer is not None
    return list(device.peer.branches[path].chain.releases())


@pytest.fixture(scope="module")
def family() -> World:
    """Three children that are alike but for a little, and a parent without members of its own."""
    world = world_of({"/": 0, "/a": 4, "/b": 4, "/c": 4})
    world.start()
    assert world.run(until=lambda: lifted(world, 4))
    return world


def test_a_parent_without_members_learns_what_its_children_share_and_keeps_no_copy_for_them(
    family: World,
) -> None:
    device = max(family.live(), key=lambda each: each.height("/"))
    newest = head(device, "/")
    assert newest.lift and newest.lifted and not newest.change and not newest.adapter
    untaught = np.zeros(family.spec.dimension, np.float32)
    for path in ("/a", "/b", "/c"):
        before, after = (
            family.task.score(path, model).loss for model in (untaught, model_of(family, [newest]))
        )
        assert after < before / 4, f"the parent knows little of {path}"


def test_a_lift_leaves_the_models_of_the_children_as_they_are_to_the_last_bit(family: World) -> None:
    device = max(family.live(), key=lambda each: each.height("/"))
    lifts = [release for release in releases(device, "/") if release.lift]
    assert len(lifts) >= 3
    (own,) = [model_of(family, [head(device, device.settings.branch)])]
    for release in lifts:
        whole = model_of(family, [release, head(device, device.settings.branch)])
        np.testing.assert_array_equal(whole, own)
    assert np.abs(model_of(family, [lifts[0]]) - model_of(family, [lifts[-1]])).max() > 0.01


def test_what_a_lift_moves_up_is_taken_off_what_the_children_add(family: World) -> None:
    """``B += C`` above, ``B -= C`` below, for every child: those that were counted and those that were not."""
    device = max(family.live(), key=lambda each: each.height("/"))
    chain = releases(device, "/")
    base, release = next((one, two) for one, two in pairwise(chain) if two.lift and one.lift)
    child = [head(on(family, "/a")[0], "/a")]
    raised = model_of(family, [release]) - model_of(family, [base])
    before, after = (model_of(family, [up, *child]) - model_of(family, [up]) for up in (base, release))
    np.testing.assert_allclose(before - after, raised, atol=1e-6)
    assert np.abs(raised).max() > 1e-4


def test_any_member_can_audit_a_lift(family: World) -> None:
    told: list[Event] = []
    auditor = on(family, "/a")[0]
    height = auditor.height("/")
    family.on_event = lambda name, event: told.append(event) if name == auditor.name else None
    auditor.handle(Command("audit", {"branch": "/", "height": height}))
    assert family.run(until=lambda: any(isinstance(event, ReleaseAudited) for event in told), limit=20_000)
    (audited,) = [event for event in told if isinstance(event, ReleaseAudited)]
    assert (audited.branch, audited.height, audited.problem) == ("/", height, "")


def test_a_child_that_slept_through_many_lifts_agrees_after_it_has_caught_up() -> None:
    world = world_of({"/": 0, "/a": 5, "/b": 5, "/c": 3})
    world.start()
    assert world.run(until=lambda: lifted(world, 1))
    asleep = on(world, "/c")
    for device in asleep:
        device.crash()
    slept = head(on(world, "/a")[0], "/").height
    assert world.run(until=lambda: world.agreed("/", slept + 3))
    for device in asleep:
        device.start()
    before = [device.own_model() for device in asleep]
    assert world.run(until=lambda: world.agreed("/", slept + 4))
    height = max(device.height("/c") for device in asleep)
    assert world.run(until=lambda: min(device.height("/c") for device in asleep) >= height + 1)
    assert world.run(until=lambda: "/c" in {each.source for r in releases(asleep[0], "/") for each in r.used})
    for device in asleep:
        np.testing.assert_array_equal(device.own_model(), model_of(world, [head(device, "/c")]))
        assert (
            world.task.score(device.name, device.own_model()).loss
            <= world.task.score(device.name, before[0]).loss
        )


def test_a_branch_that_joins_late_begins_with_all_that_was_lifted_and_keeps_it_through_later_lifts() -> None:
    world = world_of({"/": 0, "/a": 4, "/b": 4, "/c": 4})
    late = on(world, "/c")
    world.start([device for device in world.devices.values() if device not in late])
    assert world.run(until=lambda: lifted(world, 2))
    for device in late:
        device.settings = replace(device.settings, trains=False)
    world.start(late)
    assert world.run(
        until=lambda: all(device.height("/c") == 0 and device.has_model("/c") for device in late)
    )
    first = head(late[0], "/c")
    given = model_of(world, [first])
    parents = [release for release in releases(late[0], "/") if release.lifted == first.adapter]
    assert parents, "it does not begin with the model of the branch above"
    untaught = np.zeros(world.spec.dimension, np.float32)
    assert world.task.score("/c", given).loss < world.task.score("/c", untaught).loss / 2
    height = head(late[0], "/").height
    assert world.run(until=lambda: late[0].height("/") >= height + 2)
    np.testing.assert_array_equal(late[0].own_model(), given)


def test_grandchildren_are_untouched_by_lifts_at_two_levels() -> None:
    leaves = {f"/{domain}/{leaf}": 3 for domain in "ab" for leaf in "xy"}
    world = world_of({"/": 0, "/a": 0, "/b": 0, **leaves})
    world.start()
    assert world.run(until=lambda: lifted(world, 2))
    device = max(world.live(), key=lambda each: each.height("/"))
    own = device.settings.branch
    middle = own.rpartition("/")[0]
    alone = model_of(world, [head(device, own)])
    for top in releases(device, "/"):
        for between in releases(device, middle):
            np.testing.assert_array_equal(model_of(world, [top, between, head(device, own)]), alone)
    for path in ("/", middle):
        model = model_of(world, [head(device, path)])
        assert world.task.score(own, model).loss < world.task.score(own, 0 * model).loss / 2


def test_members_of_a_parent_teach_all_below_it_while_its_children_are_lifted() -> None:
    world = world_of({"/": 4, "/a": 4, "/b": 4})
    world.start()
    seen: list[Release] = []

    def both() -> bool:
        seen[:] = [r for d in world.live() for r in releases(d, "/") if r.lift and r.change]
        return bool(seen)

    assert world.run(until=both)
    release = seen[0]
    assert {each.is_child for each in release.used} == {True, False}
    device = on(world, "/a")[0]
    base = next(r for d in world.live() for r in releases(d, "/") if r.digest == release.parent)
    below = [model_of(world, [up, head(device, "/a")]) for up in (base, release)]
    above = [model_of(world, [up]) for up in (base, release)]
    change, lift = (
        model_of(world, [replace(release, adapter=b"", lifted=x)]) for x in (release.change, release.lift)
    )
    np.testing.assert_allclose(below[1] - below[0], change, atol=1e-6)
    np.testing.assert_allclose(above[1] - above[0], change + lift, atol=1e-6)


# ------------------------------------------------------------------------------------ crashes


class Stage:
    """Two children that have learned, and the parent's first lift, watched message by message.

    ``strike``: crash the sender of so many-th message of the lift, before it is sent or just after, for five seconds.
    """

    def __init__(self, strike: int | None = None, *, after: bool = False) -> None:
        self.world = world = World(
            3, {"/": 0, "/a": 2, "/b": 2}, policies(rule="mean", f=0, min_updates=2), fast_signatures=True
        )
        for device in world.devices.values():
            device.settings = replace(device.settings, target_height=2)
        self.sent = 0
        self.models: dict[str, set[bytes]] = {path: set() for path in ("/", "/a", "/b")}
        self._strike, self._after = strike, after
        world.on_step = self._step
        world.start()

    def _step(self, name: str, event: InputEvent, effects: list[Effect]) -> None:
        device, reader = self.world.devices[name], self.world.reader
        self._note(device)
        for effect in list(effects):
            if not isinstance(effect, Send):
                continue
            body = reader.record(reader.open(effect.data)).body if self._is_record(effect.data) else None
            branch = (
                body.release.branch if isinstance(body, CertifiedRelease) else getattr(body, "branch", "")
            )
            if branch != "/" or not isinstance(body, CertifiedRelease | Proposal | Vote):
                continue
            self.sent += 1
            if self.sent == self._strike:
                if not self._after:
                    del effects[effects.index(effect) :]
                self.world.clock.after(0, device.crash)
                self.world.clock.after(5_000, device.start)

    def _is_record(self, data: bytes) -> bool:
        return self.world.reader.open(data).kind in ("proposal", "vote", "release")

    def _note(self, device: Device) -> None:
        """What models this device could compute now."""
        if device.peer is None or any(device.height(path) < 2 for path in (device.settings.branch,)):
            return
        own = device.settings.branch
        self.models[own].add(device.own_model().tobytes())
        top = device.peer.branches["/"].chain.head
        if top is not None:
            self.models["/"].add(model_of(self.world, [top]).tobytes())

    def play(self) -> None:
        def done() -> bool:
            return all(d.peer is not None and d.height("/") >= 1 for d in self.world.devices.values())

        assert self.world.run(until=done, limit=300_000), f"strike {self._strike} stops the lift"


@pytest.fixture(scope="module")
def undisturbed() -> Stage:
    stage = Stage()
    stage.play()
    return stage


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_message_leaves_a_lift_whole(undisturbed: Stage, after: bool) -> None:
    """Parent and children are both before it or both after it, at every step of every device."""
    assert undisturbed.sent > 8
    for number in range(1, undisturbed.sent + 1):
        stage = Stage(number, after=after)
        stage.play()
        assert stage.sent >= number
        for path in ("/a", "/b"):
            assert len(stage.models[path]) == 1, f"strike {number}: a lift has changed the model of {path}"
        assert len(stage.models["/"]) == 2, f"strike {number}: a model is neither before nor after the lift"
        heads = {head(device, "/").digest for device in stage.world.devices.values()}
        assert len(heads) == 1 and head(next(iter(stage.world.devices.values())), "/").lift
