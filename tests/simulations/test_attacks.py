"""Every attack does what it says: refused with its reason, outvoted, proved, or with an effect that is stated here."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from banyan.protocol.effects import Command
from banyan.protocol.events import Event, MessageRefused, ReleaseCertified
from banyan.security.admission import Reason
from banyan.simulations.attacks import ATTACKS, Attack, attack
from banyan.simulations.attacks.impersonation import Sybil
from banyan.simulations.device import Device
from banyan.simulations.tasks import Digits, Quadratic
from banyan.simulations.world import World, fast_preset


class Siege(World):
    """A world of five honest devices and one attacker, that remembers releases, refusals and who sent how much."""

    def __init__(self, how: str | type[Attack], rule: str = "nnm+trimmed-mean", **settings: object) -> None:
        bare = rule == "mean"
        policies = fast_preset(rule=rule, f=0 if bare else 1, min_updates=4, clip=1e6 if bare else 3.0)
        super().__init__(
            1, {"/": 6}, policies, **{"task": Quadratic(rate=0.9), "fast_signatures": True, **settings}
        )  # type: ignore[arg-type]
        *self.honest, self.bad = self.devices.values()
        self.attack = self.corrupt(self.bad, how)
        self.releases: dict[int, ReleaseCertified] = {}
        self.refused: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.on_event = self._watch

    def _watch(self, device: str, event: Event) -> None:
        if isinstance(event, ReleaseCertified):
            self.releases[event.height] = event
        if isinstance(event, MessageRefused) and device != self.bad.name:
            self.refused[event.reason] += 1

    def deliver(self, sender: str, receiver: str, data: bytes) -> None:
        self.sent[sender] += len(data)
        super().deliver(sender, receiver, data)

    def reach(self, height: int, devices: list[Device] | None = None) -> bool:
        watched = self.honest if devices is None else devices
        return self.run(
            until=lambda: all(device.height("/") >= height and device.has_model("/") for device in watched)
        )

    def reasons(self) -> set[str]:
        """Why the attacker's updates were left out, in the words of others than itself."""
        told = (event for event in self.releases.values() if event.leader != self.bad.name)
        return {why for event in told for who, why in event.left_out if who == self.bad.name}

    def distance(self) -> float:
        """Relative distance of the head to the honest devices' best common model."""
        best = self.task.optimum("/", devices=[device.name for device in self.honest])  # type: ignore[attr-defined]
        with np.errstate(over="ignore", invalid="ignore"):
            return float(
                np.linalg.norm(self.honest[0].model("/").astype(float) - best) / np.linalg.norm(best)
            )


def besieged(
    how: str | type[Attack], height: int = 2, rule: str = "nnm+trimmed-mean", **settings: object
) -> Siege:
    world = Siege(how, rule, **settings)
    world.start()
    assert world.reach(height)
    return world


HARM = {
    "sign-flip": 0.5,
    "noise": 0.5,
    "explosion": 1e3,
    "ipm": 1.0,
    "ipm*": 1.0,
    "alie*": 0.15,
    "label-flip": 0.2,
}
"""How far each attack of one in six drags the plain mean of two rounds, at least, relative to the optimum."""


@pytest.mark.parametrize("name", HARM)
def test_a_poisoned_update_ruins_the_mean_and_not_the_robust_rule(name: str) -> None:
    assert besieged(name, rule="mean").distance() > HARM[name]
    assert besieged(name).distance() < 0.15


@pytest.mark.parametrize("name", ["alie", "min-max", "min-sum", "mimic"])
def test_what_hides_among_the_honest_is_used_and_moves_little(name: str) -> None:
    world = besieged(name)
    assert all(world.bad.name in event.used for event in world.releases.values())
    assert world.distance() < 0.15


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("infinity", Reason.NON_FINITE),
        ("wrong-shape", Reason.WRONG_SPEC),
        ("stale-base", Reason.STALE_BASE),
        ("withhold", Reason.UNAVAILABLE),
    ],
)
def test_an_update_that_cannot_be_counted_is_left_out_with_its_reason(name: str, reason: Reason) -> None:
    world = besieged(name, height=3)
    assert world.reasons() == {reason.value}


def test_a_round_waits_for_a_withheld_update_far_shorter_than_its_deadline() -> None:
    world = besieged("withhold", height=1)
    begun = world.clock.now
    assert world.reach(3)
    assert world.clock.now - begun < world.charter.round.deadline
    assert [why for event in world.releases.values() for _, why in event.left_out] == ["unavailable"] * 3


def test_a_mimic_sends_an_honest_update_of_the_same_round() -> None:
    world = besieged("mimic", height=2)
    sent = {author: _sent(world, author) for author in world.devices}
    copied = sent.pop(world.bad.name)
    assert any(np.allclose(copied, honest, atol=1e-2) for honest in sent.values())


def _sent(world: Siege, author: str) -> np.ndarray:
    """The update of ``author`` in the first round."""
    peer = world.honest[0].peer
    assert peer is not None
    record = peer.records.at("update", "/", 1, author)
    assert record is not None
    return world.attack.change(world.honest[0].blobs.read(record.body.blob))  # type: ignore[attr-defined]


def test_colluders_on_a_real_network_see_what_the_committee_sees() -> None:
    class Blind(Siege):
        def show(self, *_: object) -> None:
            """The world tells them nothing."""

    world = Blind("ipm", "mean")
    world.start()
    assert world.reach(2)
    assert world.distance() > HARM["ipm"]


@pytest.mark.parametrize(("rule", "ruined"), [("mean", True), ("nna", False)])
def test_colluders_ruin_plain_gossip_and_not_a_mixing_rule(rule: str, ruined: bool) -> None:
    policies = fast_preset(coordination="gossip")
    policies = replace(policies, mixing=replace(policies.mixing, rule=rule))
    world = World(1, {"/": 6}, policies, task=Quadratic(rate=0.9), fast_signatures=True)
    *honest, liar = world.devices.values()
    world.corrupt(liar, "ipm")
    world.start()
    assert world.run(until=lambda: all(device.steps() >= 3 for device in honest))
    best = world.task.optimum("/", devices=[device.name for device in honest])  # type: ignore[attr-defined]
    apart = [float(np.linalg.norm(device.own_model() - best) / np.linalg.norm(best)) for device in honest]
    assert all(distance > 0.5 for distance in apart) if ruined else all(distance < 0.15 for distance in apart)


def test_a_backdoor_opens_in_the_mean_and_costs_no_accuracy() -> None:
    scores = {}
    for rule in ("mean", "nnm+trimmed-mean"):
        world = besieged("backdoor", height=3, rule=rule, task=Digits(alpha=10.0, steps=60, rate=0.5))
        scores[rule] = world.task.score("/", world.honest[0].model("/"))
    assert scores["mean"].backdoor > 0.1
    assert scores["mean"].accuracy > 0.9
    assert scores["nnm+trimmed-mean"].backdoor < 0.05


def test_who_serves_one_half_only_is_counted_all_the_same_since_that_half_passes_it_on() -> None:
    world = besieged("withhold-from-half", height=2)
    assert world.bad.name in world.releases[2].used


def test_a_forged_author_is_refused_by_signature_and_takes_nobodys_turn() -> None:
    world = besieged("forged-author")
    assert world.refused["bad-signature"] > 0
    assert set(world.releases[2].used) == set(world.devices)


def test_a_revoked_member_that_goes_on_is_refused_by_everybody() -> None:
    world = besieged("revoked", height=1)
    assert not world.refused["revoked"]
    world.honest[0].handle(Command("revoke", {"subject": world.bad.name, "why": "a test"}))
    height = world.honest[0].height("/") + 3
    assert world.reach(height)
    assert world.refused["revoked"] > 0, "it goes on"
    assert world.bad.name not in world.releases[height].used


def test_sybils_are_guests_of_an_open_network_and_refused_by_invitation() -> None:
    opened = besieged("sybil", height=1, admission="open")
    assert len(opened.coalition.members) == Sybil.crowd + 1
    assert len(set(opened.releases[1].used) - set(opened.devices)) == 1, "as many as f"
    closed = besieged("sybil", height=2)
    assert set(closed.releases[2].used) <= set(closed.devices)
    assert closed.refused["untrusted-root"] > 0
    assert closed.distance() < 0.15


def test_a_flood_is_refused_and_not_passed_on() -> None:
    calm, flooded = besieged("silent-leader", height=3), besieged("flood", height=3)
    assert flooded.refused["malformed"] > 50
    assert flooded.sent[flooded.bad.name] > 5 * calm.sent[calm.bad.name]
    noise = {world: sum(world.sent[device.name] for device in world.honest) for world in (calm, flooded)}
    assert noise[flooded] < 2 * noise[calm]


def test_an_eclipsed_member_stands_still_is_never_deceived_and_catches_up_once_it_sees_the_others() -> None:
    world = Siege("eclipse")
    victim, others = world.honest[-1], world.honest[:-1]
    assert world.coalition.victim == victim.name
    world.start()
    assert world.reach(3, others)
    assert victim.height("/") <= 0
    assert victim.name not in world.releases[3].used
    world.network.heal()
    world.connect(victim.name, others[0].name)
    assert world.reach(world.honest[0].height("/") + 2)


def test_an_unknown_attack_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="sign-flip"):
        attack("rumour")


def test_every_attack_says_where_it_comes_from_or_what_it_does() -> None:
    assert all(made.__doc__ for made in ATTACKS.values())
