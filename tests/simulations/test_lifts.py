"""What the children of a branch share moves up into it: nothing is lost on the way, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from banyan.node.learning.blobs import read_sum
from banyan.protocol.agreement import quorum_of
from banyan.protocol.composition import blobs_of, parts_of
from banyan.protocol.effects import Command, Effect, Evaluate, InputEvent, Send
from banyan.protocol.events import Compensated, Event, ReleaseAudited
from banyan.protocol.judgement import Open, judge
from banyan.protocol.messages import CertifiedRelease, Proposal, Vote
from banyan.protocol.release import Release, committee_of
from banyan.protocol.round import Child, Round
from banyan.protocol.transfer import Transfer
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
    world = world_of(
        {"/": 0, "/a": 5, "/b": 5, "/c": 3}, seed=4
    )  # never more than two of the seven seats sleep
    world.start()
    assert world.run(until=lambda: lifted(world, 1))
    asleep = on(world, "/c")
    for device in asleep:
        device.crash()
    slept = head(on(world, "/a")[0], "/").height
    assert world.run(until=lambda: world.agreed("/", slept + 2))
    for device in asleep:
        device.start()
    before = [device.own_model() for device in asleep]
    assert world.run(until=lambda: world.agreed("/", slept + 3))
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
        until=lambda: all(
            device.height("/c") == 0 and device.has_model("/c") and device.height("/") >= 0 for device in late
        )
    )
    first = head(late[0], "/c")
    given = model_of(world, [first])
    everywhere = (release for device in world.live() for release in releases(device, "/"))
    parents = [release for release in everywhere if release.lifted == first.adapter]
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


# ------------------------------------------------------------------------------------ liars


def captured(count: int, *, transfer: TransferPolicy = EVERY_ROUND, lifts: int = 3) -> World:
    """Three children after some lifts, the last of which has so many members that flip their updates."""
    world = world_of({"/": 0, "/a": 4, "/b": 4, "/c": 4}, transfer=transfer)
    for device in on(world, "/c")[4 - count :]:
        world.corrupt(device, "sign-flip", strength=3.0)
    world.start()
    assert world.run(until=lambda: lifted(world, lifts))
    return world


def parents_loss(world: World) -> float:
    """How the newest model of the root branch serves the honest children."""
    device = max(world.live(), key=lambda each: each.height("/"))
    return max(world.task.score(path, model_of(world, [head(device, "/")])).loss for path in ("/a", "/b"))


def test_as_many_attackers_in_a_child_as_its_rule_survives_do_not_move_the_parent(family: World) -> None:
    assert parents_loss(captured(1, lifts=4)) < 1.25 * parents_loss(family), "both after four lifts"


def test_a_captured_child_moves_the_parent_no_further_than_its_rule_allows_and_its_siblings_not_at_all() -> (
    None
):
    world = captured(4, transfer=replace(EVERY_ROUND, min_children=3))  # of two, one is too many
    device = on(world, "/a")[0]
    untaught = np.zeros(world.spec.dimension, np.float32)
    lies, truth = (model_of(world, [head(on(world, path)[-1], path)]) for path in ("/c", "/a"))
    assert world.task.score("/a", lies).loss > world.task.score("/a", untaught).loss, (
        "the child is not captured"
    )
    assert parents_loss(world) < world.task.score("/a", untaught).loss / 2
    for release in releases(device, "/"):
        np.testing.assert_array_equal(model_of(world, [release, head(on(world, "/a")[-1], "/a")]), truth)


def judged(world: World, alter: Callable[[Release], Release]) -> str:
    """The reason why an altered first lift of ``world`` would not be co-signed; empty if it would be."""
    device = max(world.live(), key=lambda each: each.height("/"))
    base, true = releases(device, "/")[:2]
    charter = world.charter
    children = {}
    for used in true.used:
        chain = next(d for d in on(world, used.source)).peer.branches[used.source].chain  # type: ignore[union-attr]
        release = next(each for each in chain.releases() if each.digest == used.key)
        children[used.key] = Child(release, committee_of(release, charter.committee))
    round_ = Round(base, 3, Transfer(replace(charter.transfer, min_children=2)), 20_000)
    round_.children = {child.release.branch: child for child in children.values()}
    verdict = judge(alter(true), round_, charter, {}, children.get, world.clock.now)
    assert not isinstance(verdict, Open)
    return verdict.reason if verdict is not None else ""


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (lambda lift: lift, ""),
        (lambda lift: replace(lift, used=lift.used[:2]), "censored"),
        (lambda lift: replace(lift, used=lift.used[:1]), "no-lift"),
        (
            lambda lift: replace(lift, used=(replace(lift.used[0], blob=bytes(32)), *lift.used[1:])),
            "wrong-child",
        ),
        (lambda lift: replace(lift, lift=b"", lift_size=0), "wrong-steps"),
        (lambda lift: replace(lift, change=bytes(32)), "wrong-steps"),
        (lambda lift: replace(lift, lifted_at=0), "wrong-steps"),
        (lambda lift: replace(lift, children=()), "wrong-children"),
    ],
    ids=["as-it-is", "a-child-less", "one-child", "misquoted", "no-lift", "a-change", "never", "uncounted"],
)
def test_nobody_co_signs_a_lift_that_no_honest_leader_could_propose(
    steady: World, alter: Callable[[Release], Release], reason: str
) -> None:
    assert judged(steady, alter) == reason


@pytest.fixture(scope="module")
def steady() -> World:
    """Three children whose first lift counts them all."""
    world = world_of({"/": 0, "/a": 3, "/b": 3, "/c": 3}, transfer=replace(EVERY_ROUND, min_children=3))
    world.start()
    assert world.run(until=lambda: lifted(world, 1))
    return world


# ------------------------------------------------------------------------------------ when


def test_under_gain_a_lift_is_tried_on_the_committees_own_data_and_makes_the_parent_better() -> None:
    world = world_of({"/": 0, "/a": 4, "/b": 4}, transfer=TransferPolicy(policy="gain"))
    tried: list[str] = []
    world.on_step = lambda name, event, effects: tried.extend(
        name for effect in effects if isinstance(effect, Evaluate) and effect.branch == "/"
    )
    world.start()
    assert world.run(until=lambda: lifted(world, 2))
    device = max(world.live(), key=lambda each: each.height("/"))
    committee = committee_of(releases(device, "/")[0], world.charter.committee)
    assert len(set(tried) & set(committee)) >= quorum_of(len(committee)), "it was signed untried"
    losses = [
        np.mean([world.task.score(path, model_of(world, [release])).loss for path in ("/a", "/b")])
        for release in releases(device, "/")
    ]
    assert all(after < before for before, after in pairwise(losses))


def test_under_gain_two_children_of_which_one_is_captured_lift_nothing_that_harms_the_other() -> None:
    world = world_of({"/": 0, "/a": 5, "/b": 4}, transfer=TransferPolicy(policy="gain"))
    for device in on(world, "/b"):
        world.corrupt(device, "sign-flip", strength=5.0)
    world.start()
    assert world.run(until=lambda: min(device.height("/a") for device in on(world, "/a")) >= 6)
    untaught = np.zeros(world.spec.dimension, np.float32)
    for release in releases(on(world, "/a")[0], "/"):
        assert (
            world.task.score("/a", model_of(world, [release])).loss
            <= world.task.score("/a", untaught).loss + 0.1
        )


def test_children_that_no_longer_agree_are_lifted_no_more() -> None:
    world = world_of({"/": 0, "/a": 4, "/b": 4}, transfer=TransferPolicy(policy="agreement", agreement=0.3))
    world.start()
    assert world.run(until=lambda: min(d.height(p) for p in ("/a", "/b") for d in on(world, p)) >= 10)
    device = on(world, "/a")[0]
    assert 1 <= device.height("/") <= 4, "what is left in the children is what they differ in"
    untaught = np.zeros(world.spec.dimension, np.float32)
    assert parents_loss_of(world, "/b") < world.task.score("/b", untaught).loss / 2


def parents_loss_of(world: World, path: str) -> float:
    device = max(world.live(), key=lambda each: each.height("/"))
    return world.task.score(path, model_of(world, [head(device, "/")])).loss


# ------------------------------------------------------------------------------------ downstream


def taught_from_above(epsilon: float) -> tuple[World, list[tuple[str, Compensated]]]:
    """A child that has learned all it needs, and a parent whose members then teach it the same."""
    world = world_of({"/": 4, "/a": 4}, transfer=replace(EVERY_ROUND, epsilon=epsilon))
    above, told = on(world, "/"), []
    for device in above:
        device.train_time = 8_000
    world.on_event = lambda name, event: (
        told.append((name, event)) if isinstance(event, Compensated) else None
    )
    world.start()
    assert world.run(until=lambda: world.agreed("/", 2))
    height = on(world, "/a")[0].height("/a")
    assert world.run(until=lambda: min(device.height("/a") for device in on(world, "/a")) >= height + 2)
    return world, told


def test_what_comes_down_and_harms_is_taken_off_in_the_childs_own_adapter_and_told_of() -> None:
    world, told = taught_from_above(epsilon=0.02)
    assert {name for name, _ in told} == {device.name for device in on(world, "/a")}
    assert all(event.branch == "/a" and event.rise > 0.02 for _, event in told)
    bearing, _ = taught_from_above(epsilon=100.0)
    assert loss_of(world, "/", "/a") < 0.8 * loss_of(bearing, "/", "/a") < 0.5
    assert loss_of(world, "/a") > 5  # what the adapter takes off is of no use without what comes down


def loss_of(world: World, *paths: str) -> float:
    """At /a, of the sum of these branches' heads."""
    device = on(world, "/a")[0]
    return world.task.score("/a", model_of(world, [head(device, path) for path in paths])).loss


def test_what_comes_down_and_harms_less_than_epsilon_stays() -> None:
    _, told = taught_from_above(epsilon=100.0)
    assert not told


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
            device.train_time = 200  # both children have learned all they are to before the parent opens
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
