"""Releases are tried before they are signed: whatever liars, silent voters and leaders do, on a virtual network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from banyan.protocol.effects import Command, MessageReceived
from banyan.protocol.events import (
    AttemptRefused,
    Event,
    LeaderChanged,
    NodeQuarantined,
    ProposalRefused,
    ReleaseAudited,
    ReleaseTried,
    UpdateAdmitted,
)
from banyan.protocol.messages import Draft, Trial, body_of, pack
from banyan.protocol.release import UNCHANGED, Release, committee_of
from banyan.protocol.validation import is_tried, sample_of
from banyan.security.envelope import seal
from banyan.security.schema import SchemaError
from banyan.simulations.device import Device
from banyan.simulations.network import Conditions
from banyan.simulations.tasks import Quadratic
from banyan.simulations.world import World, fast_preset


class Polled(World):
    """A world of seven devices on one branch whose releases are voted on; it remembers what everybody told."""

    def __init__(
        self,
        attack: str | None = None,
        liars: int = 1,
        *,
        seed: int = 1,
        rule: str = "mean",
        ballot: str | None = None,
        validation: dict[str, object] | None = None,
        **settings: object,
    ) -> None:
        policies = fast_preset(rule=rule, f=1, min_updates=5, clip=1e6)
        chosen = {"voters": 7, "epsilon": 0.05, **(validation or {})}
        policies = replace(policies, validation=replace(policies.validation, **chosen))  # type: ignore[arg-type]
        settings = {"task": Quadratic(rate=0.9), "fast_signatures": True, "devices": {"/": 7}, **settings}
        super().__init__(seed, policies=policies, **settings)  # type: ignore[arg-type]
        self.told: list[tuple[str, Event]] = []
        self.on_event = lambda device, event: self.told.append((device, event))
        for device in list(self.devices.values())[7 - liars :] if attack else []:
            self.corrupt(device, attack or "", **({"ballot": ballot} if ballot else {}))
        self.honest = [device for device in self.devices.values() if device.attack is None]

    def reach(self, height: int) -> bool:
        return self.run(until=lambda: all(d.height("/") >= height and d.has_model("/") for d in self.honest))

    def releases(self) -> list[Release]:
        peer = self.honest[0].peer
        assert peer is not None
        return [*peer.branches["/"].chain.releases()][1:]

    def events(self, kind: type[Event]) -> list[Event]:
        return [event for _, event in self.told if isinstance(event, kind)]

    def audited(self, device: Device, height: int) -> str:
        """What is wrong with a release for ``device``, which does it over; empty if nothing is."""
        device.later(0, lambda: Command("audit", {"branch": "/", "height": height}))
        audits: Callable[[], list[ReleaseAudited]] = lambda: [  # noqa: E731
            event for event in device.events if isinstance(event, ReleaseAudited) and event.height == height
        ]
        assert self.run(until=lambda: bool(audits()), limit=60_000)
        return audits()[0].problem


def polled(height: int = 3, *arguments: object, **settings: object) -> Polled:
    world = Polled(*arguments, **settings)  # type: ignore[arg-type]
    world.start()
    assert world.reach(height)
    return world


def test_a_release_quotes_the_votes_of_all_voters_but_f_and_their_median_passes_it() -> None:
    world = polled(rule="nnm+multi-krum")
    for release in world.releases():
        assert len(release.votes) >= 6
        assert not release.refused and release.rule == "nnm+multi-krum"
    assert not world.events(LeaderChanged)
    assert max(event.change for event in world.events(ReleaseTried)[:7]) < 0  # type: ignore[attr-defined]


def test_what_one_liar_makes_of_the_mean_is_refused_and_the_stricter_rule_does_better() -> None:
    world = polled(3, "ipm", ballot="for")
    refused = [release for release in world.releases() if release.refused]
    assert refused and all(release.rule == "arc+nnm+trimmed-mean" for release in refused)
    best = world.task.optimum("/", devices=[device.name for device in world.honest])  # type: ignore[attr-defined]
    model = world.honest[0].model("/")
    assert float(((model - best) ** 2).sum()) < 0.05 * float((best**2).sum())
    told = world.events(AttemptRefused)
    assert {(event.rule, event.then) for event in told} == {("mean", "arc+nnm+trimmed-mean")}  # type: ignore[attr-defined]
    assert all(world.audited(world.honest[1], release.height) == "" for release in refused[-2:])


def test_where_every_rule_is_refused_the_round_closes_unchanged_and_the_next_one_begins() -> None:
    world = polled(4, "ipm", ballot="for", validation={"stricter": ()})
    still = [release for release in world.releases() if release.rule == UNCHANGED]
    assert still
    chain = world.honest[0].peer.branches["/"].chain  # type: ignore[union-attr]
    for release in still:
        before = chain.at(release.height - 1)
        assert before is not None and release.adapter == before.adapter
        assert release.members == before.members, "whoever took part keeps its seat"
        assert len(release.refused) == 1 and not release.votes
    assert world.audited(world.honest[1], still[-1].height) == ""


def test_f_voters_who_are_against_everything_stop_nothing() -> None:
    world = polled(3, "vote-against", rule="nnm+multi-krum")
    assert any(vote.change > 5 for release in world.releases() for vote in release.votes)
    assert not any(release.refused for release in world.releases())


def test_f_silent_voters_cost_no_time() -> None:
    world = polled(3, "vote-never", rule="nnm+multi-krum")
    assert all(is_tried(release.votes, world.charter) for release in world.releases())
    began, height = world.clock.now, world.honest[0].height("/")
    assert world.reach(height + 2)
    assert world.clock.now - began < 2 * world.charter.validation.deadline


@pytest.mark.parametrize(("silence", "rule"), [("pass", "mean"), ("refuse", UNCHANGED)])
def test_where_nobody_can_try_a_release_the_charter_says_what_happens(silence: str, rule: str) -> None:
    world = Polled("vote-never", liars=7, validation={"silence": silence, "deadline": 1_000})
    world.honest = [*world.devices.values()]  # but for their silence
    world.start()
    assert world.reach(3)
    assert all(release.rule == rule and not release.votes for release in world.releases())
    attempts = [each for release in world.releases() for each in release.refused]
    assert all(not each.votes for each in attempts) and bool(attempts) == (rule == UNCHANGED)
    assert not world.events(LeaderChanged), "the leader is known to wait for votes"


def test_a_voter_of_two_minds_is_found_out_and_the_round_goes_on() -> None:
    world = polled(4, "vote-twice", rule="nnm+multi-krum")
    liar = list(world.devices.values())[-1].name
    told = world.events(NodeQuarantined)
    assert {(event.member, event.why) for event in told} == {(liar, "equivocation")}  # type: ignore[attr-defined]
    assert liar not in {vote.voter for vote in world.releases()[-1].votes}


def test_a_leader_that_hides_the_votes_is_replaced() -> None:
    for seed in range(1, 9):  # until the liar comes to lead
        world = polled(12, "pick-votes", rule="nnm+multi-krum", seed=seed)
        assert all(is_tried(release.votes, world.charter) for release in world.releases())
        refused = [event.reason for event in world.events(ProposalRefused)]  # type: ignore[attr-defined]
        if refused:
            assert set(refused) == {"censored-votes"}
            return
    pytest.fail("In none of the runs the liar led")


def test_voters_without_a_seat_are_asked_and_heard() -> None:
    """Of sixteen members three close the rounds and most voters are none of them."""
    policies = fast_preset(f=1, min_updates=5)
    policies = replace(
        policies,
        committee=replace(policies.committee, size=3),
        validation=replace(policies.validation, voters=7, epsilon=0.05),
    )
    world = World(2, {"/": 16}, policies, task=Quadratic(), fast_signatures=True)
    world.start()
    assert world.run(until=lambda: world.agreed("/", 3))
    chain = next(iter(world.devices.values())).peer.branches["/"].chain  # type: ignore[union-attr]
    for height in (1, 2, 3):
        release, base = chain.at(height), chain.at(height - 1)
        assert release is not None and base is not None
        voters = {vote.voter for vote in release.votes}
        assert len(voters) >= 6 and voters <= set(sample_of(base, world.charter))
        assert voters - set(committee_of(base, world.charter.committee))


@pytest.mark.parametrize("seed", [1, 2])
def test_votes_are_heard_over_a_network_that_loses_a_fifth_of_all_messages(seed: int) -> None:
    world = polled(3, rule="nnm+multi-krum", seed=seed, conditions=Conditions(loss=0.2))
    assert sum(is_tried(release.votes, world.charter) for release in world.releases()) >= 2


def test_a_voter_that_is_switched_off_while_it_measures_votes_when_it_is_back() -> None:
    world = Polled(rule="nnm+multi-krum")
    world.start()
    assert world.reach(1)
    victim = world.honest[3]
    busy = lambda: victim.peer is not None and bool(victim.peer.branches["/"].trials._to_try)  # noqa: E731
    assert world.run(until=busy)
    victim.crash()
    victim.start()
    assert world.reach(2)
    tried = [
        event for device, event in world.told if device == victim.name and isinstance(event, ReleaseTried)
    ]
    assert {event.height for event in tried} >= {1, 2}
    assert not world.events(NodeQuarantined)


def test_a_leader_that_is_switched_off_while_its_draft_is_tried_contradicts_itself_in_nothing() -> None:
    world = Polled(rule="nnm+multi-krum")
    world.start()
    assert world.reach(1)
    leading = lambda: next((d for d in world.honest if _is_trying(d)), None)  # noqa: E731
    assert world.run(until=lambda: leading() is not None)
    leader = leading()
    assert leader is not None
    leader.crash()
    leader.start()
    assert world.reach(4)
    assert not world.events(NodeQuarantined)


def _is_trying(device: Device) -> bool:
    records = device.peer.records.all() if device.peer else ()
    return any(isinstance(r.body, Draft) and r.envelope.author == device.name for r in records)


def test_what_is_refused_by_vote_is_not_pushed_again() -> None:
    """Members go on from the head with what they carried before, so that a refused step does not grow."""
    world = polled(4, "ipm", ballot="for", validation={"stricter": ()})
    assert all(release.rule == UNCHANGED for release in world.releases())
    norms = [
        event.norm  # type: ignore[attr-defined]
        for device, event in world.told
        if device == world.honest[0].name
        and isinstance(event, UpdateAdmitted)
        and event.author == world.honest[1].name
    ]
    assert len(norms) >= 4 and max(norms) < 1.01 * min(norms)


# ----------------------------------------------------------------------------------------- hostile voters


def forged(world: Polled, author: Device, message: object) -> bytes:
    kind, body = body_of(message)
    world.clock.now += 1
    return seal(
        author.signer, network=world.charter.network_id, kind=kind, seq=2 * world.clock.now,
        time=world.clock.now, body=body,
    ).data  # fmt: skip


@pytest.fixture(scope="module")
def waiting() -> Polled:
    """A world between two rounds, in which some members have no vote."""
    world = Polled(devices={"/": 12}, rule="nnm+multi-krum", validation={"voters": 4})
    world.start()
    assert world.run(until=lambda: world.agreed("/", 2))
    return world


def refusals(
    world: Polled, author: Callable[[World, Release], Device], messages: list[object]
) -> Counter[str]:
    member = next(d for d in world.honest if d.peer and d.peer.branches["/"].on_committee)
    assert member.peer is not None
    before = Counter(member.peer.refusals)
    head = member.peer.branches["/"].chain.head
    assert head is not None
    for message in messages:
        sender = author(world, head)
        member.handle(MessageReceived(sender.name, forged(world, sender, message)))
    return Counter(member.peer.refusals) - before


def test_a_vote_of_somebody_who_was_not_drawn_is_refused(waiting: Polled) -> None:
    def stranger(world: World, head: Release) -> Device:
        return next(d for d in world.devices.values() if d.name not in sample_of(head, world.charter))

    height = waiting.honest[0].height("/") + 1
    assert refusals(waiting, stranger, [Trial("/", height, bytes(32), -1.0, 5)]) == {"not-a-voter": 1}


def test_a_voter_is_heard_about_no_more_models_than_leaders_could_have_drafted(waiting: Polled) -> None:
    def voter(world: World, head: Release) -> Device:
        return world.devices[sample_of(head, world.charter)[0]]

    height = waiting.honest[0].height("/") + 1
    votes: list[object] = [Trial("/", height, number.to_bytes(32), -1.0, 5) for number in range(40)]
    assert refusals(waiting, voter, votes) == {"too-many-trials": 40 - 2 * 2 * 7}


def test_a_leader_is_heard_about_no_more_drafts_than_a_round_has(waiting: Polled) -> None:
    def leader(world: World, head: Release) -> Device:
        return world.devices[committee_of(head, world.charter.committee)[3]]

    height = waiting.honest[0].height("/") + 1
    drafts: list[object] = [Draft("/", height, 3 + 7 * n, 0, bytes([n]) * 32, 9) for n in range(6)]
    assert refusals(waiting, leader, drafts) == {"too-many-drafts": 2}
    assert refusals(waiting, leader, [Draft("/", height, 4, 0, bytes(32), 9)]) == {"not-leader": 1}


def test_a_draft_larger_than_any_adapter_is_never_fetched(waiting: Polled) -> None:
    def leader(world: World, head: Release) -> Device:
        return world.devices[committee_of(head, world.charter.committee)[4]]

    height = waiting.honest[0].height("/") + 1
    assert refusals(waiting, leader, [Draft("/", height, 4, 0, bytes(32), 2**40)]) == {"too-large": 1}


def test_a_change_of_loss_that_is_no_number_cannot_be_said(waiting: Polled) -> None:
    with pytest.raises(SchemaError, match="finite"):
        pack(Trial("/", 1, bytes(32), float("nan"), 5))
    with pytest.raises(SchemaError, match="change"):
        pack(Trial("/", 1, bytes(32), 1e7, 5))
