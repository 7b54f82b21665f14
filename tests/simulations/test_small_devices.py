"""Virtual devices of a lower rank among others: rounds go on, and columns that too few train stand still."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from banyan.node.learning.blobs import read_blob
from banyan.protocol.audit import Audit
from banyan.protocol.events import ReleaseNarrowed
from banyan.protocol.release import UNCHANGED, Release
from banyan.protocol.validation import flaw
from banyan.security.errors import BanyanError
from banyan.simulations.run import Run
from banyan.simulations.scenario import load
from banyan.simulations.tasks import Quadratic
from banyan.simulations.world import World, fast_preset


def world(small: float, **policy: object) -> World:
    preset = fast_preset()
    preset = replace(preset, round=replace(preset.round, **policy))
    made = World(3, {"/": 8}, preset, task=Quadratic(dimension=64, rank=4), small_share=small, small_rank=1)
    made.narrowed = []
    made.on_event = lambda name, event: (
        made.narrowed.append(event) if isinstance(event, ReleaseNarrowed) else None
    )
    made.start()
    for _ in range(40):
        made.run(limit=2_000)
        if max(device.height("/") for device in made.live()) >= 2:
            return made
    raise AssertionError("the branch has not moved")


def newest(made: World):
    device = max(made.live(), key=lambda each: each.height("/"))
    return device, device.peer.branches["/"].chain


def test_columns_that_enough_devices_train_move_with_the_rest() -> None:
    made = world(0.25, rule="trimmed-mean", f=1, min_updates=5)
    device, chain = newest(made)
    release = chain.at(2)
    change = read_blob(device.blobs, release.change, made.spec).vector.decode().reshape(-1, 4)
    assert release.narrowed_to == 0
    assert change.any(axis=0).all()
    sizes = {len(device.blobs.data[each.blob]) for each in release.used if each.blob in device.blobs.data}
    assert len(sizes) > 1


def test_columns_that_too_few_train_stand_still_and_the_release_and_an_event_say_so() -> None:
    made = world(0.75, rule="trimmed-mean", f=1, min_updates=5)
    device, chain = newest(made)
    for height in (1, 2):
        release = chain.at(height)
        change = read_blob(device.blobs, release.change, made.spec).vector.decode().reshape(-1, 4)
        assert release.narrowed_to == 1
        assert change[:, 0].any()
        assert not change[:, 1:].any()
    assert ReleaseNarrowed("/", 1, 1, 4) in made.narrowed
    assert chain.proof(1) is not None
    assert device.peer.branches["/"].page(chain.at(1))["narrowed_to"] == 1


def test_an_audit_finds_a_release_that_hides_what_stood_still() -> None:
    made = world(0.75, rule="trimmed-mean", f=1, min_updates=5)
    device, chain = newest(made)
    for lie in (0, 2):
        release = replace(chain.at(1), narrowed_to=lie)
        audit = Audit(release, chain.at(0), made.charter, lambda *_: None)
        assert "too few updates trained" in audit.problem(made.jobs.aggregate(audit.job(), device.blobs))
    honest = Audit(chain.at(1), chain.at(0), made.charter, lambda *_: None)
    assert honest.problem(made.jobs.aggregate(honest.job(), device.blobs)) == ""


def test_each_rule_that_the_votes_refuse_has_its_own_columns_that_stood_still() -> None:
    """Four devices have all columns: enough for the mean, and too few for Bulyan."""
    preset = fast_preset(rule="mean", f=1, min_updates=3)
    preset = replace(preset, validation=replace(preset.validation, voters=7, stricter=("bulyan",)))
    task = Quadratic(dimension=64, rank=4)
    made = World(3, {"/": 8}, preset, task=task, small_share=0.5, small_rank=1)
    for liar in list(made.devices.values())[:5]:
        made.corrupt(liar, "vote-against")
    made.start()
    assert made.run(until=lambda: any(device.height("/") >= 1 for device in made.live()))
    device, chain = newest(made)
    release, base = chain.at(1), chain.at(0)
    assert [(each.rule, each.narrowed_to) for each in release.refused] == [("mean", 0), ("bulyan", 1)]
    assert (release.rule, release.narrowed_to, release.change) == (UNCHANGED, 0, b"")
    assert flaw(release, base, made.charter) is None
    assert flaw(replace(release, narrowed_to=1), base, made.charter) is not None

    def audited(release: Release) -> list[str]:
        audit, problems = Audit(release, base, made.charter, lambda *_: None), []
        for audit.computed in range(2):
            problems.append(audit.problem(made.jobs.aggregate(audit.job(), device.blobs)))
        return problems

    assert audited(release) == ["", ""]
    mean, bulyan = release.refused
    hidden = replace(release, refused=(mean, replace(bulyan, narrowed_to=0)))
    assert audited(hidden) == ["", "It is wrong about the columns that too few updates trained"]


def test_a_scenario_draws_its_small_devices_by_the_seed() -> None:
    scenario = load("flat-20").changed(
        {"small": {"share": 0.25, "rank": 2}, "task": {"name": "quadratic", "rank": 4}, "attackers": []}
    )
    ranks = [[d.rank for d in Run(scenario, seed).world.devices.values()] for seed in (1, 1, 2)]
    assert ranks[0].count(2) == 5
    assert ranks[0] == ranks[1] != ranks[2]


def test_small_devices_need_a_higher_rank_to_be_small_beside() -> None:
    with pytest.raises(BanyanError, match="need an adapter of a higher rank"):
        World(1, {"/": 4}, small_share=0.5, small_rank=1)


def test_without_small_devices_nothing_changes() -> None:
    made = World(1, {"/": 4})
    assert {device.rank for device in made.devices.values()} == {made.spec.rank}
    assert np.isscalar(made.spec.rank)
