"""Where each peer may be found, and how that went: bounded, and kept across restarts as a plain dictionary.

An address somebody spoke of is only a candidate. When the book is full, those go first, then peers that were
reached, the longest ago first, and last those that this node's owner named: a peer that floods us with
invented nodes displaces nobody we know, and one that connects under many names nobody whom we chose.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum

from banyan.node.network.addresses import Address, BadAddress
from banyan.node.network.transport import Candidate, NodeId

PEERS = 512
ADDRESSES_PER_PEER = 8
#: Redial delays double from the first to the last. Milliseconds.
FIRST_DELAY = 500
LAST_DELAY = 60_000


class Standing(IntEnum):
    """How well a peer is known. All but the merely told are peers to stay connected with."""

    TOLD = 0
    REACHED = 1
    NAMED = 2


@dataclass(slots=True)
class _Place:
    """One address: when it last worked (ms, 0: never), and failures since."""

    reached: int = 0
    failures: int = 0


@dataclass(slots=True)
class _Entry:
    """One peer: how well known, when last reached and tried (ms), and failures since."""

    places: dict[str, _Place] = field(default_factory=dict)
    standing: Standing = Standing.TOLD
    reached: int = 0
    failures: int = 0
    tried: int = 0

    @property
    def due_at(self) -> int:
        """When to try again."""
        if not self.tried:
            return 0
        return self.tried + min(LAST_DELAY, FIRST_DELAY << min(self.failures, 16))


class AddressBook:
    """Candidates per peer. Times are milliseconds since the epoch, given by the caller."""

    def __init__(self, own_id: NodeId) -> None:
        self._own_id = own_id
        self._entries: dict[NodeId, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, addresses: Iterable[str], *, only: NodeId | None = None, wanted: bool = False) -> None:
        """Note candidates. ``only``: those of this peer, for what a peer says of itself.

        ``wanted``: the owner named these, to stay connected with. Raises BadAddress at the first that is
        none; what came before it is kept.
        """
        for text in addresses:
            address = Address.parse(text)
            if address.peer == self._own_id or (only is not None and address.peer != only):
                continue
            entry = self._entry(address.peer, Standing.NAMED if wanted else Standing.TOLD)
            if entry is None:
                continue
            if text not in entry.places and len(entry.places) >= ADDRESSES_PER_PEER:
                worst = min(entry.places, key=lambda a: (entry.places[a].reached, -entry.places[a].failures))
                if entry.places[worst].reached and not entry.places[worst].failures:
                    continue
                del entry.places[worst]
            entry.places.setdefault(text, _Place())

    def candidates(self, peer: NodeId) -> tuple[str, ...]:
        """The addresses of ``peer``, the most promising first: fewest failures, then most recently reached."""
        entry = self._entries.get(peer)
        if entry is None:
            return ()
        return tuple(sorted(entry.places, key=lambda a: (entry.places[a].failures, -entry.places[a].reached)))

    def due(self, now: int) -> list[NodeId]:
        """Peers to stay connected with whose next attempt is due, the longest untried first."""
        return self._due(now, {Standing.REACHED, Standing.NAMED})

    def strangers(self, now: int) -> list[NodeId]:
        """The same for peers that we were only told of."""
        return self._due(now, {Standing.TOLD})

    def next_due(self, *, without: Collection[NodeId]) -> int | None:
        """When the next attempt at a peer to stay connected with is due; None if all are connected."""
        return min((e.due_at for peer, e in self._known() if peer not in without), default=None)

    def recent(self, limit: int, *, without: NodeId) -> list[Candidate]:
        """The peers that were connected most recently, and where: what is worth telling others.

        Addresses that worked come first, then those that the peer gave of itself.
        """
        known = [(e.reached, peer) for peer, e in self._known() if e.reached and peer != without]
        return [Candidate(peer, self.candidates(peer)) for _, peer in sorted(known, reverse=True)[:limit]]

    def reached(self, peer: NodeId, address: str | None, now: int) -> None:
        """``peer`` is connected; at ``address`` if we dialled it."""
        entry = self._entry(peer, Standing.REACHED)
        if entry is None:
            return
        entry.reached = entry.tried = now
        entry.failures = 0
        if address in entry.places:
            entry.places[address] = _Place(reached=now)

    def failed(self, peer: NodeId, addresses: Iterable[str], now: int) -> None:
        """No address of ``peer`` led to it."""
        entry = self._entries.get(peer)
        if entry is None:
            return
        entry.tried = now
        entry.failures += 1
        for address in addresses:
            if address in entry.places:
                entry.places[address].failures += 1

    def forget(self, peer: NodeId) -> None:
        """Do not dial ``peer`` any more."""
        self._entries.pop(peer, None)

    def export(self) -> dict[str, object]:
        """Plain values for the store: where the peers to stay connected with are, and when reached there."""
        return {
            peer: {text: place.reached for text, place in entry.places.items()}
            for peer, entry in self._known()
        }

    def restore(self, plain: Mapping[str, object]) -> None:
        """Take back what :meth:`export` gave; anything unreadable in it is left out."""
        for peer, places in plain.items():
            for text, reached in places.items() if isinstance(places, Mapping) else ():
                if not isinstance(text, str) or type(reached) is not int:
                    continue
                with suppress(BadAddress):
                    self.add([text], only=peer, wanted=True)
                entry = self._entries.get(peer)
                if entry is not None and text in entry.places:
                    entry.places[text].reached = reached
                    entry.reached = max(entry.reached, reached)

    def _known(self) -> Iterator[tuple[NodeId, _Entry]]:
        return ((p, e) for p, e in self._entries.items() if e.standing is not Standing.TOLD and e.places)

    def _due(self, now: int, standings: Collection[Standing]) -> list[NodeId]:
        waiting = [
            (entry.tried, peer)
            for peer, entry in self._entries.items()
            if entry.standing in standings and entry.places and entry.due_at <= now
        ]
        return [peer for _, peer in sorted(waiting)]

    def _entry(self, peer: NodeId, standing: Standing) -> _Entry | None:
        """The entry of ``peer``, made if there is room or somebody less known to displace."""
        entry = self._entries.get(peer)
        if entry is None:
            if len(self._entries) >= PEERS:
                worst = min(
                    self._entries, key=lambda p: (self._entries[p].standing, self._entries[p].reached)
                )
                if self._entries[worst].standing > standing:
                    return None
                del self._entries[worst]
            entry = self._entries[peer] = _Entry()
        entry.standing = max(entry.standing, standing)
        return entry
