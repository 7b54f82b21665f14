"""The DAG of releases as a node can show it, and what updates reported."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest

from banyan.protocol.events import UpdatePublished
from banyan.security.charter import TransferPolicy
from banyan.simulations.device import Device
from banyan.simulations.tasks import Quadratic
from banyan.simulations.world import World, fast_preset

ONLY_CHILD = TransferPolicy(policy="every-round", min_children=1)


@pytest.fixture(scope="module")
def world() -> World:
    world = World(4, {"/": 5, "/en": 5}, fast_preset(f=1, transfer=ONLY_CHILD))
    world.start()
    assert world.run(until=lambda: world.agreed("/", 6) and world.agreed("/en", 6))
    return world


@pytest.fixture(scope="module")
def device(world: World) -> Device:
    return next(device for device in world.devices.values() if device.settings.branch == "/en")


def pages(device: Device, path: str) -> list[dict]:
    assert device.peer is not None
    return device.peer.history(path)


def test_an_edge_shows_on_both_of_its_ends(device: Device) -> None:
    child, parent = ({page["release"]: page for page in pages(device, path)} for path in ("/en", "/"))
    counted = [(each, page) for page in parent.values() for each in page["counted"]]
    assert len(counted) >= 3
    for each, page in counted:
        assert each["branch"] == "/en"
        assert child[each["release"]]["height"] == each["height"]
        assert child[each["release"]]["counted_in"]["release"] == page["release"]
    joined = [page for page in child.values() if page["counted_in"]]
    assert len(joined) == len(counted)
    assert not any(page["counted"] for page in child.values())


def test_neighbours_are_what_an_edge_leads_to(device: Device) -> None:
    assert device.peer is not None
    lineage = device.peer.lineage
    above = {page["release"] for page in lineage.neighbours("/en")}
    assert above == {page["counted_in"]["release"] for page in pages(device, "/en") if page["counted_in"]}
    below = {page["release"] for page in lineage.neighbours("/")}
    assert below == {page["release"] for page in pages(device, "/en") if page["counted_in"]}
    assert {page["branch"] for page in lineage.elsewhere("/en")} == {"/"}


def test_who_closed_a_round_knows_for_ever_what_its_updates_reported(world: World, device: Device) -> None:
    reports = {
        event.height: []
        for each in world.devices.values()
        for event in each.events
        if isinstance(event, UpdatePublished) and event.branch == "/en"
    }
    for each in world.devices.values():
        for event in each.events:
            if isinstance(event, UpdatePublished) and event.branch == "/en":
                reports[event.height].append((each.name, event.loss_before, event.loss_after))
    told = [page for page in pages(device, "/en") if page["reported"]]
    assert told
    for page in told:
        used = [(before, after) for name, before, after in reports[page["height"]] if name in page["used"]]
        assert page["reported"] == {
            "loss_before": median(before for before, _ in used),
            "loss_after": median(after for _, after in used),
            "updates": len(used),
        }
    before = {page["release"]: page["reported"] for page in pages(device, "/en")}
    device.crash()
    device.start()
    after = {page["release"]: page["reported"] for page in pages(device, "/en")}
    assert before.items() <= after.items()


def test_losses_on_disk_that_cannot_be_read_are_let_go(world: World, device: Device) -> None:
    device.crash()
    device.state["reported|zz"] = b"\x01"
    device.state["reported|" + "00" * 32] = b"\xff" * 500
    device.start()
    assert any(page["reported"] for page in pages(device, "/en"))


class Boastful(Quadratic):
    """Its losses are numbers, but half the sum of two of them is none."""

    def loss(self, device: str, model: np.ndarray) -> float:
        return 1.7e308


def test_losses_too_large_for_a_median_end_no_round_and_are_not_kept() -> None:
    world = World(7, {"/": 4}, fast_preset(f=0, rule="mean", min_updates=4), task=Boastful())
    world.start()
    assert world.run(until=lambda: world.agreed("/", 3))
    used = [(len(page["used"]), page["reported"]) for device in world.live() for page in pages(device, "/")]
    assert any(count % 2 == 0 for count, _ in used if count)
    assert not any(reported for count, reported in used if count % 2 == 0)
