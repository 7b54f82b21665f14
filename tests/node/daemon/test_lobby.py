"""The lobby gives each newcomer its own grant of an invite, and answers nobody else."""

import pytest

from banyan.node.daemon.lobby import MARK, RESERVED, Lobby, knock, read_welcome
from banyan.security.credential import issue
from banyan.security.identity import Identity
from banyan.security.invite import Invite

NETWORK = bytes(range(32))
NOW = 1_800_000_000_000


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def member():
    return Identity.from_seed(bytes(32))


@pytest.fixture
def invite(member):
    return Invite.create(
        member, network=NETWORK, addresses=(), now=NOW, expires=NOW + 10**9, until=NOW + 10**9, uses=3
    )


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def seen():
    return []


@pytest.fixture
def lobby(member, seen, clock):
    return Lobby(member, NETWORK, 1234, lambda: seen, clock)


def newcomer(number):
    return Identity.from_seed(bytes([number]) * 32).node_id


def ask(lobby, invite, member, who):
    answer = lobby.answer(who, knock(invite, who, NOW))
    return read_welcome(answer, NETWORK, member.node_id)


def test_each_newcomer_gets_a_grant_of_its_own_and_the_same_one_again(lobby, invite, member):
    assert [ask(lobby, invite, member, newcomer(n)).use for n in (1, 2, 3)] == [1, 2, 3]
    assert ask(lobby, invite, member, newcomer(2)).use == 2
    assert ask(lobby, invite, member, newcomer(4)).use == 0
    assert ask(lobby, invite, member, newcomer(1)).charter_bytes == 1234


def test_what_members_have_spent_is_not_given_again(lobby, invite, member, seen):
    seen.append(issue(invite, newcomer(9), NOW, use=1))
    assert ask(lobby, invite, member, newcomer(1)).use == 2
    assert ask(lobby, invite, member, newcomer(9)).use == 1  # its own, if it joins again


def test_a_reservation_that_nobody_used_lapses(lobby, invite, member, clock):
    for number in (1, 2, 3):
        ask(lobby, invite, member, newcomer(number))
    clock.now += RESERVED + 1
    assert ask(lobby, invite, member, newcomer(4)).use == 1


def test_only_the_holder_of_the_invite_is_answered_and_only_for_itself(lobby, invite, member):
    honest = knock(invite, newcomer(1), NOW)
    assert lobby.answer(newcomer(2), honest) is None  # somebody else's knock
    assert lobby.answer(newcomer(1), honest[:-1] + bytes([honest[-1] ^ 1])) is None
    assert lobby.answer(newcomer(1), MARK) is None
    assert lobby.answer(newcomer(1), MARK + b"x" * 10_000) is None
    assert lobby.answer(newcomer(1), honest) is not None


def test_a_welcome_counts_only_from_the_member_that_was_asked(lobby, invite, member):
    answer = lobby.answer(newcomer(1), knock(invite, newcomer(1), NOW))
    assert read_welcome(answer, NETWORK, newcomer(5)) is None
    assert read_welcome(answer, bytes(32), member.node_id) is None
    assert read_welcome(b"something else", NETWORK, member.node_id) is None
