"""What colluders send: each formula keeps the bound or does the harm that its paper claims."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.aggregation import build
from banyan.simulations.attacks import formulas
from banyan.simulations.attacks.coalition import Coalition, damage
from banyan.simulations.attacks.formulas import Formula, View
from banyan.simulations.world import World, fast_preset

ALL: tuple[Formula, ...] = (
    formulas.sign_flip, formulas.ipm, formulas.alie, formulas.searched_alie, formulas.searched_ipm, formulas.mimic,
    formulas.noise, formulas.min_max, formulas.min_sum, formulas.explosion,
)  # fmt: skip


def view(seed: int, honest: int = 8, f: int = 2, d: int = 5, spread: float = 1.0) -> View:
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal(d, dtype=np.float32)
    rows = centre + np.float32(spread) * rng.standard_normal((honest, d), dtype=np.float32)
    own = centre + np.float32(spread) * rng.standard_normal((f, d), dtype=np.float32)
    return View(rows, own, lambda lies: float(np.linalg.norm(lies)), rng)


@pytest.mark.parametrize("formula", ALL)
def test_every_liar_sends_one_finite_float32_row(formula: Formula) -> None:
    lies = formula(view(1))
    assert (lies.shape, lies.dtype) == ((2, 5), np.float32)
    assert np.isfinite(lies).all()


@given(st.integers(0, 2**20), st.integers(2, 12), st.integers(1, 4))
def test_min_max_is_no_further_from_anybody_than_the_honest_are_from_each_other(
    seed: int, honest: int, f: int
) -> None:
    known = view(seed, honest, f)
    lie = formulas.min_max(known)[0]
    diameter = max(float(np.linalg.norm(a - b)) for a in known.honest for b in known.honest)
    assert max(np.linalg.norm(known.honest - lie, axis=1)) <= diameter * (1 + 1e-5)


@given(st.integers(0, 2**20), st.integers(2, 12))
def test_min_sum_is_no_further_from_all_than_some_honest_update_is(seed: int, honest: int) -> None:
    known = view(seed, honest)

    def apart(row: np.ndarray) -> float:
        return float(((known.honest - row) ** 2).sum())

    lie = formulas.min_sum(known)[0]
    assert apart(lie) <= max(apart(row) for row in known.honest) * (1 + 1e-5)


def test_alie_hides_behind_as_many_honest_updates_as_give_it_a_majority() -> None:
    known = view(3, honest=40, f=10, d=2000)
    lie = formulas.alie(known)[0]
    beyond = (known.honest < lie).mean(axis=0)  # honest updates further off than the lie, by coordinate
    needed = (40 + 10) // 2 + 1 - 10
    assert abs(beyond.mean() - needed / 40) < 0.03


@given(st.integers(0, 2**20))
def test_a_searched_strength_does_at_least_the_harm_of_every_strength_tried(seed: int) -> None:
    known = view(seed)
    harm = known.judge(formulas.searched_ipm(known))
    assert all(harm >= known.judge(known.all_send(-z * known.mean)) for z in formulas.STRENGTHS)


def test_the_search_finds_what_harms_the_networks_own_rule_and_not_what_is_longest() -> None:
    world = World(1, {"/": 7}, fast_preset(rule="nnm+multi-krum", min_updates=5))
    rows = view(4, honest=6, spread=2.0).honest
    judge = damage(world.charter, rows)
    known = View(rows, rows[:1], judge, np.random.default_rng(0))
    lie = formulas.searched_ipm(known)
    assert judge(lie) > judge(formulas.ipm(known))  # ten times the mean is left out, and does nothing
    moved = build("nnm+multi-krum", f=1)(np.concatenate([rows, lie])).vector
    assert judge(lie) == pytest.approx(np.linalg.norm(moved - rows.mean(axis=0)), rel=1e-3)


def test_what_is_not_finite_or_refused_by_the_rule_harms_nobody() -> None:
    world = World(1, {"/": 7}, fast_preset(min_updates=5))
    rows = view(5, honest=6).honest
    assert damage(world.charter, rows)(np.full((1, 5), np.inf, np.float32)) == 0
    assert damage(world.charter, rows[:2])(rows[:1]) == 0  # three updates where the rule asks for five


def test_a_coalition_decides_once_a_round_and_its_noise_differs_by_member() -> None:
    world = World(1, {"/": 7})
    coalition, key, rows = Coalition(), ("/", 1, b"base"), view(6).honest
    coalition.members |= {"x", "y"}
    for author, row in zip(["a", "b", "c", "x", "y"], rows, strict=False):
        coalition.show(key, author, row)
    assert coalition.seen(key) == {"a", "b", "c"}
    rng = np.random.default_rng(0)
    first, second = (coalition.lie(key, me, formulas.noise, world.charter, rng) for me in ("x", "y"))
    assert not np.array_equal(first, second)
    again = coalition.lie(key, "x", formulas.noise, world.charter, rng)
    assert np.array_equal(first, again)
