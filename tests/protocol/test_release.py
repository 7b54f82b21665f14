"""Who closes the next round follows from the release alone, and everyone computes the same."""

from __future__ import annotations

from dataclasses import replace

from banyan.protocol.release import (
    ChildHead,
    Contribution,
    LeftOut,
    Release,
    Seat,
    committee_of,
    next_children,
    next_roster,
    opening,
)
from banyan.security.charter import CommitteePolicy

POLICY = CommitteePolicy(size=3, memory=2)
NAMES = [f"node-{number}" for number in range(8)]


def opened(members: list[str] = NAMES) -> Release:
    return opening("/en", [Seat(name, 0, "/en") for name in members], time=5)


def used(name: str) -> Contribution:
    return Contribution(name, name.encode().ljust(32, b"\0"), bytes(32), 1, b"", 0)


def test_a_committee_has_the_charters_size_and_everybody_draws_the_same_one() -> None:
    committee = committee_of(opened(), POLICY)
    assert len(committee) == 3
    assert set(committee) <= set(NAMES)
    assert committee == committee_of(opened(NAMES[::-1]), POLICY)


def test_the_seats_move_with_every_release() -> None:
    drawn = {committee_of(replace(opened(), height=height), POLICY) for height in range(50)}
    assert len(drawn) > 25
    assert {name for committee in drawn for name in committee} == set(NAMES)


def test_a_leader_cannot_choose_the_next_committee_by_its_clock_or_its_list_of_the_left_out() -> None:
    release = replace(opened(), height=1, used=(used("node-0"),))
    drawn = {committee_of(replace(release, time=time), POLICY) for time in range(20)}
    drawn |= {
        committee_of(replace(release, left_out=(LeftOut(f"x{n}", "missing"),)), POLICY) for n in range(20)
    }
    assert len(drawn) == 1
    assert committee_of(replace(release, used=(used("node-1"),)), POLICY) not in drawn


def test_pinned_members_sit_first_if_they_are_on_the_roster() -> None:
    policy = CommitteePolicy(size=3, pinned=("node-5", "stranger"))
    assert committee_of(opened(), policy)[0] == "node-5"
    assert "stranger" not in committee_of(opened(), policy)


def test_a_contributor_takes_a_seat_and_the_long_silent_lose_theirs() -> None:
    first = replace(opened(), roster=next_roster(opened(), [used("new")], [], {}, POLICY), height=1)
    assert {seat.member for seat in first.roster} == {*NAMES, "new"}
    second = next_roster(first, [used("new")], [], {}, POLICY)
    assert [seat.member for seat in second] == ["new"]


def test_a_proved_cheat_loses_its_seat_at_once_and_a_late_member_does_not() -> None:
    left_out = [LeftOut("node-1", "equivocation"), LeftOut("node-2", "missing")]
    roster = {seat.member for seat in next_roster(opened(), [used("node-0")], left_out, {}, POLICY)}
    assert "node-1" not in roster
    assert "node-2" in roster


def test_a_contributing_childs_committee_sits_for_it() -> None:
    roster = next_roster(opened(), [used("/en/medical")], [], {"far": "/en/medical"}, POLICY)
    assert Seat("far", 1, "/en/medical") in roster
    assert "/en/medical" not in {seat.member for seat in roster}


def test_the_children_last_counted_are_remembered_by_path() -> None:
    old = ChildHead("/en/a", 1, b"1" * 32)
    new = replace(old, height=2)
    other = ChildHead("/en/b", 1, b"1" * 32)
    assert next_children(replace(opened(), children=(old, other)), [new]) == (new, other)
