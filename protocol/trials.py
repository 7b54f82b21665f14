"""One node's part in trying the drafts of one round: as a voter, as the leader who asks, as a judge of the votes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from banyan.protocol.agreement import faults_of
from banyan.protocol.amnesia import Amnesia
from banyan.protocol.delta import blob_bytes
from banyan.protocol.effects import Effect, Evaluate, Evaluated, FetchBlob, Send, SetTimer
from banyan.protocol.events import Event, ReleaseTried
from banyan.protocol.judgement import Open, Problem, Verdict
from banyan.protocol.messages import Draft, Trial
from banyan.protocol.records import Record, Records
from banyan.protocol.release import Release, TrialVote
from banyan.protocol.validation import (
    enough_of,
    limited,
    medians,
    sample_of,
)
from banyan.security.admission import Reason
from banyan.security.charter import Charter
from banyan.security.errors import Refused

__all__ = ["Trials"]

QUOTE_BYTES: Final = 192
"""More than a quoted vote takes in a release."""


class Host(Protocol):
    """What trials need of the node they happen at."""

    amnesia: Amnesia
    now: int
    me: str
    charter: Charter
    records: Records

    @property
    def quarantined(self) -> Mapping[str, Reason]: ...
    def do(self, effect: Effect) -> None: ...
    def tell(self, event: Event) -> None: ...
    def publish(self, message: object, *, push: bool = True) -> Record: ...
    def has_blob(self, digest: bytes) -> bool: ...
    def adapters_above(self, path: str) -> tuple[bytes, ...]: ...
    def probe_of(self, path: str) -> bytes | None: ...
    def awaits_probe(self, path: str) -> bool: ...


class Trials:
    """The round after ``base``, which ``committee`` closes.

    A draft is a model, known by its adapter. What one leader has had tried need not be tried again for the next.
    """

    def __init__(self, host: Host, base: Release, committee: Sequence[str]) -> None:
        self._host = host
        self._charter = host.charter
        self._base = base
        self._committee = committee
        self.sample = sample_of(base, host.charter)
        self._drafts: dict[bytes, Record] = {}
        self._drafted: Counter[str] = Counter()
        self._to_try: dict[bytes, Draft] = {}
        self._trying: set[bytes] = set()
        self._votes: dict[bytes, dict[str, TrialVote]] = {}
        self._said: Counter[str] = Counter()
        self._waiting_since: dict[bytes, int] = {}

    @property
    def is_on(self) -> bool:
        """Whether anything is tried in this round."""
        return bool(self.sample)

    @property
    def room(self) -> int:
        """Bytes that the votes on all attempts may take in a release."""
        return (self._attempts + 1) * len(self.sample) * QUOTE_BYTES if self.is_on else 0

    def keep(self) -> set[bytes]:
        """The blobs that this node tries or brings to others."""
        return set(self._drafts)

    # ------------------------------------------------------------------------------------ records come in

    def check_draft(self, draft: Draft, author: str) -> None:
        """Raises ``Refused``: ``not-leader``, ``too-many-drafts``, ``too-large``."""
        if not self._committee or author != self._committee[draft.view % len(self._committee)]:
            raise Refused("not-leader", f"{author} does not lead view {draft.view} of {draft.branch}")
        if not self.is_on or draft.attempt >= self._attempts or self._drafted[author] >= 2 * self._attempts:
            raise Refused("too-many-drafts", "The leader asks for more trials than a round has")
        if draft.size > blob_bytes(self._charter.adapter_at(draft.branch), "float32"):
            raise Refused("too-large", "The drafted model is larger than this network's adapters")

    def check_vote(self, trial: Trial, author: str) -> None:
        """Raises ``Refused``: ``not-a-voter``, ``too-many-trials``, ``says-nothing``."""
        silent = trial.change is None and trial.probed is None
        if silent or (trial.change is None) != (trial.rows == 0):
            raise Refused("says-nothing", "The vote does not say what it was measured on, or nothing at all")
        if author not in self.sample:
            raise Refused("not-a-voter", f"{author} is not among the voters of the round")
        if self._said[author] >= 2 * self._attempts * len(self._committee):
            raise Refused("too-many-trials", "The voter has tried more than there can be drafts")

    @property
    def _attempts(self) -> int:
        """How many rules a leader may come to."""
        return 1 + len(self._charter.validation.stricter)

    def take_draft(self, record: Record, draft: Draft) -> None:
        """A leader asks for a model to be tried."""
        self._drafted[record.envelope.author] += 1
        if draft.adapter in self._drafts:
            return
        self._drafts[draft.adapter] = record
        if self._helps(draft, record.envelope.author):
            self._ask(draft.adapter)
        if self._host.me in self.sample and not self._has_voted(self._host.me, draft.adapter):
            self._to_try[draft.adapter] = draft
            self._bring(draft)

    def take_vote(self, record: Record, trial: Trial) -> None:
        """A voter has tried a model."""
        author = record.envelope.author
        self._said[author] += 1
        self._votes.setdefault(trial.adapter, {})[author] = TrialVote(
            author, record.id, trial.change, trial.probed
        )

    def _helps(self, draft: Draft, leader: str) -> bool:
        """Whether to pass the draft on to the voters: the leader and as many after it as can be faulty do."""
        committee = list(self._committee)
        if self._host.me not in committee or self._host.me == leader:
            return False
        turn = (committee.index(self._host.me) - draft.view) % len(committee)
        return turn <= faults_of(len(committee))

    def _ask(self, adapter: bytes) -> None:
        """Bring the draft to the voters who have not voted. The committee has it from the leader."""
        silent = [node for node in self.sample if not self._has_voted(node, adapter)]
        to = tuple(node for node in silent if node not in self._committee)
        if to:
            self._host.do(Send(to, self._drafts[adapter].envelope.data))

    def _has_voted(self, node: str, adapter: bytes) -> bool:
        return node in self._votes.get(adapter, {})

    # ------------------------------------------------------------------------------------ as a voter

    def _bring(self, draft: Draft) -> None:
        """Fetch what it takes to try a draft; go on if all is here."""
        leader = self._drafts[draft.adapter].envelope.author
        sources = tuple(node for node in dict.fromkeys((leader, *self._committee)) if node != self._host.me)
        missing = self._missing(draft)
        for blob, size in missing.items():
            self._host.do(FetchBlob(blob, size, sources))
        if not missing:
            self._try(draft)

    def _missing(self, draft: Draft) -> dict[bytes, int]:
        """The blobs, and their sizes, that it takes to try a draft and that are not here."""
        wanted = {draft.adapter: draft.size, **dict(self._base.blobs)}
        return {blob: size for blob, size in wanted.items() if not self._host.has_blob(blob)}

    def go_on(self) -> None:
        """Try what has waited for the probe set alone."""
        for draft in [*self._to_try.values()]:
            if not self._missing(draft):
                self._try(draft)

    def _try(self, draft: Draft) -> None:
        if draft.adapter in self._trying or self._host.awaits_probe(self._base.branch):
            return
        if self._host.amnesia.covers(self._base):
            return  # we may have tried it before, and found another number
        self._trying.add(draft.adapter)
        above = self._host.adapters_above(self._base.branch)
        head = tuple(blob for blob, _ in self._base.blobs)
        earlier = tuple(blob for blob, _ in self._base.earlier)
        tried = (draft.adapter, self._base.lifted) if self._base.lifted else (draft.adapter,)
        models = ((*above, *head), (*above, *earlier, *tried))
        rows = self._charter.validation.rows
        branch, height = self._base.branch, self._base.height + 1
        self._host.do(Evaluate(branch, height, draft.adapter, models, rows, self._host.probe_of(branch)))

    def blob_fetched(self, error: str | None) -> None:
        """Something is here: perhaps what a trial waits for."""
        if error is None and self._to_try:
            for draft in [*self._to_try.values()]:
                if self._host.has_blob(draft.adapter):
                    self._bring(draft)

    def evaluated(self, event: Evaluated) -> None:
        """This node has tried a draft: say what came of it."""
        draft = self._to_try.pop(event.job, None)
        if draft is None:
            return
        change = _rise(event.losses) if event.rows > 0 else None
        probed = _rise(event.probed)
        if change is None and probed is None:
            return
        rows = event.rows if change is not None else 0
        trial = Trial(draft.branch, draft.height, draft.adapter, change, rows, probed)
        self.take_vote(self._host.publish(trial), trial)
        said = (draft.branch, draft.height, draft.adapter.hex(), change, rows, event.seconds, probed)
        self._host.tell(ReleaseTried(*said))

    def failed(self, job: bytes) -> None:
        """This node cannot try the draft, and says nothing."""
        self._to_try.pop(job, None)

    def retry(self) -> None:
        """Every sync interval: bring again, ask again and say again what may have got lost."""
        for draft in [*self._to_try.values()]:
            self._bring(draft)
        for adapter in self._waiting_since:
            if adapter in self._drafts:
                self._ask(adapter)
        mine = [votes[self._host.me].record for votes in self._votes.values() if self._host.me in votes]
        for record in filter(None, map(self._host.records.get, mine)):
            if self._host.now - record.envelope.time >= self._charter.gossip.sync_interval:
                to = tuple(node for node in self._committee if node != self._host.me)
                self._host.do(Send(to, record.envelope.data))

    # ------------------------------------------------------------------------------------ as the leader

    def call(self, view: int, attempt: int, adapter: bytes, size: int) -> bool:
        """Ask the voters to try a model of ours. False if we have asked for another one in this place before a restart:
        saying anything else now would be equivocation."""
        branch, height = self._base.branch, self._base.height + 1
        standing = self._host.records.at("draft", branch, height, view, attempt, self._host.me)
        if standing is not None and isinstance(standing.body, Draft) and standing.body.adapter != adapter:
            return False
        if standing is None:
            draft = Draft(branch, height, view, attempt, adapter, size)
            self.take_draft(self._host.publish(draft), draft)
        self.wait_for(adapter)
        return True

    def votes_on(self, adapter: bytes) -> tuple[TrialVote, ...]:
        """The votes on a model that are here, of those who are not shut out, in the order of their names."""
        here = self._votes.get(adapter, {})
        return tuple(here[node] for node in sorted(here) if node not in self._host.quarantined)

    def outcome(self, adapter: bytes) -> tuple[TrialVote, ...] | None:
        """The votes to decide by, once there are enough or the time for them is over."""
        votes = self.votes_on(adapter)
        over = self._has_waited(adapter)
        return votes if over or len(votes) >= enough_of(self.sample, self._charter) else None

    def wait_for(self, adapter: bytes) -> None:
        """Begin to wait for the votes on a model whose bytes are here for the voters; ask those who are silent."""
        if adapter not in self._waiting_since:
            self._waiting_since[adapter] = self._host.now
            due = self._host.now + self._charter.validation.deadline
            key = f"trial|{self._base.branch}|{self._base.height + 1}|{adapter.hex()}"
            self._host.do(SetTimer(key, due))
            if adapter in self._drafts:
                self._ask(adapter)

    def _has_waited(self, adapter: bytes) -> bool:
        since = self._waiting_since.get(adapter)
        return since is not None and self._host.now >= since + self._charter.validation.deadline

    # ------------------------------------------------------------------------------------ as a judge

    def doubt(self, adapter: bytes, quoted: Sequence[TrialVote]) -> Verdict:
        """What speaks against a leader's quotation of the votes on a model whose sums are right.

        A leader may miss f of the votes that are here, as it may miss updates, and must not choose among them. That too
        few have voted it may say only once we, too, have waited with the bytes in our hands.
        """
        here = {vote.voter: vote for vote in self.votes_on(adapter)}
        if any(vote.voter in self._host.quarantined for vote in quoted):
            return Problem("quarantined", "The proposal quotes the vote of somebody who is shut out")
        if any(here.get(vote.voter, vote) != vote for vote in quoted):
            return Problem("misquoted-vote", "The proposal quotes a vote otherwise than it was cast")
        unseen = [vote.record for vote in quoted if vote.voter not in here]
        if unseen:
            return Open(tuple(unseen))
        hidden = here.keys() - {vote.voter for vote in quoted}
        tried, known = medians(quoted, self._charter), medians([*here.values()], self._charter)
        if len(hidden) > self._charter.round.f or len(tried) < len(known):
            names = ", ".join(sorted(hidden))
            return Problem("censored-votes", f"The proposal leaves out votes that are here: {names}")
        if not tried and not self._has_waited(adapter):
            self.wait_for(adapter)
            return Open()
        return None


def _rise(losses: Sequence[float]) -> float | None:
    """By how much the second of two losses is above the first; None where they were not measured."""
    return limited(losses[1] - losses[0]) if len(losses) == 2 else None
