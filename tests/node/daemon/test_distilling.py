"""A branch with another base model learns from its parent's, and the parent from it: whole daemons, no torch."""

import pytest

from banyan.node.assets import base_model_path
from banyan.node.daemon.control import BadRequest, DistillRequest, LogRequest, TrainRequest
from banyan.node.daemon.distilling import KEY, Distillation
from banyan.node.learning.distill.teacher import Teacher
from banyan.protocol.composition import blobs_of, parts_of

from .conftest import Garden

POCKET = "/en/pocket"


@pytest.fixture
def pocket_garden(tmp_path):
    """A garden whose branch /en/pocket has a base model, and so an A, of its own."""
    return Garden(tmp_path, branches=("/", "/en"), bases=((POCKET, base_model_path()),))


def height(daemon, path):
    peer = daemon.member.driver.peer if daemon.member is not None else None
    return peer.branches[path].chain.height if peer is not None and path in peer.branches else -1


def wish(source, target, text, **more):
    return DistillRequest(source=source, target=target, text=str(text), **more)


async def test_knowledge_crosses_base_models_in_both_directions(pocket_garden, wait_until, fast_clock):
    garden = pocket_garden
    garden.join(1)
    charter = garden.charter
    assert charter.adapter_at(POCKET).a_digest != charter.adapter.a_digest
    async with garden.running(0, 1, training__branch="/en") as daemons:
        await wait_until(lambda: all(d.member and d.member.driver.peer for d in daemons))
        for daemon in daemons:
            await daemon.train(TrainRequest(data=str(garden.data), rounds=2))
        await wait_until(lambda: all(height(daemon, "/en") == 2 for daemon in daemons))
        for daemon in daemons:
            answer = await daemon.distill(wish("/en", POCKET, garden.data, steps=7))
            assert (answer["source"], answer["branch"]) == ("/en", POCKET)
        await wait_until(lambda: all(height(daemon, POCKET) >= 1 for daemon in daemons))
        for daemon in daemons:
            (worker,) = daemon.member.workers.status()
            assert worker["taught_by"] == "/en"
            kept = Distillation.restore(daemon.database.state())
            heads = daemon.member.driver.peer.lineage.heads("/en")
            assert kept.teacher == Teacher("/en", blobs_of(parts_of(heads)), 1.0)
            assert (await daemon.status())["teacher"] is None  # it is over
        pocket = daemons[1].member.driver.peer.branches[POCKET].chain.head
        assert len(pocket.used) == 2
        for daemon in daemons:
            await daemon.distill(wish(POCKET, "/en", garden.data))
        await wait_until(lambda: all(height(daemon, "/en") >= 3 for daemon in daemons))
        assert all(d.member.workers.status()[0]["taught_by"] == POCKET for d in daemons)
        release = daemons[0].member.driver.peer.branches["/en"].chain.at(3)
        assert len(release.used) == 2
        assert all(each.branch != POCKET for each in release.children)


async def test_who_has_only_public_text_tries_releases_on_that(tmp_path, wait_until, fast_clock):
    garden = Garden(tmp_path, branches=("/", "/en"), bases=((POCKET, base_model_path()),), voters=3)
    garden.join(1)
    own = {"training__branch": "/en", "training__data": str(garden.data)}
    async with garden.running(0, 1, **own) as daemons:
        await wait_until(lambda: all(height(daemon, "/en") >= 1 for daemon in daemons))
    async with garden.running(0, 1) as daemons:
        await wait_until(lambda: all(daemon.member and daemon.member.driver.peer for daemon in daemons))
        for daemon in daemons:
            await daemon.distill(wish("/en", POCKET, garden.data))
        await wait_until(lambda: all(height(daemon, POCKET) >= 1 for daemon in daemons))
        first = (await daemons[0].history(LogRequest(branch=POCKET)))["releases"][1]
    assert len(first["trial"]["votes"]) == 2
    assert first["trial"]["change"] < 0


async def test_a_wish_outlives_a_restart_and_training_ends_it(pocket_garden, wait_until, fast_clock):
    garden = pocket_garden
    async with garden.running(0, training__branch=POCKET) as (daemon,):
        await wait_until(lambda: daemon.member and daemon.member.driver.peer)
        await daemon.distill(wish("/en", POCKET, garden.data, rounds=3, temperature=2.0))
        assert (await daemon.status())["teacher"]["source"] == "/en"
    async with garden.running(0) as (daemon,):
        await wait_until(lambda: daemon.member and daemon.member.driver.peer)
        assert daemon.member.distillation.temperature == 2.0
        assert "/en" in daemon.member.driver.peer.branches
        await daemon.train(TrainRequest(data=str(garden.data), rounds=1))
        assert daemon.member.distillation is None
        assert not daemon.database.state().get(KEY)


async def test_a_wish_that_cannot_come_true_is_refused_in_words(
    pocket_garden, wait_until, fast_clock, tmp_path
):
    empty = tmp_path / "empty"
    empty.mkdir()
    async with pocket_garden.running(0, training__branch="/en") as (daemon,):
        await wait_until(lambda: daemon.member and daemon.member.driver.peer)
        for source, target, text, complaint in (
            ("/de", POCKET, pocket_garden.data, "has no branch /de"),
            ("/en", "/fr", pocket_garden.data, "has no branch /fr"),
            ("/en", "/en", pocket_garden.data, "cannot learn from itself"),
            ("/en", POCKET, tmp_path / "nothing", "There is no text"),
            ("/en", POCKET, "relative", "There is no text"),
            ("/en", POCKET, empty, "no file in this folder that can be read"),
        ):
            with pytest.raises(BadRequest, match=complaint):
                await daemon.distill(wish(source, target, text))
        assert daemon.settings.training.branch == "/en"


async def test_nodes_that_mix_have_no_releases_to_learn_from(village, wait_until, fast_clock):
    async with village.running(0) as (daemon,):
        await wait_until(lambda: daemon.member and daemon.member.driver.peer)
        with pytest.raises(BadRequest, match="no branch /en"):
            await daemon.distill(wish("/en", "/", village.data))


async def test_more_columns_than_the_adapter_has_are_refused(garden, wait_until, fast_clock):
    async with garden.running(0) as (daemon,):
        await wait_until(lambda: daemon.member and daemon.member.driver.peer)
        with pytest.raises(BadRequest, match="less than 2"):
            await daemon.train(TrainRequest(data=str(garden.data), rank=2))
