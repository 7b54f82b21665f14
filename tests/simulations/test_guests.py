"""Open networks survive crowds of made-up members, and honest guests of theirs are heard."""

from __future__ import annotations

import numpy as np
import pytest

from banyan.protocol.events import Event, ReleaseCertified
from banyan.simulations.device import Device
from banyan.simulations.run import run_scenario
from banyan.simulations.scenario import ScenarioError, load
from banyan.simulations.world import World, fast_preset

F = 2


class House(World):
    """Twelve members, one of whom may bring a crowd, and perhaps guests; it remembers its releases."""

    def __init__(self, admission: str, *, crowd: int = 0, guests: int = 0) -> None:
        policies = fast_preset(rule="geometric-median", f=F, min_updates=5)
        super().__init__(
            1, {"/": 12 + guests}, policies, admission=admission, guests=guests, fast_signatures=not crowd
        )  # type: ignore[arg-type]
        devices = list(self.devices.values())
        self.members, self.guests = devices[:12], devices[12:]
        for device in self.guests:
            device.train_time = 500
        self.crowd: set[str] = set()
        if crowd:
            self.members.pop()
            self.corrupt(devices[11], "sybil", crowd=crowd)
        self.releases: dict[int, ReleaseCertified] = {}
        self.on_event = self._watch
        self.start()

    def _watch(self, device: str, event: Event) -> None:
        if isinstance(event, ReleaseCertified):
            self.releases[event.height] = event

    def reach(self, height: int) -> bool:
        return self.run(until=lambda: all(d.height("/") >= height and d.has_model("/") for d in self.members))

    @property
    def first(self) -> Device:
        return self.members[0]

    def distance(self) -> float:
        """Relative distance of the head to the honest members' best common model."""
        best = np.mean([self.task.wish(device.name) for device in self.members], axis=0)  # type: ignore[attr-defined]
        return float(np.linalg.norm(self.first.model("/") - best) / np.linalg.norm(best))

    def seats(self) -> set[str]:
        """Everybody who ever had one."""
        assert self.first.peer is not None
        return {
            name for release in self.first.peer.branches["/"].chain.releases() for name in release.members
        }


@pytest.mark.parametrize("crowd", [8, 40])
def test_a_crowd_gets_f_updates_a_round_at_most_and_no_seat(crowd: int) -> None:
    house = House("open", crowd=crowd)
    assert house.reach(5)
    made_up = house.coalition.members - house.devices.keys()
    assert len(made_up) == crowd
    counted = [made_up.intersection(event.used) for event in house.releases.values()]
    assert max(map(len, counted)) == F, "the crowd was there"
    assert house.seats() == house.devices.keys()
    assert house.distance() < 0.1
    reasons = {why for event in house.releases.values() for who, why in event.left_out if who in made_up}
    assert "guest-limit" in reasons


def test_a_network_by_invitation_refuses_the_crowd() -> None:
    house = House("invite", crowd=8)
    assert house.reach(5)
    assert all(set(event.used) <= house.devices.keys() for event in house.releases.values())
    assert house.first.peer is not None
    assert house.first.peer.refusals["untrusted-root"] > 0
    assert house.distance() < 0.1


def test_honest_guests_are_counted_follow_the_branch_and_never_sit() -> None:
    house = House("open", guests=F)
    assert house.reach(4)
    for guest in house.guests:
        assert sum(guest.name in event.used for event in house.releases.values()) >= 3
        assert guest.height("/") >= 3
        assert house.run(until=lambda guest=guest: guest.has_model("/"), limit=2_000)
    assert house.seats() == {device.name for device in house.members}


def test_with_more_honest_guests_than_count_each_has_its_turn() -> None:
    house = House("open", guests=4)
    assert house.reach(8)
    turns = [{guest.name for guest in house.guests} & set(house.releases[n].used) for n in range(1, 9)]
    assert max(map(len, turns)) == F
    assert set.union(*turns) == {guest.name for guest in house.guests}


@pytest.mark.parametrize("seed", [0, 1])
def test_the_scenario_of_a_crowd_in_an_open_network_breaks_no_invariant(seed: int) -> None:
    record = run_scenario(load("sybil-open").changed({"rounds": 3}), seed)
    assert record.finished
    assert not record.violations


def test_guests_take_an_open_network() -> None:
    with pytest.raises(ScenarioError, match='guests need admission = "open"'):
        load("flat-20").changed({"guests": 1})
