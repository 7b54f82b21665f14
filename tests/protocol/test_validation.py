"""How votes decide: who may cast one, what a minority of liars can bring about, and what a release must quote."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.protocol.release import UNCHANGED, Attempt, Contribution, Release, Seat, TrialVote, opening
from banyan.protocol.validation import (
    WORST,
    enough_of,
    flaw,
    is_tried,
    limited,
    medians,
    own_change,
    passes,
    probed_change,
    quorum_of_votes,
    rules_of,
    sample_of,
)
from banyan.security.charter import Charter
from banyan.simulations.world import World, fast_preset

MEMBERS = [f"node-{number:02d}" for number in range(12)]


def charter_of(voters: int = 7, f: int = 1, **validation: object) -> Charter:
    policies = fast_preset(f=f, min_updates=2 * f + 3)
    chosen = {"voters": voters, "epsilon": 0.05, **validation}
    changed = replace(policies.validation, **chosen)  # type: ignore[arg-type]
    return World(1, {"/": 1}, replace(policies, validation=changed)).charter


CHARTER = charter_of()


def contribution(number: int) -> Contribution:
    return Contribution(MEMBERS[number], bytes([number]) * 32, bytes(32), 1, b"", 0)


def base_of(*used: int) -> Release:
    start = opening("/", [Seat(name, 0, "/") for name in MEMBERS], 5)
    return replace(start, used=tuple(map(contribution, used)), adapter=b"h" * 32, adapter_size=9)


BASE = base_of(1, 2, 3)


def votes(*changes: float, charter: Charter = CHARTER, base: Release = BASE) -> tuple[TrialVote, ...]:
    voters = sorted(sample_of(base, charter))
    return tuple(TrialVote(name, bytes(32), change) for name, change in zip(voters, changes, strict=False))


# ----------------------------------------------------------------------------------------- who votes


def test_voters_are_drawn_from_the_roster_anew_each_round_and_everybody_draws_the_same() -> None:
    samples = [sample_of(base_of(1, 2, number), CHARTER) for number in range(3, 12)]
    assert all(len(set(sample)) == 7 and set(sample) <= set(MEMBERS) for sample in samples)
    assert len({frozenset(sample) for sample in samples}) > 5
    assert sample_of(base_of(1, 2, 3), CHARTER) == samples[0]


def test_a_leader_cannot_choose_its_voters_by_what_it_proposes() -> None:
    assert sample_of(replace(BASE, time=99, adapter=b"z" * 32), CHARTER) == sample_of(BASE, CHARTER)


def test_every_member_is_drawn_about_equally_often() -> None:
    drawn = [name for n in range(12) for m in range(12) for name in sample_of(base_of(n, m), CHARTER)]
    counts = [drawn.count(name) for name in MEMBERS]
    assert min(counts) > 0.6 * 144 * 7 / 12 and max(counts) < 1.4 * 144 * 7 / 12


def test_fewer_voters_than_f_liars_and_f_silent_ones_leave_a_quorum_of_are_never_drawn() -> None:
    assert len(sample_of(BASE, charter_of(voters=1, f=2))) == 7
    assert sample_of(BASE, charter_of(voters=0)) == ()


def test_a_leader_waits_for_all_but_f_and_never_for_more_than_there_are() -> None:
    assert [enough_of(MEMBERS[:size], CHARTER) for size in (2, 3, 4, 7)] == [2, 3, 3, 6]


# ----------------------------------------------------------------------------------------- how they decide

CHANGES = st.floats(-WORST, WORST)


@given(
    f=st.integers(0, 4),
    more=st.integers(0, 5),
    honest=st.lists(CHANGES, min_size=14, max_size=14),
    lies=st.lists(CHANGES, max_size=4),
)
def test_f_liars_cannot_move_the_median_beyond_what_honest_voters_said(
    f: int, more: int, honest: list[float], lies: list[float]
) -> None:
    lies = lies[:f]
    true = honest[: 2 * f + 1 + more - len(lies)]
    said = tuple(TrialVote(str(number), bytes(32), change) for number, change in enumerate([*true, *lies]))
    charter = charter_of(f=f)
    median = own_change(said, charter)
    assert median is not None and min(true) <= median <= max(true)
    public = tuple(replace(vote, change=None, probed=vote.change) for vote in said)
    assert (own_change(public, charter), probed_change(public, charter)) == (None, median)


@given(change=st.floats())
def test_whatever_is_measured_can_be_said(change: float) -> None:
    assert -WORST <= limited(change) <= WORST
    assert not math.isnan(limited(change))


def test_a_model_that_has_lost_itself_is_as_bad_as_can_be() -> None:
    assert limited(math.nan) == limited(math.inf) == WORST


def test_the_median_passes_up_to_epsilon() -> None:
    epsilon = CHARTER.validation.epsilon
    assert passes(votes(-1, epsilon, 9), CHARTER)
    assert not passes(votes(-1, 1.01 * epsilon, 9), CHARTER)


@pytest.mark.parametrize(("silence", "expected"), [("pass", True), ("refuse", False)])
def test_too_few_votes_decide_nothing_and_the_charter_says_what_then(silence: str, expected: bool) -> None:
    charter = charter_of(silence=silence)
    few = votes(-9.0, 9.0)[: quorum_of_votes(charter) - 1]
    assert not is_tried(few, charter)
    assert passes(few, charter) is expected


def test_a_stricter_rule_that_needs_more_updates_than_are_here_is_passed_over() -> None:
    charter = charter_of(stricter=("bulyan", "arc+nnm+trimmed-mean", "nnm+multi-krum"))
    assert rules_of(charter, 7) == ("nnm+multi-krum", "bulyan", "arc+nnm+trimmed-mean", UNCHANGED)
    assert rules_of(charter, 6) == ("nnm+multi-krum", "arc+nnm+trimmed-mean", UNCHANGED)
    assert rules_of(charter_of(voters=0), 6) == ("nnm+multi-krum",)


# ----------------------------------------------------------------------------------------- what is quoted

GOOD, BAD = votes(-1, -1, -1), votes(1, 1, 1)
RELEASE = replace(BASE, height=1, rule="nnm+multi-krum", f=1, votes=GOOD)
FIRST = Attempt("nnm+multi-krum", b"c" * 32, 9, b"a" * 32, 9, BAD)
SECOND = replace(FIRST, rule="arc+nnm+trimmed-mean")
STRICTER = replace(RELEASE, rule="arc+nnm+trimmed-mean", refused=(FIRST,))
STILL = replace(
    RELEASE, rule=UNCHANGED, refused=(FIRST, SECOND), votes=(), change=b"", change_size=0,
)  # fmt: skip


@pytest.mark.parametrize("release", [RELEASE, STRICTER, STILL], ids=["first", "stricter", "unchanged"])
def test_what_follows_from_its_votes_is_sound(release: Release) -> None:
    assert flaw(release, BASE, CHARTER) is None


FLAWS = {
    "another rule": (replace(RELEASE, rule="mean"), "wrong-rule"),
    "another f": (replace(RELEASE, f=0), "wrong-rule"),
    "a rule that was not reached": (replace(STRICTER, refused=()), "wrong-rule"),
    "a rule skipped": (replace(STILL, refused=(FIRST,)), "wrong-rule"),
    "a stranger's vote": (replace(RELEASE, votes=(*GOOD, TrialVote("zoe", bytes(32), 0.0))), "wrong-voters"),
    "a vote twice": (replace(RELEASE, votes=(GOOD[0], *GOOD)), "wrong-voters"),
    "votes out of order": (replace(RELEASE, votes=GOOD[::-1]), "wrong-voters"),
    "a rule refused against its votes": (
        replace(STRICTER, refused=(replace(FIRST, votes=GOOD),)),
        "passed-over",
    ),
    "a rule refused for want of votes": (
        replace(STRICTER, refused=(replace(FIRST, votes=()),)),
        "passed-over",
    ),
    "a release against its votes": (replace(RELEASE, votes=BAD), "refused-by-vote"),
    "unchanged, with a change": (replace(STILL, change=b"c" * 32), "false-release"),
    "unchanged, with another adapter": (replace(STILL, adapter=b"x" * 32), "false-release"),
}


@pytest.mark.parametrize("name", FLAWS)
def test_what_does_not_follow_from_its_votes_is_refused_with_its_reason(name: str) -> None:
    release, reason = FLAWS[name]
    found = flaw(release, BASE, CHARTER)
    assert found is not None and found[0] == reason


def test_where_nobody_votes_a_release_quotes_nobody() -> None:
    off = charter_of(voters=0)
    assert flaw(replace(RELEASE, votes=()), BASE, off) is None
    assert flaw(RELEASE, BASE, off) == ("wrong-voters", flaw(RELEASE, BASE, off)[1])  # type: ignore[index]


# ----------------------------------------------------------------------------------------- with a probe set


def both(own: list[float | None], probed: list[float | None]) -> tuple[TrialVote, ...]:
    pairs = zip(own, probed, strict=True)
    return tuple(TrialVote(str(number), bytes(32), *pair) for number, pair in enumerate(pairs))


@pytest.mark.parametrize(
    ("own", "probed", "good"),
    [
        ([-1.0] * 4, [-1.0] * 4, True),
        ([-1.0] * 4, [1.0] * 4, False),
        ([1.0] * 4, [-1.0] * 4, False),
        ([None] * 4, [-1.0] * 4, True),
        ([None] * 4, [1.0] * 4, False),
        ([-1.0] * 4, [None, None, 1.0, 1.0], True),  # two say nothing that f = 1 could not have made up
        ([-1.0, -1.0, -1.0, 9.0], [-1.0, -1.0, -1.0, 9.0], True),
        ([1.0, 1.0, 1.0, -9.0], [-1.0] * 4, False),
        ([-1.0] * 4, [1.0, 1.0, 1.0, -9.0], False),
    ],
)
def test_a_release_passes_where_neither_median_is_against_it(
    own: list[float | None], probed: list[float | None], good: bool
) -> None:
    charter = charter_of(f=1)
    votes = both(own, probed)
    assert passes(votes, charter) is good
    kinds = sum(sum(each is not None for each in said) >= 3 for said in (own, probed))
    assert len(medians(votes, charter)) == kinds
