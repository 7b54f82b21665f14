"""Whether a proposed release makes things better, by vote: who tries it, how votes decide, and what follows.

No aggregation rule survives strongly different data and an optimised attack at once, so members try a proposal on rows
that nobody else sees. Each says by how much its loss changes; the median decides, since fewer than half cannot move a
median beyond what the others said. Where the branch has a probe set, public rows, they try it on these as well, and
both medians decide. What is refused is done over by the next stricter rule, and at last not at all.

Everything here follows from the parent release and the proposal, so judges and auditors come to the same answer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from statistics import median
from typing import Final

from banyan.aggregation import build
from banyan.protocol.plateau import is_restated, standing_flaw
from banyan.protocol.release import UNCHANGED, Release, TrialVote
from banyan.protocol.season import is_turn, season_flaw
from banyan.security import canonical
from banyan.security.charter import Charter

__all__ = [
    "enough_of",
    "flaw",
    "is_tried",
    "limited",
    "medians",
    "own_change",
    "passes",
    "probed_change",
    "quorum_of_votes",
    "rules_of",
    "sample_of",
    "updates_in",
]

WORST: Final = 1e6
"""What is said of a model whose loss is no number, and the most that can be said."""


def limited(change: float) -> float:
    """A measured change of loss as it can be said."""
    return WORST if math.isnan(change) else min(max(change, -WORST), WORST)


def sample_of(base: Release, charter: Charter) -> tuple[str, ...]:
    """Who tries the proposals of the round after ``base``; nobody where the charter asks for no votes.

    Highest-random-weight (rendezvous) hashing (Thaler and Ravishankar, 1998) over the roster, keyed by the updates that
    ``base`` used, as the committee is: the leader of this round cannot choose its voters by what it proposes.
    """
    policy = charter.validation
    if not policy.voters:
        return ()
    known: tuple[str, ...] | None = base.memo.get(policy)
    if known is not None:
        return known
    size = max(policy.voters, 3 * charter.round.f + 1)
    drawn_by = ["validation", base.branch, base.height, [each.key for each in base.used]]
    key = hashlib.sha256(canonical.encode(drawn_by)).digest()
    drawn = sorted(base.members, key=lambda member: hashlib.sha256(key + member.encode()).digest())
    sample = base.memo[policy] = tuple(drawn[:size])
    return sample


def quorum_of_votes(charter: Charter) -> int:
    """The fewest votes that decide: of 2 f + 1 no f liars are half."""
    return 2 * charter.round.f + 1


def enough_of(sample: Sequence[str], charter: Charter) -> int:
    """How many votes to wait for: all but f, who may be silent on purpose."""
    return min(len(sample), max(quorum_of_votes(charter), len(sample) - charter.round.f))


def is_tried(votes: Sequence[TrialVote], charter: Charter) -> bool:
    """Whether there are votes enough to decide by."""
    return bool(medians(votes, charter))


def own_change(votes: Sequence[TrialVote], charter: Charter) -> float | None:
    """The median change of loss on the voters' own rows; None where fewer than a quorum say one. Of n > 2 f votes, f of
    them lies, it lies between two honest ones."""
    return _median([vote.change for vote in votes if vote.change is not None], charter)


def probed_change(votes: Sequence[TrialVote], charter: Charter) -> float | None:
    """The same on the branch's probe set."""
    return _median([vote.probed for vote in votes if vote.probed is not None], charter)


def _median(said: Sequence[float], charter: Charter) -> float | None:
    return median(said) if len(said) >= quorum_of_votes(charter) else None


def medians(votes: Sequence[TrialVote], charter: Charter) -> tuple[float, ...]:
    """What decides: the medians that there are votes enough for."""
    both = (own_change(votes, charter), probed_change(votes, charter))
    return tuple(each for each in both if each is not None)


def passes(votes: Sequence[TrialVote], charter: Charter) -> bool:
    """Whether what these are all the votes on may be released."""
    policy = charter.validation
    if not policy.voters:
        return True
    known = medians(votes, charter)
    if not known:
        return policy.silence == "pass"
    return max(known) <= policy.epsilon


def rules_of(charter: Charter, updates: int) -> tuple[str, ...]:
    """The rules that a round of so many updates is closed by, in the order in which they are tried."""
    policy, rounds = charter.validation, charter.round
    if not policy.voters:
        return (rounds.rule,)
    able = (rule for rule in policy.stricter if build(rule, f=rounds.f).minimum_n <= updates)
    return (*dict.fromkeys((rounds.rule, *able)), UNCHANGED)


def updates_in(release: Release) -> int:
    """How many updates of members ``release`` counts."""
    return sum(not each.is_child for each in release.used)


def flaw(release: Release, base: Release, charter: Charter) -> tuple[str, str] | None:
    """What is wrong with how ``release`` came to its rule, as a reason and a sentence: its votes, taken as they are
    quoted, must refuse everything before it and pass it; and with its season and how it says that its branch stands."""
    unsound = season_flaw(release, base)
    if unsound is not None or is_turn(release):
        return unsound
    unsound = standing_flaw(release, base)
    if unsound is not None or is_restated(release):
        return unsound
    rules, attempts = rules_of(charter, updates_in(release)), release.refused
    tried = (*(each.rule for each in attempts), release.rule)
    if tried != rules[: len(tried)] or release.f != charter.round.f:
        asked = f"{charter.round.rule} with f = {charter.round.f}"
        return "wrong-rule", f"The charter asks for {asked}, and then for the stricter rules in order"
    sample = sample_of(base, charter)
    for votes in (*(each.votes for each in attempts), release.votes):
        voters = [each.voter for each in votes]
        if voters != sorted(set(voters)) or not set(voters).issubset(sample):
            return "wrong-voters", "The proposal quotes votes of others than the round's voters, or twice"
    if any(passes(each.votes, charter) for each in attempts):
        return "passed-over", "The proposal passes over sums that the votes did not refuse"
    if release.rule == UNCHANGED:
        said = (release.change, release.change_size, release.narrowed_to)
        same = (release.adapter, release.adapter_size) == (base.adapter, base.adapter_size)
        if said != (b"", 0, 0) or not same or release.votes:
            return "false-release", "The proposal says that it changes nothing, and does"
    elif not (release.lift and not updates_in(release)) and not passes(release.votes, charter):
        return "refused-by-vote", "The votes that the proposal quotes are against it"
    return None
