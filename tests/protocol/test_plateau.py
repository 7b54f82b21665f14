"""Who says that a branch has stopped gaining, and what that comes to: a majority of the honest decides, nobody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import pytest

from banyan.protocol.messages import Update
from banyan.protocol.plateau import (
    Memory,
    progress_of,
    restated,
    standing_among,
    standing_flaw,
    standing_of,
)
from banyan.protocol.release import Contribution, Progress, Release, Seat, Standing, opening
from banyan.protocol.season import season_flaw, turned
from banyan.security.charter import Charter, RoundPolicy, TransferPolicy
from banyan.security.policy import SeasonPolicy
from banyan.security.schema import SchemaError, from_plain, to_plain
from banyan.simulations.world import World

WORLD = World(1, {"/": 1})
CREDENTIAL = next(iter(WORLD.devices.values())).settings.credential


def charter(f: int = 1, captured: int = 0, **season: object) -> Charter:
    return replace(
        WORLD.charter,
        round=RoundPolicy(f=f, min_updates=2 * f + 1),
        transfer=TransferPolicy(f=captured, min_children=2 * captured + 1),
        season=SeasonPolicy(**{"patience": 3, "tolerance": 0.1, **season}),  # type: ignore[arg-type]
    )


def said(fell: float | None) -> Update:
    return Update("/", 1, bytes(32), bytes(32), 1, CREDENTIAL, None, None, fell)


def head(branch: str = "/", standing: Standing = "", season: int = 0, time: int = 5) -> Release:
    release = replace(opening(branch, [Seat("ann", 0, branch)], time), season=season)
    known = {"": None, "gains": (True, True), "rests": (False, False), "asks": (False, True)}[standing]
    return release if known is None else replace(release, progress=Progress(0.0, 3, *known))


# ------------------------------------------------------------------------------------ a member


def remembered(losses: Sequence[float], patience: int = 3) -> Memory:
    memory = Memory()
    for height, loss in enumerate(losses):
        memory = memory.after(0, height, loss, patience)
    return memory


def test_a_member_tells_its_fall_over_the_releases_asked_for_and_nothing_before_it_can() -> None:
    losses = [9.0, 7.0, 6.0, 5.5, 5.25]
    assert [remembered(losses[:n]).fall(3) for n in range(6)] == [None, None, None, None, 3.5, 1.75]


def test_a_member_that_was_away_compares_with_the_newest_loss_from_before_the_releases_asked_for() -> None:
    memory = remembered([9.0, 7.0]).after(0, 40, 5.0, 3)
    assert memory.fall(3) == 2.0 and memory.heights == (1, 40)


def test_a_member_remembers_no_more_than_it_needs_and_nothing_of_an_earlier_season() -> None:
    memory = remembered([float(n) for n in range(200)])
    assert len(memory.heights) == 4
    assert memory.after(1, 200, 1.0, 3) == Memory(1, (200,), (1.0,))


def test_a_fall_that_no_message_could_tell_is_cut_to_one_that_can_or_left_unsaid() -> None:
    assert remembered([1e300, 0, 0, 0]).fall(3) == 1e6
    assert Memory(0, (0, 3), (float("inf"), 0.0)).fall(3) is None


@pytest.mark.parametrize(
    "damaged",
    [b"", b"\xff", Memory(0, (2, 1), (1.0, 1.0)).encode(), Memory(0, (1,), (1.0, 2.0)).encode()],
)
def test_a_damaged_memory_is_an_empty_one(damaged: bytes) -> None:
    assert Memory.decode(damaged) == Memory()
    whole = remembered([3.0, 2.0])
    assert Memory.decode(whole.encode()) == whole


def test_a_fall_out_of_bounds_is_no_update() -> None:
    plain = to_plain(said(0.5))
    assert isinstance(plain, dict)
    for fell in (1e7, float("nan"), float("inf"), "much"):
        with pytest.raises(SchemaError):
            from_plain(Update, {**plain, "fell": fell})


# ------------------------------------------------------------------------------------ a release


LIES = (None, -1e6, 0.0, 1e6)


@pytest.mark.parametrize(("honest", "gains"), [(0.5, True), (0.0, False), (-0.5, False)])
@pytest.mark.parametrize("f", [1, 2])
def test_f_liars_of_2f_plus_1_neither_make_nor_hide_a_plateau(honest: float, gains: bool, f: int) -> None:
    for lies in product(LIES, repeat=f):
        updates = [said(honest)] * (f + 1) + [said(lie) for lie in lies]
        found = progress_of(head(), updates, charter(f))
        assert found is not None and found.gains is gains


@pytest.mark.parametrize("others", range(4))
def test_liars_alone_say_nothing(others: int) -> None:
    updates = [said(0.0)] + [said(None)] * others
    assert progress_of(head(), updates, charter()) is None
    before = head(standing="gains")
    assert progress_of(before, updates, charter()) == before.progress


def test_what_a_season_has_gained_is_remembered_until_it_is_over() -> None:
    gaining = replace(head(), progress=progress_of(head(), [said(0.5)] * 3, charter()))
    still = replace(gaining, progress=progress_of(gaining, [said(0.0)] * 3, charter()))
    assert (standing_of(gaining), standing_of(still)) == ("gains", "asks")
    next_season = turned(still, 1, 9)
    assert standing_of(next_season) == ""
    idle = replace(next_season, progress=progress_of(next_season, [said(0.0)] * 3, charter()))
    assert standing_of(idle) == "rests"


# ------------------------------------------------------------------------------------ a tree


def among(*below: Standing, own: Standing = "", **options: object) -> Standing:
    heads = [head(f"/{number}", standing) for number, standing in enumerate(below)]
    return standing_among(head("/", own), heads, 5, charter(**options))  # type: ignore[arg-type]


def test_a_branch_stands_as_the_share_of_its_voices_that_the_charter_asks_for() -> None:
    assert among("asks", "asks", "asks", "gains") == "asks"
    assert among("asks", "asks", "gains", "gains") == "gains"
    assert among("asks", "asks", "asks", "gains", share=1.0) == "gains"
    assert among("asks", "asks", "asks", own="gains", share=1.0) == "gains"
    assert among("asks", own="asks", share=1.0) == "asks"


def test_a_branch_that_says_nothing_gains_and_one_alone_speaks_for_itself() -> None:
    assert among("asks", "") == "gains"
    assert among(own="asks") == "asks"
    assert among() == ""


def test_those_whom_no_a_would_help_hold_nobody_back_and_ask_for_nothing() -> None:
    assert among("asks", "rests", "rests") == "asks"
    assert among("rests", "rests") == "rests"


@pytest.mark.parametrize("lie", ["gains", "rests", "asks"])
def test_captured_branches_up_to_the_bound_neither_force_nor_prevent(lie: Standing) -> None:
    assert among("asks", "asks", lie, captured=1, share=1.0) == "asks"
    assert among("gains", "gains", lie, captured=1, share=0.01) == "gains"
    assert among("rests", "rests", lie, captured=1, share=1.0) == "rests"


def test_a_branch_of_an_earlier_season_gains_one_of_a_later_asks_and_a_silent_one_has_no_voice() -> None:
    day = 24 * 3_600_000
    now, asked = 100 * day, charter(share=1.0)
    here = head("/", season=1, time=now)
    asks = head("/a", "asks", season=1, time=now)
    assert standing_among(here, [asks, head("/b", "asks", season=0, time=now)], now, asked) == "gains"
    assert standing_among(here, [asks, head("/b", "", season=2, time=now)], now, asked) == "asks"
    assert (
        standing_among(here, [asks, head("/b", "gains", season=1, time=now - 8 * day)], now, asked) == "asks"
    )


# ------------------------------------------------------------------------------------ its release


COUNTED = Contribution("ann", bytes(32), bytes(32), 1, b"", 0)

CHANGES: dict[str, Callable[[Release], Release]] = {
    "counts somebody": lambda r: replace(r, used=(COUNTED,)),
    "changes the adapter": lambda r: replace(r, adapter=bytes(32), adapter_size=1),
    "gives a seat": lambda r: replace(r, roster=(*r.roster, Seat("eve", 1, "/"))),
    "says nothing": lambda r: replace(r, standing=""),
    "says what needs no saying": lambda r: replace(r, standing="gains"),
    "claims a gain": lambda r: replace(r, progress=Progress(1.0, 3, True, True)),
    "says it in passing": lambda r: replace(r, rule="mean"),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_release_that_says_how_its_branch_stands_says_nothing_else(how: str) -> None:
    base = head()
    honest = restated(base, "asks", 9)
    assert standing_flaw(honest, base) is None and season_flaw(honest, base) is None
    flaw = standing_flaw(CHANGES[how](honest), base)
    assert flaw is not None and flaw[0] == "wrong-standing"


def test_an_ordinary_release_without_members_says_nothing_new_of_their_gains() -> None:
    base = head()
    progress = Progress(1.0, 3, True, True)
    ordinary = replace(base, height=1, rule="mean", progress=progress)
    assert standing_flaw(ordinary, base) == (
        "wrong-progress",
        "The proposal says that members gain and counts none",
    )
    assert standing_flaw(replace(ordinary, used=(replace(COUNTED, guest=True),)), base) is not None
    assert standing_flaw(replace(ordinary, used=(COUNTED,)), base) is None
