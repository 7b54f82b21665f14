"""Whole daemons in an open network: guests come in at the door, branches are founded, releases call a program."""

import pytest

from banyan.node.catalog.offline import read
from banyan.node.daemon.control import BadRequest, BranchRequest, LogRequest, TrainRequest
from banyan.node.membership import accept_invite, load_invite
from banyan.security.credential import CredentialRefused, is_guest
from banyan.security.doorplate import Doorplate
from banyan.security.errors import Refused


def door(garden, addresses=None):
    """The address of the network, as `banyan invite --guests` prints it."""
    founder = garden.charter.roots[0]
    return Doorplate(garden.charter.network_id, addresses or (f"/memory/0/p2p/{founder}",))


def states(daemon):
    return {page["branch"]: page["state"] for page in daemon.member.branches()["branches"]}


def ready(*daemons):
    return all(daemon.member is not None and daemon.member.driver.peer is not None for daemon in daemons)


async def test_a_guest_comes_in_with_the_published_address_and_learns_with_the_members(
    inn, wait_until, fast_clock
):
    inn.join(1)
    accept_invite(inn.home(2), str(door(inn)))
    assert isinstance(load_invite(inn.home(2)), Doorplate)
    async with inn.running(0, 1, 2, training__data=str(inn.data)) as (founder, member, guest):
        await wait_until(lambda: ready(founder, member, guest))
        assert is_guest(guest.member._credential, inn.charter)
        assert not is_guest(member.member._credential, inn.charter)
        node = guest.identity.node_id
        await wait_until(lambda: founder.member.driver.peer.members.is_guest(node))
        await wait_until(lambda: guest.member.height() >= 2)
        await wait_until(lambda: founder.member.height() >= 3)
        releases = (await founder.history(LogRequest(branch="/")))["releases"]
        assert releases[1]["used"], "members closed the round"
        assert node not in founder.member.driver.peer.branches["/"].chain.committee
    async with inn.running(0), inn.running(2) as (guest,):  # it needs no door a second time
        await wait_until(lambda: guest.member is not None)


async def test_a_network_by_invitation_sends_guests_away_with_a_sentence(garden, fast_clock):
    accept_invite(garden.home(1), str(door(garden)))
    async with garden.running(0):
        with pytest.raises(BaseExceptionGroup) as caught:
            async with garden.running(1) as (guest,):
                await guest._stopping.wait()
        assert caught.group_contains(CredentialRefused, match="by invitation only")


async def test_a_branch_is_founded_followed_and_worked_on_and_is_there_after_a_restart(
    inn, wait_until, fast_clock
):
    inn.join(1)
    accept_invite(inn.home(2), str(door(inn)))
    async with inn.running(0, 1, 2) as (founder, member, guest):
        await wait_until(lambda: ready(founder, member, guest))
        for daemon in (founder, member):
            await daemon.train(TrainRequest(data=str(inn.data)))
        await wait_until(lambda: founder.member.height() >= 1)
        answer = await member.found_branch(BranchRequest(branch="/herbs", description="What one cooks with"))
        assert answer["policy"] == "members"
        await wait_until(lambda: all("/herbs" in states(each) for each in (founder, member, guest)))
        with pytest.raises(Refused, match="already"):
            await founder.found_branch(BranchRequest(branch="/herbs"))
        with pytest.raises(Refused, match="Guests found no branches"):
            await guest.found_branch(BranchRequest(branch="/flowers"))
        with pytest.raises(BadRequest, match="no branch /nowhere"):
            await member.train(TrainRequest(branch="/nowhere"))
        await member.train(TrainRequest(branch="/herbs"))
        await wait_until(lambda: member.member.branch() == "/herbs" and member.member.height() >= 0)
        await wait_until(lambda: states(founder)["/herbs"] == "open")
    async with inn.running(0, 1) as (founder, member):
        await wait_until(lambda: ready(founder, member))
        assert "/herbs" in states(founder)
        assert member.member.branch() == "/herbs"


async def test_a_branch_founded_later_is_described_chosen_cloned_and_exported_as_any_other(
    inn, banyan, wait_until, brisk_clock, tmp_path
):
    inn.join(1)
    inn.join(2)
    async with inn.running(0, 1, 2) as (founder, member, newcomer):
        await wait_until(lambda: ready(founder, member, newcomer))
        await founder.found_branch(BranchRequest(branch="/herbs"))
        await wait_until(lambda: "/herbs" in states(member))
        for daemon in (founder, member):
            await daemon.train(TrainRequest(branch="/herbs", data=str(inn.data)))
        await wait_until(lambda: member.member.branch() == "/herbs" and member.member.height() >= 1)
        code, _, errors = await banyan(0, "card", "--title", "Herbs", "--language", "en")
        assert (code, errors) == (0, "")
        await wait_until(lambda: [each["path"] for each in newcomer.member.cards.entries()] == ["/herbs"])
        code, _, errors = await banyan(2, "clone", "/herbs")
        assert code == 0, errors
        code, _, errors = await banyan(2, "export", "--branch", "/herbs", "--to", tmp_path / "herbs")
        assert (code, errors) == (0, "")
    (card,) = read(inn.home(2))  # and where no node runs
    assert (card.path, card.title) == ("/herbs", "Herbs")
    code, out, errors = await banyan(1, "export", "--branch", "/herbs", "--to", tmp_path / "again")
    assert (code, errors) == (0, "")
    assert "/herbs@" in out
    code, _, errors = await banyan(1, "export", "--branch", "/herb", "--to", tmp_path / "y")
    assert code == 1
    assert "Did you mean /herbs?" in errors


async def test_every_release_calls_the_owners_program(garden, wait_until, fast_clock, tmp_path):
    garden.join(1)
    told = tmp_path / "told"
    hook = ["/bin/sh", "-c", 'echo "$BANYAN_BRANCH$BANYAN_HEIGHT" >> "$1"', "hook", str(told)]
    async with garden.running(0, 1, training__data=str(garden.data), hooks__release=hook) as daemons:
        await wait_until(lambda: all(daemon.member and daemon.member.height() >= 2 for daemon in daemons))
        await wait_until(lambda: told.exists() and {"/1", "/2"} <= set(told.read_text().split()))


async def test_a_program_that_fails_is_an_event_and_the_node_goes_on(
    garden, wait_until, fast_clock, tmp_path
):
    garden.join(1)
    hook = [str(tmp_path / "none")]
    async with garden.running(0, 1, training__data=str(garden.data), hooks__release=hook) as (daemon, _):
        await wait_until(lambda: daemon.events.after(0, 9, "hook-failed"))
        event = daemon.events.after(0, 9, "hook-failed")[0]
        assert "cannot be run" in event.body["reason"]
        before = daemon.member.height()
        await wait_until(lambda: daemon.member.height() > before)
        assert not [
            each for each in daemon.supervisor.services.values() if each.last_error and each.name == "hooks"
        ]
