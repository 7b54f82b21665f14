"""A turn follows from the release before it to the last byte, and nothing else may touch what is frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from banyan.protocol.composition import blobs_of, parts_of, split
from banyan.protocol.release import TURN, Contribution, Layer, Losses, Release, Seat, claims_of, opening
from banyan.protocol.season import gain_of, is_turn, season_flaw, turned
from banyan.security.model import MOST_SEASONS


def blob(number: int) -> bytes:
    return bytes([number]) * 32


def release(branch: str = "/", adapter: int = 1, lifted: int = 2) -> Release:
    seats = [Seat("ann", 0, branch), Seat("ben", 0, branch)]
    learned = {"adapter": blob(adapter), "adapter_size": 10} if adapter else {}
    raised = {"lifted": blob(lifted), "lifted_size": 20} if lifted else {}
    return replace(opening(branch, seats, 5), rule="mean", **learned, **raised)


def test_a_turn_freezes_what_the_branch_holds_and_begins_with_nothing() -> None:
    base = release()
    turn = turned(base, 3, 9)
    assert is_turn(turn) and (turn.height, turn.parent, turn.time) == (1, base.digest, 9)
    assert turn.season == 3 and turn.frozen == (Layer(0, blob(1), 10, blob(2), 20),)
    assert turn.current == () and turn.blobs == base.blobs and turn.handed_down == base.handed_down
    assert turn.roster == base.roster and not turn.used and not claims_of(turn)
    assert season_flaw(turn, base) is None


def test_a_turn_of_a_branch_that_learned_nothing_freezes_nothing() -> None:
    turn = turned(release(adapter=0, lifted=0), 1, 9)
    assert turn.season == 1 and turn.frozen == ()


def test_layers_of_several_seasons_keep_their_numbers_and_their_order() -> None:
    second = replace(turned(release(), 1, 9), adapter=blob(3), adapter_size=30, rule="mean")
    third = turned(second, 4, 10)
    assert [each.season for each in third.frozen] == [0, 1]
    assert [digest for digest, _ in third.blobs] == [blob(1), blob(2), blob(3)]
    assert [digest for digest, _ in third.handed_down] == [blob(1), blob(3)]


CHANGES: dict[str, Callable[[Release], Release]] = {
    "drops what is frozen": lambda r: replace(r, frozen=()),
    "freezes something else": lambda r: replace(r, frozen=(replace(r.frozen[0], adapter=blob(9)),)),
    "keeps an adapter": lambda r: replace(r, adapter=blob(1), adapter_size=10),
    "gives a seat": lambda r: replace(r, roster=(*r.roster, Seat("eve", 1, "/"))),
    "counts somebody": lambda r: replace(r, used=(Contribution("ann", blob(7), blob(8), 1, b"", 0),)),
    "lifts": lambda r: replace(r, lift=blob(7), lift_size=1),
    "goes back": lambda r: replace(r, season=0),
    "has another f": lambda r: replace(r, f=r.f + 1),
    "is no turn": lambda r: replace(r, rule="mean"),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_turn_that_does_anything_else_is_refused(how: str) -> None:
    base = release()
    flaw = season_flaw(CHANGES[how](turned(base, 1, 9)), base)
    assert flaw is not None and flaw[0] == "wrong-season"


def test_an_ordinary_release_may_not_touch_what_is_frozen() -> None:
    base = turned(release(), 1, 9)
    ordinary = replace(base, height=2, parent=base.digest, rule="mean", adapter=blob(5), adapter_size=1)
    assert season_flaw(ordinary, base) is None
    assert season_flaw(replace(ordinary, frozen=()), base) is not None


def test_the_model_of_a_path_has_what_each_branch_held_in_each_season_and_the_lifted_of_its_last_alone() -> (
    None
):
    above = replace(
        turned(release("/"), 1, 9), adapter=blob(3), adapter_size=1, lifted=blob(4), lifted_size=1
    )
    below = release("/a", adapter=5, lifted=6)
    parts = parts_of([above, below])
    assert blobs_of(parts) == (blob(1), blob(3), blob(5), blob(6))
    assert split(parts, 0) == ((blob(1), blob(5), blob(6)), (blob(3),))
    assert split(parts, 1) == ((blob(3),), (blob(1), blob(5), blob(6)))
    assert blobs_of(parts_of([above])) == (blob(1), blob(2), blob(3), blob(4))


def test_as_many_seasons_as_there_can_be_leave_a_release_room_in_a_message() -> None:
    newest = release()
    for season in range(1, MOST_SEASONS):
        newest = replace(turned(newest, season, season), adapter=blob(season), adapter_size=2**39)
        newest = replace(newest, lifted=blob(99), lifted_size=2**39)
    assert len(newest.frozen) == MOST_SEASONS - 1
    assert len(newest.encoded) < 8_192
    assert season_flaw(replace(turned(newest, 1, 99), season=MOST_SEASONS), newest) is not None


def test_the_gain_is_the_fall_of_the_reported_loss_per_release_of_the_newest_season() -> None:
    def after(base: Release, loss: float) -> Release:
        losses = Losses(loss, loss - 0.5, 3)
        return replace(base, height=base.height + 1, parent=base.digest, rule="mean", reported=losses)

    chain = [release()]
    assert gain_of(chain) is None
    for loss in (9.0, 8.0, 7.0):
        chain.append(after(chain[-1], loss))
    assert gain_of(chain) == pytest.approx(1.0)
    chain.append(turned(chain[-1], 1, 9))
    assert gain_of(chain) is None and chain[-1].rule == TURN
    for loss in (6.0, 5.9, 5.8):
        chain.append(after(chain[-1], loss))
    assert gain_of(chain) == pytest.approx(0.1)
    assert gain_of(chain, rounds=2) == pytest.approx(0.1)
