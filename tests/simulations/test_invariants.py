"""Each invariant bites: a run in which it is broken on purpose is found out, by that invariant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from banyan.protocol.effects import MessageReceived
from banyan.protocol.messages import CertifiedRelease, Update, Vote, body_of
from banyan.protocol.records import Record
from banyan.protocol.release import Contribution, Release, Seat, committee_of
from banyan.security.envelope import seal
from banyan.simulations.device import Device
from banyan.simulations.invariants import INVARIANTS, ALiftIsWhole
from banyan.simulations.run import Run, run_scenario
from banyan.simulations.scenario import Scenario

SMALL = Scenario.model_validate(
    {
        "name": "small",
        "about": "Five devices on one branch",
        "tree": {"/": 5},
        "rounds": 3,
        "limit": 120,
        "settle": 20,
        "policies": {"round": {"rule": "geometric-median", "f": 1, "min_updates": 3}},
    }
)


def broken(run: Run) -> set[str]:
    return {violation.invariant for violation in run.violations}


def signed(device: Device, message: object, run: Run) -> bytes:
    """``message`` under the device's own signature."""
    kind, body = body_of(message)
    charter, now = run.world.charter, run.world.clock.now
    return seal(
        device.signer, network=charter.network_id, kind=kind, seq=now * 2, time=now, body=body,
        max_bytes=charter.limits.message_bytes,
    ).data  # fmt: skip


def certified(run: Run, release: Release) -> bytes:
    """``release`` under the precommits of its whole committee: what a majority of liars could make."""
    devices = list(run.world.devices.values())
    chain = devices[0].peer.branches["/"].chain  # type: ignore[union-attr]
    base = chain.at(release.height - 1)
    assert base is not None
    committee = [run.world.devices[name] for name in committee_of(base, run.world.charter.committee)]
    vote = Vote("/", release.height, 0, "precommit", release.digest, "")
    proof = tuple(signed(member, vote, run) for member in committee)
    return signed(committee[0], CertifiedRelease(release, committee[0].name, 0, proof), run)


def with_a_false_release(alter: Callable[[Release], Release], scenario: Scenario = SMALL) -> Run:
    """A run in which one device, cut off meanwhile, is shown an altered release that a majority has certified."""
    run = Run(scenario, 1)
    run.world.start()
    world, alone = run.world, list(run.world.devices.values())[-1]
    assert world.run(until=lambda: world.agreed("/", 1), limit=60_000)
    world.network.partition({alone.name})
    height = alone.height("/")
    others = [device for device in world.devices.values() if device is not alone]
    assert world.run(until=lambda: all(device.height("/") > height for device in others), limit=60_000)
    true = others[0].peer.branches["/"].chain.at(height + 1)  # type: ignore[union-attr]
    assert true is not None
    assert not run.violations
    alone.handle(MessageReceived(others[0].name, certified(run, alter(true))))
    assert alone.height("/") == height + 1, "the false release was not believed, so nothing was tested"
    return run


def test_two_releases_at_one_height_are_found() -> None:
    run = with_a_false_release(lambda release: replace(release, time=release.time + 1))
    assert broken(run) == {"one-release-a-height"}


def test_an_update_that_nobody_signed_is_found() -> None:
    def invented(release: Release) -> Release:
        first = release.used[0]
        made_up = Contribution(first.source, bytes(32), first.blob, first.size, b"", 0)
        return replace(release, used=(made_up, *release.used[1:]))

    assert "only-admissible-inputs" in broken(with_a_false_release(invented))


def test_more_guests_than_the_rule_survives_and_a_seat_for_one_are_found() -> None:
    def overrun(release: Release) -> Release:
        used = tuple(replace(each, guest=True) for each in release.used)
        return replace(release, used=used, roster=(*release.roster, Seat("guest", release.height, "/")))

    run = with_a_false_release(overrun)
    found = [each.what for each in run.violations if each.invariant == "guests-decide-nothing"]
    assert ["counts the guests" in what for what in found] == [True, False]
    assert "only-admissible-inputs" in broken(run)


def test_sums_that_the_updates_do_not_give_are_found() -> None:
    run = with_a_false_release(lambda release: replace(release, adapter=release.change))
    assert broken(run) == {"one-release-a-height", "releases-recompute"}


def test_a_lift_that_its_children_hold_a_second_time_is_found() -> None:
    family = {"/": 0, "/a": 3, "/b": 3}
    scenario = SMALL.changed({"tree": family, "policies.transfer": {"policy": "every-round"}})
    run = Run(scenario, 1)
    run.world.start()
    devices = list(run.world.devices.values())
    assert run.world.run(until=lambda: any(device.height("/") >= 1 for device in devices), limit=60_000)
    assert not run.violations
    device = next(device for device in devices if device.height("/") >= 1)
    chain = device.peer.branches["/"].chain  # type: ignore[union-attr]
    true, base = chain.at(1), chain.at(0)
    assert true is not None and base is not None and true.lift
    half = replace(
        true, adapter=true.lift, adapter_size=true.lift_size
    )  # raised above, and not taken off below
    (watch,) = [each for each in run.invariants if isinstance(each, ALiftIsWhole)]
    watch.check(device, true, base)
    assert not run.violations
    watch.check(device, half, base)
    assert broken(run) == {"a-lift-is-whole"}
    assert any("under / 1" in violation.what for violation in run.violations)


VOTED = SMALL.changed({"policies.validation.voters": 4, "policies.validation.epsilon": 0.05})


def test_votes_that_were_not_cast_like_that_are_found() -> None:
    def flattered(release: Release) -> Release:
        return replace(release, votes=tuple(replace(each, change=each.change - 1) for each in release.votes))

    assert broken(with_a_false_release(flattered, VOTED)) == {"one-release-a-height", "released-by-vote"}


def test_a_release_against_its_own_votes_is_found() -> None:
    def unloved(release: Release) -> Release:
        return replace(release, votes=tuple(replace(each, change=1.0) for each in release.votes))

    run = with_a_false_release(unloved, VOTED)
    assert "are against it" in next(v.what for v in run.violations if v.invariant == "released-by-vote")


def test_a_release_that_more_than_f_liars_have_voted_through_is_found() -> None:
    settings = {
        "tree": {"/": 7},
        "attackers": [{"attack": "ipm", "count": 5, "ballot": "for"}],
        "policies": {"round": {"rule": "mean", "f": 1, "min_updates": 5}, "validation": {"voters": 7}},
        "rounds": 1,
    }
    record = run_scenario(SMALL.changed(settings), 1)
    found = [each.what for each in record.violations if each.invariant == "released-by-vote"]
    assert found and "was good for 0 of" in found[0]


def test_a_seat_that_is_passed_over_is_found() -> None:
    run = with_a_false_release(lambda release: replace(release, used=release.used[1:]))
    assert "every-update-answered" in broken(run)


def test_a_disk_that_forgets_what_was_acknowledged_is_found() -> None:
    run = Run(SMALL, 1)
    run.world.start()
    victim = list(run.world.devices.values())[-1]
    assert run.world.run(until=lambda: victim.height("/") >= 1, limit=60_000)
    run.crash(victim)
    victim.records.clear()
    run.restart(victim)
    assert "acknowledged-survives" in broken(run)


def test_an_honest_device_that_is_shut_out_is_found() -> None:
    run = Run(SMALL, 1)
    run.world.start()
    victim = list(run.world.devices.values())[-1]

    def own() -> list[Record]:
        records = victim.peer.records.all() if victim.peer else ()
        return [r for r in records if isinstance(r.body, Update) and r.envelope.author == victim.name]

    assert run.world.run(until=lambda: bool(own()), limit=60_000)
    run.world.run(limit=500)  # until the others have it
    update = own()[0].body
    assert isinstance(update, Update)
    twin = signed(victim, replace(update, blob=bytes(32)), run)  # its key was stolen
    for device in list(run.world.devices.values())[:-1]:
        device.handle(MessageReceived(victim.name, twin))
    assert broken(run) == {"honest-never-guilty"}


def test_a_cut_that_never_heals_is_found() -> None:
    run = Run(SMALL, 1)
    names = list(run.world.devices)
    run.world.clock.after(2_500, lambda: run.world.network.partition(set(names[:1])))
    run.play(lambda done, what: None)
    assert broken(run) == {"healed-heads-agree", "rounds-go-on"}


def test_a_device_that_holds_or_sends_too_much_is_found() -> None:
    record = run_scenario(SMALL.changed({"held_limit": 1e-6, "traffic_limit": 1e-6}), 1)
    found = {violation.invariant for violation in record.violations}
    assert found == {"bounded-device"}
    assert any("holds" in v.what for v in record.violations) and any(
        "sent" in v.what for v in record.violations
    )


def test_rounds_that_stop_are_found() -> None:
    record = run_scenario(SMALL.changed({"rounds": 1_000, "limit": 10}), 1)
    assert {violation.invariant for violation in record.violations} == {"rounds-go-on"}


def test_an_honest_run_breaks_nothing() -> None:
    record = run_scenario(SMALL, 1)
    assert record.finished and not record.violations


@pytest.mark.parametrize("kind", INVARIANTS, ids=lambda kind: kind.name)
def test_every_invariant_says_what_it_is(kind: type) -> None:
    assert kind.__doc__ and kind.__doc__.endswith(".")
