"""What a committee member refuses to co-sign: one test a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from banyan.protocol.branch import Branch
from banyan.protocol.events import ProposalRefused
from banyan.protocol.judgement import Open, Problem, judge
from banyan.protocol.peer import Peer
from banyan.protocol.plateau import restated
from banyan.protocol.release import Contribution, LeftOut, Progress, Release, Seat
from banyan.protocol.round import Status
from banyan.protocol.season import turned
from banyan.security.admission import Reason
from banyan.simulations.world import World, fast_preset


@pytest.fixture(scope="module")
def before_closing() -> tuple[World, Peer, Branch, Release]:
    """A member with six admitted updates, and the release that an honest leader would now propose."""
    world = World(5, {"/": 6}, fast_preset())
    world.start()
    device = next(iter(world.devices.values()))
    ready = lambda: device.peer is not None and _admitted(device.peer) == 6  # noqa: E731
    assert world.run(until=ready)
    assert device.peer is not None
    branch = device.peer.branches["/"]
    assert branch.closing is not None
    return world, device.peer, branch, branch.closing.draft()


def _admitted(peer: Peer) -> int:
    round_ = peer.branches["/"].round
    return 0 if round_ is None else sum(c.status is Status.ADMITTED for c in round_.candidates.values())


def verdict(
    situation: tuple[World, Peer, Branch, Release],
    change: Callable[[Release], Release],
    quarantined: dict[str, Reason] | None = None,
) -> Problem | Open | None:
    _, peer, branch, honest = situation
    assert branch.round is not None
    return judge(change(honest), branch.round, peer.charter, quarantined or {}, lambda digest: None, peer.now)


Situation = tuple[World, Peer, Branch, Release]


def test_an_honest_proposal_passes(before_closing: Situation) -> None:
    assert verdict(before_closing, lambda r: r) is None


def drop_first(release: Release) -> Release:
    return replace(release, used=release.used[1:])


CHANGES: dict[str, Callable[[Release], Release]] = {
    "wrong-base": lambda r: replace(r, parent=bytes(32)),
    "wrong-rule": lambda r: replace(r, rule="mean"),
    "wrong-time": lambda r: replace(r, time=r.time + 10**7),
    "double-vote": lambda r: replace(r, used=(r.used[0], *r.used)),
    "no-quorum": lambda r: replace(r, used=r.used[:2]),
    "dropped": drop_first,
    "wrong-roster": lambda r: replace(r, roster=(*r.roster, Seat("stranger", r.height, "/"))),
    "misquoted": lambda r: replace(r, used=(replace(r.used[0], blob=bytes(32)), *r.used[1:])),
    "contradiction": lambda r: replace(r, left_out=(LeftOut(r.used[0].source, "missing"),)),
    "wrong-losses": lambda r: replace(r, reported=None),
    "wrong-season": lambda r: replace(r, season=1),
    "wrong-standing": lambda r: replace(r, standing="asks"),
    "wrong-progress": lambda r: replace(r, progress=Progress(0.0, 6, gains=False, gained=True)),
    "unknown-reason": lambda r: replace(drop_first(r), left_out=(LeftOut(r.used[0].source, "dislike"),)),
}


@pytest.mark.parametrize("reason", CHANGES)
def test_a_proposal_that_breaks_a_rule_is_refused_with_its_reason(
    before_closing: Situation, reason: str
) -> None:
    found = verdict(before_closing, CHANGES[reason])
    assert isinstance(found, Problem)
    assert found.reason == reason
    assert found.detail


def test_a_judge_waits_for_what_a_season_or_a_word_on_how_the_branch_stands_rests_on(
    before_closing: Situation,
) -> None:
    _, peer, branch, _ = before_closing
    round_ = branch.round
    assert round_ is not None
    for release, ready in (
        (turned(round_.base, 1, peer.now), (1, "")),
        (restated(round_.base, "asks", peer.now), (0, "asks")),
    ):
        for due, expected in (((0, "gains"), Open()), (ready, None)):
            found = judge(
                release, round_, peer.charter, {}, lambda digest: None, peer.now, lambda time, due=due: due
            )
            assert found == expected


def test_an_update_of_a_proved_cheat_may_not_be_used(before_closing: Situation) -> None:
    cheat = before_closing[3].used[0].source
    found = verdict(before_closing, lambda r: r, {cheat: Reason.EQUIVOCATION})
    assert isinstance(found, Problem)
    assert found.reason == "quarantined"


def test_a_release_that_leaves_no_room_for_its_certificate_is_refused(before_closing: Situation) -> None:
    """A leader could pad one so that it could be proposed and decided, and then never be sent with its votes."""
    _, peer, branch, honest = before_closing
    junk = tuple(LeftOut(f"{number:03d}" + "x" * 190, "malformed") for number in range(60))
    padded = replace(honest, left_out=junk)
    small = replace(peer.charter, limits=replace(peer.charter.limits, message_bytes=16_384))
    assert branch.round is not None
    assert judge(padded, branch.round, peer.charter, {}, lambda digest: None, peer.now) is None
    found = judge(padded, branch.round, small, {}, lambda digest: None, peer.now)
    assert isinstance(found, Problem)
    assert found.reason == "too-long"


def test_an_update_of_a_leader_that_only_some_have_caught_may_be_used(before_closing: Situation) -> None:
    """Half the committee once refused every release with it, the other half every release without it, for good."""
    liar = before_closing[3].used[0].source
    assert verdict(before_closing, lambda r: r, {liar: Reason.FALSE_RELEASE}) is None


def test_an_update_nobody_here_has_seen_is_asked_for_before_judging(before_closing: Situation) -> None:
    unknown = Contribution("somebody", b"\xff" * 32, bytes(32), 1, b"", 0)
    found = verdict(before_closing, lambda r: replace(r, used=(*r.used, unknown)))
    assert found == Open((b"\xff" * 32,))


def test_nobody_is_expelled_without_proof(before_closing: Situation) -> None:
    honest = before_closing[3]
    victim = honest.used[0].source
    expelled = lambda r: replace(drop_first(r), left_out=(LeftOut(victim, "equivocation"),))  # noqa: E731
    assert verdict(before_closing, expelled) == Open()


def test_one_late_update_may_be_left_out_and_two_are_censorship(before_closing: Situation) -> None:
    _, _, branch, honest = before_closing
    assert branch.round is not None
    first, second = (branch.round.candidates[each.source] for each in honest.used[:2])

    def without(*sources: str) -> Callable[[Release], Release]:
        def change(release: Release) -> Release:
            used = tuple(each for each in release.used if each.source not in sources)
            left_out = tuple(LeftOut(source, "missing") for source in sorted(sources))
            roster = tuple(
                replace(seat, seen=0) if seat.member in sources else seat for seat in release.roster
            )
            reported = branch.round.reported(used)
            return replace(release, used=used, left_out=left_out, roster=roster, reported=reported)

        return change

    one, two = first.record.envelope.author, second.record.envelope.author
    assert verdict(before_closing, without(one)) is None
    need, branch.round.need = branch.round.need, 4
    found = verdict(before_closing, without(one, two))
    branch.round.need = need
    assert isinstance(found, Problem)
    assert found.reason == "censored"


def test_refusals_are_told() -> None:
    assert ProposalRefused("/", 1, 0, "leader", "dropped", "why").reason == "dropped"
