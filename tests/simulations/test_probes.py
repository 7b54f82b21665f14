"""Public probe sets beside the voters' own rows: either refuses a release, liars up to the bound bend neither."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from banyan.protocol.effects import Evaluated, InputEvent
from banyan.protocol.events import ProbeRefused, ReleaseTried
from banyan.protocol.messages import Trial
from banyan.protocol.release import UNCHANGED, Release
from banyan.protocol.validation import own_change, probed_change
from banyan.security.charter import TransferPolicy
from banyan.simulations.attacks import Attack
from banyan.simulations.device import Device
from banyan.simulations.tasks import Quadratic
from banyan.simulations.tasks.task import Score, Vector
from banyan.simulations.world import World, fast_preset


class Disagreeing(Quadratic):
    """The public rows want the opposite of what the devices want; ``backwards``: and the devices learn for these."""

    def __init__(self, *, backwards: bool = False) -> None:
        super().__init__(rate=0.5)
        self._backwards = backwards

    def train(self, device: str, start: Vector, height: int) -> Vector:
        to = -self.wish(device) if self._backwards else self.wish(device)
        return (start + np.float32(0.5) * (to - start)).astype(np.float32)

    def score(self, where: str, model: Vector) -> Score:
        return super().score(where, -model)


def probed(
    task: Quadratic | None = None,
    *,
    probes: tuple[str, ...] = ("/",),
    ballot: str | None = None,
    private: bool = False,
    height: int = 2,
) -> tuple[World, list[Release]]:
    policies = fast_preset(rule="mean", f=1, min_updates=5)
    validation = replace(policies.validation, voters=6, epsilon=0.05, stricter=())
    world = World(
        1,
        {"/": 6},
        replace(policies, validation=validation),
        task=task or Quadratic(),
        probes=probes,
        fast_signatures=True,
    )
    for device in world.devices.values():
        device.private = private
    if ballot is not None:
        world.corrupt([*world.devices.values()][-1], Attack, ballot=ballot)
    world.start()
    assert world.run(until=lambda: world.agreed("/", height))
    return world, releases_of(world)


def releases_of(world: World) -> list[Release]:
    """All but the opening."""
    device = [*world.devices.values()][1]
    assert device.peer is not None
    return [*device.peer.branches["/"].chain.releases()][1:]


def tried(world: World) -> list[ReleaseTried]:
    return [e for d in world.devices.values() for e in d.events if isinstance(e, ReleaseTried)]


def test_what_helps_the_voters_rows_and_the_probe_set_is_released_with_both_medians() -> None:
    world, releases = probed()
    for release in releases:
        assert release.rule == "mean"
        own, public = own_change(release.votes, world.charter), probed_change(release.votes, world.charter)
        assert own is not None and own < 0.05 and public is not None and public < 0.05
    page = world.live()[0].peer.branches["/"].page(releases[0])  # type: ignore[union-attr]
    assert page["trial"]["probed"] == probed_change(releases[0].votes, world.charter)  # type: ignore[index]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("ballot", [None, "for"])
def test_what_helps_one_and_hurts_the_other_is_refused_whatever_a_liar_says(
    backwards: bool, ballot: str | None
) -> None:
    world, releases = probed(Disagreeing(backwards=backwards), ballot=ballot, height=1)
    (first, *_) = releases
    assert first.rule == UNCHANGED
    own, public = (f(first.refused[0].votes, world.charter) for f in (own_change, probed_change))
    assert own is not None and public is not None
    assert (own > 0.05, public > 0.05) == (backwards, not backwards)


def test_without_a_probe_set_the_voters_own_rows_decide_alone() -> None:
    _, releases = probed(Disagreeing(), probes=())
    assert all(release.rule == "mean" for release in releases)
    assert all(vote.probed is None for release in releases for vote in release.votes)


def test_one_voter_who_is_against_everything_stops_nothing() -> None:
    _, releases = probed(ballot="against")
    assert all(release.rule == "mean" for release in releases)
    assert any((vote.probed or 0) > 5 for release in releases for vote in release.votes)


def test_nodes_that_say_nothing_of_their_own_rows_vote_on_the_public_ones() -> None:
    world, releases = probed(private=True)
    votes = [vote for release in releases for vote in release.votes]
    assert votes and all(vote.change is None and vote.probed is not None for vote in votes)
    assert all(event.rows == 0 and event.change is None for event in tried(world))
    refused, first = probed(Disagreeing(), private=True, height=1)
    assert first[0].rule == UNCHANGED and refused.agreed("/", 1)


def test_a_probe_set_that_cannot_be_read_is_counted_once_and_tried_without() -> None:
    class Unreadable(Attack):
        """Not an attack: its worker refuses the probe set."""

        def hear(self, event: InputEvent, now: int) -> list[InputEvent]:
            if isinstance(event, Evaluated) and event.probed:
                return [replace(event, probed=(), probe_refusal="probe-malformed")]
            return [event]

    policies = fast_preset(rule="mean", f=1, min_updates=5)
    policies = replace(policies, validation=replace(policies.validation, voters=6, epsilon=0.05))
    world = World(1, {"/": 6}, policies, task=Quadratic(), probes=("/",), fast_signatures=True)
    for device in world.devices.values():
        world.corrupt(device, Unreadable)
    world.start()
    assert world.run(until=lambda: world.agreed("/", 3))
    for device in world.devices.values():
        assert device.peer is not None and device.peer.refusals["probe-malformed"] == 1
        assert [e.reason for e in device.events if isinstance(e, ProbeRefused)] == ["probe-malformed"]
        chain = device.peer.branches["/"].chain
        assert all(vote.probed is None for release in chain.releases() for vote in release.votes)


def test_a_vote_that_says_nothing_or_not_on_how_many_rows_is_refused() -> None:
    world, _ = probed()
    receiver, voter = world.live()[:2]
    assert receiver.peer is not None and voter.peer is not None
    height = receiver.height("/") + 1
    for number, said in enumerate([(None, 0), (None, 5), (0.5, 0)]):
        trial = Trial("/", height, bytes([number]) * 32, *said)
        receiver.receive(voter.name, voter.peer.gossip.seal(trial).data)
    assert receiver.peer.refusals["says-nothing"] == 3


def lifted_into(task: Quadratic, probes: tuple[str, ...]) -> list[Release]:
    policies = fast_preset(
        transfer=TransferPolicy(policy="gain"), rule="geometric-median", f=1, min_updates=3
    )
    world = World(1, {"/": 0, "/a": 3, "/b": 3}, policies, task=task, probes=probes, fast_signatures=True)
    if isinstance(task, Rooted):
        task.opposite = bool(probes)
    world.start()
    world.run(until=lambda: world.agreed("/a", 4) and world.agreed("/b", 4), limit=60_000)
    seen: list[Device] = [device for device in world.live() if device.height("/") >= 0]
    assert seen and seen[0].peer is not None
    return [each for each in seen[0].peer.branches["/"].chain.releases() if each.lift]


class Rooted(Quadratic):
    """The root's public rows want the opposite of what its children learn."""

    opposite = True

    def score(self, where: str, model: Vector) -> Score:
        wanted = self.wish(next(iter(self._branches)))
        return Score(float(0.5 * np.sum((wanted + model if self.opposite else wanted - model) ** 2)))


def test_a_lift_that_the_parents_probe_set_speaks_against_does_not_happen() -> None:
    assert lifted_into(Rooted(), probes=()), "the children's own rows are for it"
    assert not lifted_into(Rooted(), probes=("/",))


def test_a_probe_set_that_nobody_can_bring_is_waited_for_once_and_tried_without() -> None:
    policies = fast_preset(rule="mean", f=1, min_updates=5)
    policies = replace(policies, validation=replace(policies.validation, voters=6, epsilon=0.05))
    world = World(1, {"/": 6}, policies, task=Quadratic(), probes=("/",), fast_signatures=True)
    for device in world.devices.values():
        device.blobs.data.clear()
    world.start()
    assert world.run(until=lambda: world.agreed("/", 2))
    votes = [vote for release in releases_of(world) for vote in release.votes]
    assert votes and all(vote.change is not None and vote.probed is None for vote in votes)
