"""A branch with a base model of its own: what is summed, counted and mixed ends where it begins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from banyan.aggregation.encoding import encode
from banyan.node.learning.inspect_job import inspect
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.protocol.delta import write_delta
from banyan.protocol.effects import Inspect, Train
from banyan.protocol.neighbourhood import kin_of
from banyan.security.charter import TransferPolicy
from banyan.simulations.tasks import Quadratic
from banyan.simulations.world import World, fast_preset

POCKET = "/en/pocket"
LIFTS = TransferPolicy(policy="every-round", min_children=1)


@pytest.fixture(scope="module")
def world() -> World:
    """Four devices on ``/en``, four below it on another base model, and four on the same one."""
    preset = fast_preset(transfer=LIFTS, rule="mean", f=0, min_updates=3)
    devices = {"/": 0, "/en": 4, POCKET: 4, "/en/law": 4}
    world = World(5, devices, preset, task=Quadratic(branch_spread=0.5), bases=(POCKET,))
    world.trains = []
    world.on_step = lambda name, event, effects: world.trains.extend(
        e for e in effects if isinstance(e, Train)
    )
    world.start()
    for _ in range(60):
        world.run(limit=2_000)
        if all(
            max(d.height(path) for d in world.live() if d.peer and path in d.peer.branches) >= 3
            for path in ("/en", POCKET, "/en/law")
        ):
            return world
    raise AssertionError("the branches have not moved")


def chain(world: World, path: str):
    device = max((d for d in world.live() if path in d.peer.branches), key=lambda d: d.height(path))
    return device.peer.branches[path].chain


def test_a_model_is_the_sum_of_adapters_from_where_its_base_begins(world: World) -> None:
    assert world.charter.model_path(POCKET) == (POCKET,)
    assert world.charter.model_path(POCKET + "/x") == (POCKET, POCKET + "/x")
    assert world.charter.model_path("/en/law") == ("/", "/en", "/en/law")
    ours = [job for job in world.trains if job.branch == POCKET]
    assert ours
    assert all(len(job.adapters) <= 1 for job in ours)
    assert any(len(job.adapters) == 2 for job in world.trains if job.branch == "/en/law")


def test_the_parent_counts_a_child_on_its_own_base_and_no_other(world: World) -> None:
    counted = {each.source for release in chain(world, "/en").releases() for each in release.used}
    assert "/en/law" in counted
    assert POCKET not in counted
    assert all(
        child.branch != POCKET for release in chain(world, "/en").releases() for child in release.children
    )


def test_who_opens_late_begins_with_what_was_lifted_above_only_on_the_same_base() -> None:
    devices = {"/": 0, "/a": 4, "/b": 4, "/late": 4, "/pocket": 4}
    preset = fast_preset(transfer=LIFTS, rule="mean", f=0, min_updates=3)
    world = World(1, devices, preset, task=Quadratic(branch_spread=0.3), bases=("/pocket",))
    late = [each for each in world.devices.values() if each.settings.branch in ("/late", "/pocket")]
    world.start([each for each in world.devices.values() if each not in late])
    assert world.run(until=lambda: any(each.height("/") >= 2 for each in world.live()))
    world.start(late)
    assert world.run(until=lambda: all(each.height(each.settings.branch) >= 1 for each in late))
    assert chain(world, "/late").at(0).adapter
    assert not chain(world, "/pocket").at(0).adapter
    assert {child.branch for child in chain(world, "/").head.children} <= {"/a", "/b", "/late"}
    pocket = next(each for each in late if each.settings.branch == "/pocket")
    assert not pocket.peer.adapters_above("/pocket")
    assert pocket.own_model().any()


def test_its_own_rounds_go_on_and_follow_the_branches_above(world: World) -> None:
    assert chain(world, POCKET).height >= 3
    follower = next(
        d for d in world.live() if d.settings.branch == POCKET and d.name not in world.charter.roots
    )
    assert {"/", "/en", POCKET} <= follower.peer.branches.keys()
    assert [release.branch for release in follower.peer.lineage.heads(POCKET)] == [POCKET]
    assert [release.branch for release in follower.peer.lineage.heads("/en")][-1] == "/en"


def test_an_update_made_for_the_base_above_is_refused(world: World) -> None:
    above = world.charter.adapter_at("/en")
    blobs = MemoryBlobs()
    blob = blobs.put(
        write_delta(encode(np.ones(above.dimension, np.float32), "int8"), spec=above, base=bytes(32))
    )
    assert inspect(Inspect(blob, "/en"), blobs=blobs, spec=above).refusal is None
    found = inspect(Inspect(blob, POCKET), blobs=blobs, spec=world.charter.adapter_at(POCKET))
    assert found.refusal == "wrong-spec"


def test_models_on_different_bases_are_never_neighbours(world: World) -> None:
    charter = world.charter
    assert kin_of(POCKET, charter.branches_like(POCKET, charter.branches)) == ()
    assert POCKET not in kin_of("/en/law", charter.branches_like("/en/law", charter.branches))
    assert not charter.is_alike("/en", POCKET)
    assert charter.is_alike("/en", "/en/law")


def test_what_is_carried_over_stays_with_its_branch(world: World) -> None:
    """A node that works on another branch for a while must not add one branch's left-overs to the other's."""
    device = next(
        d for d in world.live() if d.settings.branch == POCKET and d.name not in world.charter.roots
    )
    carried = device.peer.learner._carry or device.peer.learner.announced
    assert carried
    device.settings = replace(device.settings, branch="/en")
    try:
        device.start()
        assert not device.peer.learner._carry
        assert device.peer.learner._above is None
        assert set(carried) <= device.peer.learner.keep()
    finally:
        device.settings = replace(device.settings, branch=POCKET)
        device.start()
    assert set(carried) <= device.peer.learner.keep()
