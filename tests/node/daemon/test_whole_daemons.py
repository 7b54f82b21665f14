"""Whole daemons on wires of memory: found, join, learn, stop, go on."""

import numpy as np
import pytest
import trio

from banyan.node.daemon.control import BadRequest, LogRequest, TrainRequest
from banyan.node.learning.blobs import read_sum
from banyan.node.store import HomeInUse
from banyan.security.credential import CredentialRefused

DAY = 86_400_000
START = 1_800_000_000_000


def height(daemon):
    return daemon.member.height() if daemon.member is not None else -1


def names(releases):
    """Their ids; who co-signed may differ from node to node, any quorum will do."""
    return [release["release"] for release in releases]


async def test_invited_nodes_fetch_charter_and_a_and_learn_together(garden, wait_until, fast_clock):
    invite = garden.invite()
    garden.join(1, invite)
    garden.join(2, invite)
    async with garden.running(0, 1, 2, training__data=str(garden.data)) as daemons:
        await wait_until(lambda: all(height(daemon) >= 2 for daemon in daemons))
        pages = [(await daemon.history(LogRequest(branch="/")))["releases"][:3] for daemon in daemons]
        assert names(pages[0]) == names(pages[1]) == names(pages[2])
        assert all(len(page["used"]) >= 2 for page in pages[0][1:])
        for daemon in daemons:
            assert garden.charter.adapter.a_digest in daemon.blobs
        uses = {daemon.member._credential.use for daemon in daemons[1:]}
        assert uses == {1, 2}  # the lobby gave each its own


async def test_members_try_each_release_on_their_own_rows_before_it_is_signed(
    council, wait_until, fast_clock
):
    council.join(1)
    council.join(2)
    async with council.running(0, 1, 2, training__data=str(council.data)) as daemons:
        await wait_until(lambda: all(height(daemon) >= 2 for daemon in daemons))
        first, second = (await daemons[0].history(LogRequest(branch="/")))["releases"][1:3]
    assert first["trial"]["change"] < 0, "it serves its voters better than no training"
    members = {daemon.identity.node_id for daemon in daemons}
    assert {vote["voter"] for vote in first["trial"]["votes"]} <= members
    assert not first["refused"] and not second["refused"]
    assert daemons[1].events.after(0, 10, "release-tried")


async def test_a_restarted_node_keeps_its_history_and_catches_up(garden, wait_until, fast_clock):
    for number in (1, 2):
        garden.join(number)
    async with garden.running(0, 1, training__data=str(garden.data)) as others:
        async with garden.running(2, training__data=str(garden.data)) as (third,):
            await wait_until(lambda: height(third) >= 1)
            known = (await third.history(LogRequest(branch="/")))["releases"]
        await wait_until(lambda: height(others[0]) >= known[-1]["height"] + 2)
        async with garden.running(2) as (third,):
            await wait_until(lambda: third.member is not None and third.member.driver.peer is not None)
            again = (await third.history(LogRequest(branch="/")))["releases"]
            assert names(again)[: len(known)] == names(known)
            await wait_until(lambda: height(third) >= height(others[0]))


async def test_an_owner_trains_for_some_rounds_and_no_more(garden, wait_until, fast_clock):
    garden.join(1)
    async with garden.running(0, 1) as daemons:
        for daemon in daemons:
            await wait_until(lambda d=daemon: height(d) >= 0 and d.member.driver.peer is not None)
            answer = await daemon.train(TrainRequest(data=str(garden.data), rounds=2))
        assert answer["target"] == 2
        await wait_until(lambda: all(height(daemon) == 2 for daemon in daemons))
        assert all(not daemon.member.jobs.current for daemon in daemons)
    async with garden.running(0, 1) as daemons:  # the target is remembered: a restart does not train on
        await wait_until(lambda: all(daemon.member and daemon.member.driver.peer for daemon in daemons))
        await trio.sleep(1)
        assert [height(daemon) for daemon in daemons] == [2, 2]
        assert all(daemon.settings.training.data == garden.data for daemon in daemons)


async def test_the_same_home_is_not_run_twice(garden, fast_clock):
    async with garden.running(0):
        with pytest.raises(BaseExceptionGroup) as caught:
            async with garden.running(0):
                pass
        assert caught.group_contains(HomeInUse, match="already runs on")


async def test_a_joiner_whose_founder_is_away_waits_and_says_so(garden, wait_until, fast_clock):
    garden.join(1)
    async with garden.running(1) as (newcomer,):
        await wait_until(lambda: any(e.body.get("step") == "waiting" for e in newcomer.events.after(0, 99)))
        assert (await newcomer.status())["phase"] == "joining"
        with pytest.raises(BadRequest, match="joining"):
            await newcomer.history(LogRequest(branch="/"))
        async with garden.running(0):
            await wait_until(lambda: newcomer.member is not None)


async def test_an_expired_invite_ends_the_joiner_with_a_sentence(garden, fast_clock):
    invite = garden.invite(now=1, expires=2, until=3)
    garden.join(1, invite)
    async with garden.running(0):
        with pytest.raises(BaseExceptionGroup) as caught:
            async with garden.running(1):
                await trio.sleep_forever()
        assert caught.group_contains(CredentialRefused, match="expired")


async def test_an_invite_serves_no_more_than_its_uses(garden, wait_until, fast_clock):
    invite = garden.invite(uses=1)
    garden.join(1, invite)
    garden.join(2, invite)
    async with garden.running(0), garden.running(1) as (first,):
        await wait_until(lambda: first.member is not None)
        with pytest.raises(BaseExceptionGroup) as caught:
            async with garden.running(2):
                await trio.sleep_forever()
        assert caught.group_contains(CredentialRefused, match="spent")


async def test_joining_again_with_a_fresh_invite_renews_the_membership(garden, wait_until, fast_clock):
    garden.join(1)
    async with garden.running(0):
        async with garden.running(1) as (member,):
            await wait_until(lambda: member.member is not None)
            first = member.member._credential
        fresh = garden.invite(until=START + 99 * DAY)
        garden.join(1, fresh)
        async with garden.running(1) as (member,):
            await wait_until(lambda: member.member is not None)
            renewed = member.member._credential
    assert renewed.member == first.member
    assert (first.expires, renewed.expires) == (START + 9 * DAY, START + 99 * DAY)


async def test_a_cut_node_goes_on_alone_and_ends_with_the_same_history(garden, wait_until, fast_clock):
    for number in (1, 2):
        garden.join(number)
    async with garden.running(0, 1, 2, training__data=str(garden.data)) as daemons:
        await wait_until(lambda: all(height(daemon) >= 1 for daemon in daemons))
        nodes = [daemon.identity.node_id for daemon in daemons]
        for other in nodes[:2]:
            await garden.wires.cut(nodes[2], other)
        before = height(daemons[0])
        await wait_until(lambda: height(daemons[0]) >= before + 2)
        for other in nodes[:2]:
            garden.wires.heal(nodes[2], other)
        await wait_until(lambda: height(daemons[2]) >= before + 2)
        goal = before + 2
        pages = [(await daemon.history(LogRequest(branch="/")))["releases"][: goal + 1] for daemon in daemons]
        assert names(pages[0]) == names(pages[1]) == names(pages[2])


async def test_events_are_followed_and_read_back_from_disk(garden, wait_until, fast_clock):
    async with garden.running(0) as (daemon,):
        await wait_until(lambda: daemon.events.position >= 1)
        async for event in daemon.follow(0, None):
            assert event.kind == "node-started"
            break
    async with garden.running(0) as (daemon,):
        found = await daemon.events_after(0, 100, None)
        assert [event.kind for event in found][:2] == ["node-started", "node-stopping"]
        assert await daemon.events_after(0, 1, "node-stopping") == [found[1]]
        newest = await daemon.events_after(None, 2, None)
        assert newest[-1].position == daemon.events.position


async def test_a_member_audits_a_release_and_finds_it_right(garden, wait_until, fast_clock):
    garden.join(1)
    async with garden.running(0, 1, training__data=str(garden.data)) as daemons:
        await wait_until(lambda: all(height(daemon) >= 2 for daemon in daemons))
        asked = await daemons[1].audit(None, 2)
        await wait_until(lambda: daemons[1].events.after(0, 99, "release-audited"))
        (event,) = daemons[1].events.after(0, 99, "release-audited")
        assert (event.body["release"], event.body["problem"]) == (asked["release"], "")
        with pytest.raises(BadRequest, match="could be audited"):
            await daemons[1].audit(None, 99)


async def test_a_founder_revokes_a_member_and_everybody_hears_it(garden, wait_until, fast_clock):
    garden.join(1)
    async with garden.running(0, 1) as (founder, member):
        await wait_until(lambda: height(member) >= 0 and member.member.driver.peer is not None)
        gone = member.identity.node_id
        with pytest.raises(BadRequest, match="founder"):
            await member.revoke(gone, "")
        await wait_until(
            lambda: len(founder.member.driver.peer.members.live(founder.member.driver.peer.now)) == 2
        )
        await founder.revoke(gone, "left the garden")
        await wait_until(lambda: gone in founder.member.driver.peer.quarantined)
        await wait_until(lambda: gone in member.member.driver.peer.quarantined)


async def test_nodes_without_a_committee_mix_their_models_stop_and_go_on(village, wait_until, fast_clock):
    for number in (1, 2):
        village.join(number)
    async with village.running(0, 1, 2, training__data=str(village.data)) as daemons:
        await wait_until(lambda: all(daemon.events.after(0, 999, "model-mixed") for daemon in daemons))
        await wait_until(lambda: height(daemons[2]) >= 4)
        page = await daemons[0].history(LogRequest(branch="/"))
        assert (page["coordination"], page["releases"]) == ("gossip", [])
        mixing = daemons[0].member.driver.status()["branches"]["/"]["mixing"]
        assert mixing["step"] >= 1
        assert set(mixing["neighbours"]) <= {daemon.identity.node_id for daemon in daemons[1:]}
    async with village.running(2) as (alone,):  # it takes up its own model where it was
        await wait_until(lambda: height(alone) >= 4)
        peer = alone.member.driver.peer
        model = read_sum(alone.blobs, peer.model, village.charter.adapter)
        assert np.linalg.norm(model - village.goal) < 0.3 * np.linalg.norm(village.goal)
        await wait_until(lambda: alone.events.after(0, 99, "mixing-waiting"))
