"""Is a leader's proposal what an honest leader could have proposed? Asked before anyone co-signs.

Everything but the sums is recomputed here from the parent release and the proposal's own lists; the sums are
recomputed by the worker (:func:`job_of` names that computation). What this node cannot know yet leaves the question
open until it does or gives up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from banyan.protocol.agreement import quorum_of
from banyan.protocol.effects import Aggregate, Input, Lift
from banyan.protocol.plateau import is_restated
from banyan.protocol.release import (
    EXPELLING,
    UNCHANGED,
    Contribution,
    Release,
    Standing,
    next_children,
    next_roster,
)
from banyan.protocol.round import Child, Round, Status, need_of, quote
from banyan.protocol.season import is_turn
from banyan.protocol.transfer import Measure, Wait
from banyan.protocol.validation import flaw
from banyan.security import canonical
from banyan.security.admission import Reason
from banyan.security.charter import Charter

__all__ = ["Open", "Problem", "Verdict", "fits", "has_its_steps", "job_of", "judge", "lift_of", "sums_of"]


@dataclass(frozen=True, slots=True)
class Open:
    """Not decidable yet: these update records are unknown here and must be asked for, and the lift of these children
    must be measured."""

    wanted: tuple[bytes, ...] = ()
    unmeasured: tuple[Child, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """The proposal must not be co-signed; ``reason`` is a code, ``detail`` the sentence."""

    reason: str
    detail: str


Verdict = Open | Problem | None
"""None: nothing wrong with anything but, possibly, the sums."""

VOTE_BYTES: Final = 768
"""More than the longest vote has; a quorum of them travels with a proposal, and with a certified release."""

ENVELOPE_BYTES: Final = 3072
"""More than all else in such a message, and in the bundle that brings it to a latecomer."""

REASONS: Final = frozenset(reason.value for reason in Reason)


def job_of(release: Release, base: Release) -> bytes:
    """The name of the computation behind ``release``: equal names mean equal inputs, rule and bases."""
    known: bytes | None = release.memo.get(("job", base.digest))
    if known is not None:
        return known
    inputs = [[each.key, each.blob, each.lifted] for each in release.used]
    content = [release.branch, release.height, inputs, release.rule, release.f, base.adapter, base.lifted]
    job = release.memo["job", base.digest] = hashlib.sha256(canonical.encode(content)).digest()
    return job


def sums_of(release: Release, base: Release, charter: Charter, *, expected: bool = False) -> Aggregate:
    """The computation behind ``release``, which follows ``base``: ``expected``, to be compared with its own steps."""
    members = tuple(Input(each.key, each.blob) for each in release.used if not each.is_child)
    children = [each for each in release.used if each.is_child]
    return Aggregate(
        branch=release.branch,
        height=release.height,
        job=job_of(release, base),
        inputs=members,
        rule=release.rule,
        f=release.f,
        clip=charter.round.clip,
        base=base.adapter or None,
        expected=(release.change or None) if expected else None,
        least=need_of(charter),
        lift=lift_of(children, base, charter, (release.lift or None) if expected else None),
        season=release.season,
    )


def lift_of(
    children: Iterable[Contribution], base: Release, charter: Charter, expected: bytes | None = None
) -> Lift | None:
    """The part of the sums that is about children; None where none is counted."""
    inputs = tuple(Input(each.key, each.blob, each.lifted or None) for each in children)
    if not inputs:
        return None
    policy = charter.transfer
    return Lift(inputs, policy.rule, policy.f, policy.share, base.lifted or None, expected)


def has_its_steps(release: Release) -> bool:
    """Whether ``release`` has a change exactly where members taught it something, and a lift where children did."""
    taught = release.rule != UNCHANGED and any(not each.is_child for each in release.used)
    raised = any(each.is_child for each in release.used)
    return (bool(release.change), bool(release.lift)) == (taught, raised)


def fits(release: Release, charter: Charter, room: int = 0) -> bool:
    """Whether ``release``, and ``room`` bytes that will come into it, can be sent with its certificate: one that cannot
    would be decided and never known."""
    votes = VOTE_BYTES * quorum_of(charter.committee.size)
    return len(release.encoded) + room <= charter.limits.message_bytes - ENVELOPE_BYTES - votes


def judge(
    release: Release,
    round_: Round,
    charter: Charter,
    quarantined: Mapping[str, Reason],
    child_of: Callable[[bytes], Child | None],
    now: int,
    due: Callable[[int], tuple[int, Standing]] = lambda time: (0, ""),
) -> Verdict:
    """Judge ``release`` against what this node knows of ``round_``.

    ``child_of`` finds a certified release of a direct child branch by its digest; ``due`` says which season the branch
    may be in at a time, and how it then stands with those below it.
    """
    base = round_.base
    policy = charter.round
    follows = (release.branch, release.height, release.parent) == (base.branch, round_.height, base.digest)
    if not follows:
        return Problem("wrong-base", "The proposal does not follow the head")
    unsound = flaw(release, base, charter)
    if unsound is not None:
        return Problem(*unsound)
    if not base.time <= release.time <= now + charter.limits.clock_skew:
        return Problem("wrong-time", "The proposal's time is before its parent's or in the future")
    if not fits(release, charter):
        return Problem(
            "too-long", f"The proposal has {len(release.encoded)} bytes and leaves no room for votes"
        )
    if is_turn(release) or is_restated(release):  # what it rests on may still be on its way
        season, standing = due(release.time)
        known = release.season <= season if is_turn(release) else release.standing == standing
        return None if known else Open()
    if not has_its_steps(release) or release.lifted_at != (release.time if release.lift else base.lifted_at):
        return Problem("wrong-steps", "The proposal's steps do not follow from whom it counts")
    keys = [each.key for each in release.used]
    if keys != sorted(set(keys)) or len({each.source for each in release.used}) != len(keys):
        return Problem("double-vote", "The proposal counts a source twice or not in order")
    updates = sum(not each.is_child for each in release.used)
    if not keys or 0 < updates < round_.need:
        return Problem("no-quorum", f"The proposal counts {updates} updates where {round_.need} are needed")
    guests = sum(each.guest for each in release.used)
    if guests > round_.guests:
        return Problem(
            "too-many-guests", f"The proposal counts {guests} guests where {round_.guests} are allowed"
        )
    counted = _judge_used(release, round_, quarantined, child_of)
    if not isinstance(counted, list):
        return counted
    problem = _judge_left_out(release, round_, quarantined, policy.f)
    if problem is None and counted:
        problem = _judge_lift(release, round_, counted, charter.transfer.f)
    if problem is not None:
        return problem
    moved = filter(round_.is_new, counted)
    delegates = {member: child.head.branch for child in moved for member in child.delegates}
    if release.roster != next_roster(base, release.used, release.left_out, delegates, charter.committee):
        return Problem("wrong-roster", "The proposal's roster does not follow from its lists")
    if release.children != next_children(base, [child.head for child in counted]):
        return Problem("wrong-children", "The proposal's list of children does not follow from its updates")
    if release.reported != round_.reported(release.used):
        return Problem("wrong-losses", "The proposal misquotes the losses that its updates reported")
    if release.progress != round_.progress(release.used, charter):
        return Problem("wrong-progress", "The proposal misquotes what its updates say of how much they gain")
    return None


def _judge_used(
    release: Release,
    round_: Round,
    quarantined: Mapping[str, Reason],
    child_of: Callable[[bytes], Child | None],
) -> list[Child] | Open | Problem:
    """Every contribution is one that we admitted ourselves; returns the children among them.

    An update of a proved cheat is refused. One of a leader whose sums were false is not: that is known only to those
    who did them over, and a committee of which a part knows would agree on nothing with the liar nor without him.
    """
    counted: list[Child] = []
    wanted: list[bytes] = []
    undecided = False
    for each in release.used:
        if each.is_child:
            child = child_of(each.key)
            if child is None:
                undecided = True
            elif each != quote(child):
                return Problem("wrong-child", f"The proposal misquotes the release of {each.source}")
            elif child.head.height < round_.base.child_heights.get(each.source, 0):
                return Problem("wrong-child", f"The proposal counts {each.source} from before the last lift")
            elif child.release.season != release.season:
                return Problem("wrong-child", f"The proposal counts {each.source} from another season")
            elif not round_.transfer.is_recent(child.release.time, release.time):
                return Problem(
                    "wrong-child", f"The proposal counts a release of {each.source} that is too old"
                )
            else:
                counted.append(child)
            continue
        if quarantined.get(each.source, Reason.FALSE_RELEASE) is not Reason.FALSE_RELEASE:
            return Problem("quarantined", f"The proposal uses an update of {each.source}, who is shut out")
        candidate = round_.find(each.key, each.source)
        if candidate is None:
            wanted.append(each.key)
        elif candidate.status is Status.REFUSED:
            return Problem("inadmissible", f"The proposal uses an update of {each.source} that we refuse")
        elif candidate.status is not Status.ADMITTED:
            undecided = True
        elif each.guest != candidate.guest:
            return Problem("hidden-guest", f"The proposal is wrong about whether {each.source} is a guest")
        elif (each.source, each.blob, each.size, each.lifted, each.lifted_size) != (
            candidate.author,
            candidate.update.blob,
            candidate.update.size,
            b"",
            0,
        ):
            return Problem("misquoted", f"The proposal misquotes the update of {each.source}")
    if wanted or undecided:
        return Open(tuple(wanted))
    return counted


def _judge_lift(
    release: Release, round_: Round, counted: list[Child], tolerance: int
) -> Problem | Open | None:
    """It is time for a lift of these children, as far as this node can tell, and at most ``tolerance`` that could be
    counted are not: a leader may not pick its electorate."""
    verdict = round_.verdict(counted, release.time, judging=True)
    if isinstance(verdict, Measure):
        return Open(unmeasured=tuple(counted))
    if isinstance(verdict, Wait):
        return Problem("no-lift", f"It is no time for a lift: {verdict.why}")
    here = {child.head.branch for child in round_.electorate(release.time)}
    censored = here - {child.head.branch for child in counted}
    if len(censored) > tolerance:
        return Problem(
            "censored", f"The proposal leaves out children that are here: {', '.join(sorted(censored))}"
        )
    return None


def _judge_left_out(
    release: Release, round_: Round, quarantined: Mapping[str, Reason], tolerance: int
) -> Problem | Open | None:
    """Nobody is missing from both lists, nobody is expelled without proof, and at most ``tolerance`` members whose
    updates we admitted are left out: networks lose messages, but a leader may not pick its electorate. Guests are no
    part of it."""
    used = {each.source for each in release.used}
    left_out = {item.source: item.reason for item in release.left_out}
    if used & left_out.keys() or len(left_out) != len(release.left_out):
        return Problem("contradiction", "The proposal lists a source both as used and as left out")
    silent = round_.expected() - used - left_out.keys()
    if silent:
        return Problem("dropped", f"The proposal does not account for {', '.join(sorted(silent))}")
    if not REASONS.issuperset(left_out.values()):
        return Problem("unknown-reason", "The proposal leaves an update out for a reason nobody knows")
    unproved = [
        source for source, reason in left_out.items() if reason in EXPELLING and source not in quarantined
    ]
    if unproved:
        return Open()
    admitted = {
        author
        for author, each in round_.candidates.items()
        if each.status is Status.ADMITTED and not each.guest
    }
    censored = (admitted & left_out.keys() & round_.expected()) - quarantined.keys()
    if len(censored) > tolerance and round_.count(quarantined) >= round_.need:
        return Problem(
            "censored", f"The proposal leaves out updates that are here: {', '.join(sorted(censored))}"
        )
    return None
