"""Lies of a committee member: two words for one slot, false sums, silence, false votes and picked ones."""

from __future__ import annotations

from dataclasses import replace

from banyan.aggregation.encoding import encode
from banyan.protocol.delta import write_delta
from banyan.protocol.messages import Proposal, State, Trial, Update, read_body
from banyan.security.envelope import Envelope
from banyan.simulations.attacks.attacker import Attack, Ballot, Told

__all__ = ["Equivocate", "LyingLeader", "PickVotes", "SilentLeader", "VoteAgainst", "VoteNever", "VoteTwice"]


class Equivocate(Attack):
    """Send one half of the committee, or of the neighbours, another update than the other half."""

    def say(self, envelope: Envelope) -> Told | None:
        if envelope.kind not in ("update", "state"):
            return None
        kind: type[Update | State] = Update if envelope.kind == "update" else State
        told = read_body(envelope, kind)
        base = told.base if isinstance(told, Update) else b""
        other = self.encoded(-self.change(self.blobs.read(told.blob)), base)
        twin = replace(told, blob=self.blobs.put(other), size=len(other))
        half = len(self.audience) // 2
        return [(self.audience[:half], envelope.data), (self.audience[half:], self.seal(envelope, twin))]


class LyingLeader(Attack):
    """When leading, propose sums that the signed updates do not give: the negative of the true ones."""

    def say(self, envelope: Envelope) -> Told | None:
        if envelope.kind != "proposal":
            return None
        proposal = read_body(envelope, Proposal)
        lie = encode(-self.change(self.blobs.read(proposal.release.change)), "float32")
        change = self.blobs.put(
            write_delta(lie, spec=self.charter.adapter, base=b"", season=proposal.release.season)
        )
        release = replace(proposal.release, change=change, adapter=change)
        return [(self.audience, self.seal(envelope, replace(proposal, release=release)))]


class SilentLeader(Attack):
    """When leading, say nothing."""

    def say(self, envelope: Envelope) -> Told | None:
        return [] if envelope.kind == "proposal" else None


class VoteAgainst(Attack):
    """Say of every release that it is much worse than the head."""

    ballot: Ballot = "against"


class VoteNever(Attack):
    """Never say what a release is worth."""

    ballot: Ballot = "none"


class VoteTwice(Attack):
    """Tell one half of the committee the opposite of what the other half hears of a release."""

    def say(self, envelope: Envelope) -> Told | None:
        if envelope.kind != "trial":
            return None
        trial = read_body(envelope, Trial)
        twin = replace(trial, change=1.0 - (trial.change or 0.0), rows=max(1, trial.rows))
        half = len(self.audience) // 2
        return [(self.audience[:half], envelope.data), (self.audience[half:], self.seal(envelope, twin))]


class PickVotes(Attack):
    """When leading, have drafts tried by nobody and propose them as if all had kept silent."""

    def say(self, envelope: Envelope) -> Told | None:
        if envelope.kind == "draft":
            return []
        if envelope.kind != "proposal":
            return None
        proposal = read_body(envelope, Proposal)
        release = replace(proposal.release, votes=())
        return [(self.audience, self.seal(envelope, replace(proposal, release=release)))]
