"""The tree grows while the network runs: branches are founded, fall asleep, wake, and are suggested."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from banyan.protocol.effects import Command
from banyan.protocol.events import (
    BranchFellAsleep,
    BranchFounded,
    BranchSplitSuggested,
    BranchWoke,
    Event,
    ModelMixed,
)
from banyan.security.charter import Preset
from banyan.security.credential import self_credential
from banyan.security.errors import Refused
from banyan.simulations.device import Device
from banyan.simulations.tasks import Quadratic
from banyan.simulations.world import World, fast_preset


def policies(**growth: object) -> Preset:
    lively = fast_preset(rule="mean", f=0, min_updates=2)
    return replace(lively, growth=replace(lively.growth, **{"branches": "members", **growth}))  # type: ignore[arg-type]


class Grove(World):
    """Members of one branch, and what they tell."""

    def __init__(self, devices: int = 6, seed: int = 1, admission: str = "invite", **growth: object) -> None:
        super().__init__(
            seed,
            {"/": devices},
            policies(**growth),
            admission=admission,
            fast_signatures=True,  # type: ignore[arg-type]
        )
        self.all = list(self.devices.values())
        self.told: list[tuple[str, Event]] = []
        self.on_event = lambda device, event: self.told.append((device, event))
        self.start()
        assert self.run(until=lambda: self.agreed("/", 1))

    def found(self, device: Device, path: str, description: str = "") -> None:
        assert device.peer is not None
        device.peer.growth.plan(path, description)
        device.handle(Command("found", {"branch": path, "description": description}))

    def move(self, device: Device, path: str) -> None:
        """The owner works on another branch from now on."""
        device.crash()
        device.settings = replace(device.settings, branch=path)
        self.task.place(device.name, path)
        device.start()

    def trees(self) -> set[tuple[str, ...]]:
        return {device.peer.tree.paths for device in self.live() if device.peer is not None}

    def everybody_knows(self, *paths: str) -> bool:
        return self.trees() == {tuple(sorted({"/", *paths}))}

    def events(self, kind: type[Event]) -> list[Event]:
        return [event for _, event in self.told if isinstance(event, kind)]


def test_a_founded_branch_begins_as_its_parent_and_a_first_member_trains_at_once() -> None:
    grove = Grove()
    creator, mover = grove.all[2], grove.all[3]
    grove.found(creator, "/en", "English")
    assert grove.run(until=lambda: grove.everybody_knows("/en"), limit=30_000)
    assert len(grove.events(BranchFounded)) == len(grove.all)
    grove.move(mover, "/en")
    assert grove.run(until=lambda: mover.height("/en") == 0, limit=60_000)
    assert mover.peer is not None
    above = mover.peer.branches["/"].chain.head
    assert above is not None
    assert mover.peer.model[-1:] == (above.adapter,), (
        "the branch's own adapter is empty: its model is its parent's"
    )
    assert grove.run(until=lambda: mover.peer.learner.update is not None, limit=30_000), "it trains alone"


def test_the_committee_above_closes_the_first_rounds_and_the_seats_go_over_to_the_members() -> None:
    grove = Grove(devices=8)
    grove.found(grove.all[1], "/en")
    movers = grove.all[4:7]
    assert grove.run(until=lambda: grove.everybody_knows("/en"), limit=30_000)
    for device in movers:
        grove.move(device, "/en")
    assert grove.run(until=lambda: grove.agreed("/en", 5), limit=400_000)
    first = movers[0]
    assert first.peer is not None
    chain = first.peer.branches["/en"].chain
    names = {device.name for device in movers}
    opening, head = chain.at(0), chain.head
    assert opening is not None
    assert head is not None
    assert opening.members - names, "the first committee is that of the branch above"
    assert head.members == names, "who contributes has the seats"
    others = [device for device in grove.live() if device.name not in names]
    assert grove.run(until=lambda: all(device.height("/") >= 2 for device in others), limit=100_000)


def test_a_caretaker_that_has_lost_its_seat_above_closes_rounds_after_a_restart() -> None:
    grove = Grove(devices=9)
    grove.found(grove.all[1], "/en")
    assert grove.run(until=lambda: grove.everybody_knows("/en"), limit=30_000)
    mover = grove.all[8]
    grove.move(mover, "/en")
    assert grove.run(until=lambda: mover.height("/en") == 0, limit=60_000)

    def caretakers() -> list[Device]:
        peers = [(device, device.peer) for device in grove.all[1:8]]
        return [d for d, p in peers if p and "/en" in p.branches and not p.branches["/"].on_committee]

    assert grove.run(until=lambda: bool(caretakers()), limit=400_000)
    device = caretakers()[0]
    device.crash()
    device.start()
    assert device.peer is not None
    assert device.peer.branches["/en"].on_committee
    assert device.height("/en") == mover.height("/en")


def test_a_founding_reaches_who_was_away_and_who_starts_again() -> None:
    grove = Grove()
    away, creator = grove.all[4], grove.all[1]
    away.crash()
    grove.found(creator, "/en")
    assert grove.run(until=lambda: grove.everybody_knows("/en"), limit=30_000)
    away.start()
    assert grove.run(until=lambda: grove.everybody_knows("/en"), limit=60_000)
    for device in (away, creator):
        device.crash()
        device.start()
        assert device.peer is not None
        assert "/en" in device.peer.tree


def test_two_who_found_one_branch_in_two_halves_of_a_torn_network_have_founded_one() -> None:
    grove = Grove(devices=8)
    left, right = grove.all[:4], grove.all[4:]
    grove.network.partition({device.name for device in left}, {device.name for device in right})
    grove.found(left[1], "/en", "English, as the left half has it")
    grove.run(limit=5_000)
    grove.found(right[1], "/en", "English, as the right half has it")
    grove.found(right[2], "/fr")
    grove.run(limit=15_000)
    assert len(grove.trees()) == 2
    grove.network.heal()
    assert grove.run(until=lambda: grove.everybody_knows("/en", "/fr"), limit=200_000)

    def descriptions() -> set[str]:
        return {d.peer.tree.founded["/en"].description for d in grove.live() if d.peer is not None}

    assert grove.run(until=lambda: len(descriptions()) == 1, limit=60_000)
    assert descriptions() == {"English, as the left half has it"}, "the older one describes it, everywhere"
    assert not any(device.peer.quarantined for device in grove.live() if device.peer is not None)


def test_what_cannot_be_founded_is_refused_with_a_sentence() -> None:
    grove = Grove(depth=2, each=2)
    device = grove.all[1]

    def why(path: str, description: str = "") -> str:
        with pytest.raises(Refused) as caught:
            grove.found(device, path, description)
        assert caught.value.what
        return caught.value.reason

    assert why("/En") == "bad-path"
    assert why("/") == "branch-exists"
    assert why("/en/medical") == "no-parent"
    assert why("/en", "two\nlines") == "bad-description"
    grove.found(device, "/en")
    assert why("/en") == "branch-exists"
    grove.found(device, "/en/medical")
    assert why("/en/medical/skin") == "too-deep"
    assert why("/fr") == "founding-limit"
    grove.found(grove.all[2], "/fr")


def test_only_roots_found_where_the_charter_says_so() -> None:
    grove = Grove(branches="founders")
    with pytest.raises(Refused) as caught:
        grove.found(grove.all[1], "/en")
    assert caught.value.reason == "not-a-founder"
    root = next(device for device in grove.all if device.name in grove.charter.roots)
    grove.found(root, "/en")
    assert grove.run(until=lambda: grove.everybody_knows("/en"), limit=30_000)


def test_under_votes_a_branch_is_there_once_enough_of_the_committee_above_agree() -> None:
    grove = Grove(branches="votes", votes=3)
    seated = [d for d in grove.all if d.peer is not None and d.peer.branches["/"].on_committee]
    grove.found(seated[0], "/en")  # having a seat, it agrees at once
    grove.run(limit=20_000)
    assert grove.everybody_knows()
    for device in grove.live():
        assert device.peer is not None
        assert [
            (claim.path, len(device.peer.tree.agreed(claim.path))) for claim in device.peer.tree.claims()
        ] == [("/en", 1)]
    with pytest.raises(Refused, match="proposed already"):
        grove.found(seated[1], "/en")
    for device in seated[1:3]:
        device.handle(Command("agree", {"branch": "/en"}))
    assert grove.run(until=lambda: grove.everybody_knows("/en"), limit=30_000)
    again = seated[1]
    again.crash()
    again.start()
    assert again.peer is not None
    assert "/en" in again.peer.tree


def test_a_wish_that_has_become_void_meanwhile_is_an_event_and_no_failure() -> None:
    grove = Grove()
    device = grove.all[1]
    for _ in range(2):
        device.handle(Command("found", {"branch": "/en", "description": ""}))
    assert device.peer is not None
    assert device.peer.refusals["branch-exists"] == 1
    assert "/en" in device.peer.tree


def test_guests_found_nothing() -> None:
    grove = Grove(admission="open")
    guest = grove.all[-1]
    guest.crash()
    credential = self_credential(guest.signer, grove.charter, grove.clock.now)
    guest.settings = replace(guest.settings, credential=credential)
    guest.start()
    with pytest.raises(Refused) as caught:
        grove.found(guest, "/en")
    assert caught.value.reason == "guest"


def test_without_committees_the_members_of_a_new_branch_mix_with_those_beside_it() -> None:
    village = fast_preset(coordination="gossip")
    village = replace(village, growth=replace(village.growth, branches="members"))
    world = World(2, {"/": 6}, village, fast_signatures=True)
    world.start()
    devices = list(world.devices.values())
    assert world.run(until=lambda: all(d.peer and d.peer.mixer.steps >= 1 for d in devices))
    devices[1].handle(Command("found", {"branch": "/en", "description": ""}))
    assert world.run(
        until=lambda: all(d.peer and "/en" in d.peer.mixer.branches for d in devices), limit=60_000
    )
    mover = devices[5]
    mover.crash()
    mover.settings = replace(mover.settings, branch="/en")
    world.task.place(mover.name, "/en")
    mover.start()
    assert world.run(until=lambda: mover.peer is not None and mover.peer.mixer.steps >= 3, limit=200_000)
    mixed = [event for event in mover.events if isinstance(event, ModelMixed) and event.branch == "/en"]
    assert mixed[-1].used, "its only neighbours are cousins"


# ------------------------------------------------------------------------------------ sleep


def asleep(device: Device) -> frozenset[str]:
    assert device.peer is not None
    return frozenset(device.peer.dormancy.asleep)


def test_a_branch_that_all_have_left_sleeps_and_costs_nothing_and_a_newcomer_wakes_it() -> None:
    grove = Grove(devices=8, dormancy=60_000)
    grove.found(grove.all[1], "/en")
    movers, others = grove.all[5:], grove.all[:5]
    assert grove.run(until=lambda: grove.everybody_knows("/en"), limit=30_000)
    for device in movers:
        grove.move(device, "/en")
    assert grove.run(until=lambda: grove.agreed("/en", 3), limit=400_000)
    for device in movers:
        device.crash()

    def keepers() -> list[Device]:
        return [device for device in others if device.peer is not None and "/en" in device.peer.branches]

    assert grove.run(until=lambda: all(asleep(device) == {"/en"} for device in keepers()), limit=200_000)
    assert len(keepers()) >= 4
    assert grove.events(BranchFellAsleep)
    for device in keepers():
        assert device.peer is not None
        topics = {topic.topic for summary in device.peer.gossip._sync.summaries() for topic in summary.topics}
        assert not [topic for topic in topics if topic.startswith("/en")]
        head = device.peer.branches["/en"].chain.head
        assert head is not None
        page = next(page for page in device.peer.growth.listing() if page["branch"] == "/en")
        assert (page["state"], page["height"]) == ("dormant", head.height)

    newcomer = others[-1]
    grove.move(newcomer, "/en")
    assert grove.run(until=lambda: newcomer.height("/en") >= 3 and newcomer.has_model("/en"), limit=200_000)
    for device in movers:  # who closed its last round
        device.start()
    height = newcomer.height("/en")
    assert grove.run(until=lambda: newcomer.height("/en") > height, limit=200_000)
    assert grove.run(until=lambda: not any(map(asleep, grove.live())), limit=60_000)
    assert grove.events(BranchWoke)


def test_a_branch_sleeps_for_nobody_who_works_on_it_or_below_it() -> None:
    grove = Grove(devices=3, dormancy=5_000)
    grove.run(limit=15_000)
    assert not any(map(asleep, grove.live()))


# ------------------------------------------------------------------------------------ suggestions


class TwoOptima(Quadratic):
    """Half of the devices want one model, half its opposite, each with a little of its own."""

    def wish(self, device: str) -> np.ndarray:
        side = -1 if sum(map(ord, device)) % 2 else 1
        return np.asarray(side * self.centre("/") + 0.1 * self._gaussian(device), dtype=np.float32)


@pytest.mark.parametrize(("task", "splits"), [(TwoOptima(), True), (Quadratic(spread=0.5), False)])
def test_members_with_two_optima_are_told_that_two_branches_would_serve_them_better(
    task: Quadratic, splits: bool
) -> None:
    world = World(3, {"/": 12}, fast_preset(rule="mean", f=1, min_updates=5), task=task, fast_signatures=True)
    told: list[BranchSplitSuggested] = []
    world.on_event = lambda device, event: (
        told.append(event) if isinstance(event, BranchSplitSuggested) else None
    )
    world.start()
    assert world.run(until=lambda: world.agreed("/", 8), limit=400_000)
    assert bool(told) is splits
    for event in told:
        sides = [
            {np.sign(task.wish(name) @ task.centre("/")) for name in group}
            for group in (event.first, event.second)
        ]
        assert sorted(map(len, sides)) == [1, 1]
        assert sides[0] != sides[1]
        assert {*event.first, *event.second} == set(world.devices)
