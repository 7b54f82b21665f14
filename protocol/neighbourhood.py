"""Whose models a node mixes with its own: siblings of its branch, and a few cousins from the branches beside it.

Two nodes that know the same members choose the same pairs, with no word between them: pairs are ranked by a hash that
is the same from both ends. Who wants to stand beside a victim has to make keys, and have them admitted, until one is
drawn there; how many liars a neighbourhood survives is the ``f`` of the charter's mixing policy, and at most so many of
a node's neighbours are guests.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from banyan.protocol.delta import blob_bytes
from banyan.protocol.effects import Digest, Effect, FetchBlob, Inspect, Inspected
from banyan.protocol.events import Event, StateLeftOut
from banyan.protocol.members import Members
from banyan.protocol.messages import State
from banyan.protocol.paths import parent_of
from banyan.protocol.records import Record, Records
from banyan.protocol.round import Status
from banyan.security.admission import Reason, check_size
from banyan.security.charter import Charter
from banyan.security.credential import Credential, is_guest
from banyan.security.errors import Refused

__all__ = ["Host", "Neighbourhood", "Offer", "closest", "kin_of"]


def kin_of(path: str, branches: Iterable[str]) -> tuple[str, ...]:
    """The branches next to ``path``: its parent, its children and its parent's other children. Being kin is mutual."""
    above = parent_of(path)
    return tuple(
        each for each in branches if each != path and (each == above or parent_of(each) in (path, above))
    )


def closest(me: str, others: Iterable[str], most: int) -> list[str]:
    """Up to ``most`` of ``others``, by rendezvous hashing of the pair (Thaler and Ravishankar, 1998): a random graph
    that stays as it is while others come and go, and in which most choices are mutual."""
    return sorted(sorted(others, key=lambda other: _rank(*sorted((me, other))))[:most])


@lru_cache(maxsize=1 << 16)
def _rank(one: str, other: str) -> bytes:
    return hashlib.sha256(f"banyan/neighbours/1|{one}|{other}".encode()).digest()


@dataclass(slots=True)
class Offer:
    """A neighbour's newest state, and what this node has found out about it."""

    record: Record
    state: State
    status: Status = Status.FETCHING
    reason: Reason | None = None

    @property
    def author(self) -> str:
        return self.record.envelope.author


class Host(Protocol):
    """What a neighbourhood needs of the node it lives at."""

    now: int
    me: str
    charter: Charter
    records: Records
    members: Members
    refusals: Counter[str]

    def do(self, effect: Effect) -> None: ...
    def tell(self, event: Event) -> None: ...
    def check_member(self, node: str, branch: str, credential: Credential) -> None: ...


class Neighbourhood:
    """The states of a node's neighbours, on their way through admission.

    Args:
        host: the node.
        path: the branch it works on.
        branches: the branches whose members may be neighbours.
        allowed: the only nodes that may be, for experiments on a given graph; None: chosen by kinship.
    """

    def __init__(
        self, host: Host, path: str, branches: tuple[str, ...], allowed: frozenset[str] | None
    ) -> None:
        self._host = host
        self._path = path
        self.branches = branches
        self._allowed = allowed
        self._policy = host.charter.mixing
        self._offers: dict[str, Offer] = {}
        self._season = 0
        self._stale: dict[str, Digest] = {}

    # ------------------------------------------------------------------------------------ who and what

    def ready(self, step: int) -> list[Offer]:
        """The offers that may be mixed at ``step``: admitted, and not too far behind."""
        oldest = step - self._policy.staleness
        admitted = (offer for offer in self._offers.values() if offer.status is Status.ADMITTED)
        return [offer for offer in admitted if offer.state.step >= oldest]

    def missing(self, step: int) -> tuple[str, ...]:
        """Neighbours that have not yet come to ``step``, or whose model is not here yet."""
        return tuple(
            author
            for author, offer in self._offers.items()
            if offer.status is not Status.REFUSED
            and not is_guest(offer.state.credential, self._host.charter)  # no step waits for a guest
            and (offer.status is not Status.ADMITTED or offer.state.step < step)
        )

    def status(self) -> dict[str, str]:
        """What has become of each neighbour's newest state."""
        return {
            author: offer.reason.value if offer.reason else offer.status.value
            for author, offer in sorted(self._offers.items())
        }

    def keep(self) -> set[Digest]:
        """The blobs that must not be collected."""
        return {offer.state.blob for offer in self._offers.values()}

    def clear(self) -> None:
        """Begin anew."""
        self._offers = {}

    # ------------------------------------------------------------------------------------ admission

    def check(self, record: Record, state: State) -> None:
        """Whether a state may be kept. Raises ``Refused``."""
        author = record.envelope.author
        self._host.check_member(author, state.branch, state.credential)
        if author in self._host.members.quarantined:
            raise Refused("quarantined", "The node is shut out")
        if is_guest(state.credential, self._host.charter):
            self._host.members.welcome(author, state.branch, self._host.now)
        spec, codec = self._host.charter.adapter_at(self._path), self._host.charter.round.codec
        check_size(state.size, blob_bytes(spec, codec))

    def meet(self, height: int, season: int) -> None:
        """Look who is near at the release ``height``, which is of ``season``, and bring the models that are new."""
        self._season = season
        known, self._offers = self._offers, {}
        for record, state in self._near(height):
            offer = known.get(record.envelope.author)
            fresh = offer is None or offer.record.id != record.id
            offer = Offer(record, state) if offer is None or fresh else offer
            self._offers[offer.author] = offer
            if fresh:
                self._fetch(offer)

    def leave_behind(self, step: int) -> None:
        """Say of each state that is too far behind ``step`` that it will not be mixed, once."""
        for author, offer in self._offers.items():
            behind = offer.state.step < step - self._policy.staleness
            if behind and offer.status is Status.ADMITTED and self._stale.get(author) != offer.record.id:
                self._stale[author] = offer.record.id
                self._leave_out(author, offer.state, Reason.STALE_STATE)

    def retry(self) -> None:
        """Ask again for what could not be fetched."""
        for offer in self._offers.values():
            if offer.reason is Reason.UNAVAILABLE:
                self._fetch(offer)

    def blob_fetched(self, blob: Digest, error: str | None) -> None:
        """A neighbour's model could not be brought: it is tried again."""
        if error is not None:
            # Whoever served something else is at fault, not the author: its hash is what it signed.
            for offer in self._undecided(blob):
                offer.reason = Reason.UNAVAILABLE

    def inspected(self, result: Inspected) -> None:
        """A neighbour's model was brought, decoded and measured; a whole model starts from nothing."""
        for offer in self._undecided(result.digest):
            if result.refusal is not None:
                self._refuse(offer, Reason(result.refusal), result.detail)
            elif result.base:
                self._refuse(offer, Reason.WRONG_BASE)
            else:
                offer.status, offer.reason = Status.ADMITTED, None

    def _near(self, height: int) -> list[tuple[Record, State]]:
        """The newest states of neighbours at ``height`` that are alive and have not been silent for too long."""
        patience = (1 + self._policy.staleness) * self._host.charter.round.deadline
        states: dict[str, tuple[Record, State]] = {}
        siblings, cousins, guests = list[str](), list[str](), list[str]()
        for member in self._host.members.live(self._host.now):
            record = self._host.records.at("state", member.branch, member.node)
            state = record.body if record is not None else None
            if record is None or not isinstance(state, State) or member.node == self._host.me:
                continue
            if state.branch not in self.branches or state.height != height:
                continue
            if record.envelope.time < self._host.now - patience:
                continue
            states[member.node] = (record, state)
            (siblings if member.branch == self._path else cousins).append(member.node)
            if is_guest(state.credential, self._host.charter):
                guests.append(member.node)
        if self._allowed is not None:
            return [states[node] for node in sorted(states.keys() & self._allowed)]
        me, policy = self._host.me, self._policy
        if guests:
            away = set(guests) - set(closest(me, guests, policy.f))
            siblings = [node for node in siblings if node not in away]
            cousins = [node for node in cousins if node not in away]
        chosen = [*closest(me, siblings, policy.siblings), *closest(me, cousins, policy.cousins)]
        return [states[node] for node in chosen]

    def _fetch(self, offer: Offer) -> None:
        offer.status, offer.reason = Status.FETCHING, None
        others = tuple(node for node in self._offers if node != offer.author)
        blob = offer.state.blob
        inspect = Inspect(blob, self._path, self._season)
        self._host.do(FetchBlob(blob, offer.state.size, (offer.author, *others), inspect))

    def _undecided(self, blob: Digest) -> list[Offer]:
        here = self._offers.values()
        return [each for each in here if each.state.blob == blob and each.status is Status.FETCHING]

    def _refuse(self, offer: Offer, reason: Reason, detail: str = "") -> None:
        offer.status, offer.reason = Status.REFUSED, reason
        self._leave_out(offer.author, offer.state, reason, detail)

    def _leave_out(self, author: str, state: State, reason: Reason, detail: str = "") -> None:
        self._host.refusals[reason.value] += 1
        why = detail or reason.sentence
        self._host.tell(StateLeftOut(state.branch, state.height, state.step, author, reason.value, why))
