"""When a branch lifts: each policy, and the conditions that all share."""

from __future__ import annotations

import pytest

from banyan.protocol.transfer import POLICIES, Due, Measure, Measured, Transfer, Verdict, Wait
from banyan.security.charter import TransferPolicy
from banyan.security.schema import SchemaError


def verdict(
    transfer: Transfer,
    *,
    children: int = 3,
    moved: int | None = None,
    since: int | None = None,
    agreement: float | None = None,
    losses: tuple[tuple[float, float], ...] = (),
    judging: bool = False,
) -> Verdict:
    measured = None if agreement is None else Measured(agreement, losses)
    moved = children if moved is None else moved
    return transfer.verdict(children, moved, since, measured, judging=judging)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_policy_waits_for_the_quorum_and_the_cool_down(policy: str) -> None:
    transfer = Transfer(TransferPolicy(policy=policy, min_children=2, cool_down=1_000))  # type: ignore[arg-type]
    good = {"agreement": 1.0, "losses": ((2.0, 1.0),)}
    assert isinstance(verdict(transfer, children=1, **good), Wait)  # type: ignore[arg-type]
    assert isinstance(verdict(transfer, since=999, **good), Wait)  # type: ignore[arg-type]
    assert isinstance(verdict(transfer, since=1_000, **good), Due)  # type: ignore[arg-type]
    assert isinstance(verdict(transfer, **good), Due)  # type: ignore[arg-type]


def test_the_rule_may_ask_for_more_children_than_the_quorum() -> None:
    assert Transfer(TransferPolicy()).need == 2
    assert Transfer(TransferPolicy(rule="krum", f=1, min_children=3)).need == 5
    with pytest.raises(SchemaError, match="captured children"):
        TransferPolicy(f=1, min_children=2)


def test_a_lift_counts_silent_children_as_they_stand_but_takes_news_of_all_but_f() -> None:
    two = Transfer(TransferPolicy(policy="every-round"))
    assert isinstance(verdict(two, children=5, moved=2), Due)
    assert isinstance(verdict(two, children=5, moved=1), Wait)
    safe = Transfer(TransferPolicy(policy="every-round", f=1, min_children=3))
    assert isinstance(verdict(safe, children=3, moved=2), Due)
    assert isinstance(verdict(safe, children=2, moved=2), Wait)


def test_every_round_measures_nothing() -> None:
    assert isinstance(verdict(Transfer(TransferPolicy(policy="every-round"))), Due)


def test_agreement_is_measured_and_a_judge_lets_rounding_pass() -> None:
    transfer = Transfer(TransferPolicy(policy="agreement", agreement=0.25))
    assert isinstance(verdict(transfer), Measure)
    assert isinstance(verdict(transfer, agreement=0.25), Due)
    short = verdict(transfer, agreement=0.2)
    assert isinstance(short, Wait) and "0.20" in short.why
    almost = 0.25 - 1e-9
    assert isinstance(verdict(transfer, agreement=almost), Wait)
    assert isinstance(verdict(transfer, agreement=almost, judging=True), Due)
    assert isinstance(verdict(transfer, agreement=0.24, judging=True), Wait)


def test_gain_asks_for_a_better_model_and_lets_no_probe_lose_more_than_epsilon() -> None:
    transfer = Transfer(TransferPolicy(policy="gain", epsilon=0.1))
    assert transfer.needs_losses
    assert isinstance(verdict(transfer), Measure)
    assert isinstance(verdict(transfer, agreement=0.0, losses=((2.0, 1.5), (2.0, 2.05))), Due)
    assert isinstance(verdict(transfer, agreement=0.0, losses=((2.0, 1.0), (2.0, 2.2))), Wait)
    assert isinstance(verdict(transfer, agreement=0.0, losses=((2.0, float("nan")),)), Wait)
    assert isinstance(verdict(transfer, agreement=0.0, losses=((2.0, 2.0),)), Wait)


def test_a_judge_signs_what_its_own_probe_only_tolerates_and_one_without_data_leaves_it_to_the_others() -> (
    None
):
    transfer = Transfer(TransferPolicy(policy="gain", epsilon=0.1))
    assert isinstance(verdict(transfer, agreement=0.0, losses=((2.0, 2.05),), judging=True), Due)
    assert isinstance(verdict(transfer, agreement=0.0, losses=((2.0, 2.2),), judging=True), Wait)
    assert isinstance(verdict(transfer, agreement=0.0), Due)


def test_a_childs_release_counts_until_it_is_stale() -> None:
    transfer = Transfer(TransferPolicy(staleness=1_000))
    assert transfer.is_recent(5_000, 6_000)
    assert not transfer.is_recent(5_000, 6_001)
