"""Records that say how things stand, and are forgotten once that is long ago: presences and states.

A certified release that counted a node's work is a sign of life of that node, too: see
:meth:`~banyan.protocol.members.Members.worked`.
"""

from __future__ import annotations

from typing import Final

from banyan.protocol.card import Card
from banyan.protocol.effects import NodeId
from banyan.protocol.members import Members
from banyan.protocol.messages import Presence, State
from banyan.protocol.records import Record
from banyan.security.charter import Charter
from banyan.security.credential import is_guest

__all__ = ["Signs"]

SIGNS_OF_LIFE: Final = 4
"""Presences, states, and cards of one branch, of one author that are passed on in one presence interval."""

AGEING: Final = (Presence, State)

STATE_LIFETIME: Final = 8
"""Deadlines that a state of a member that says nothing more is kept, at least a day in all."""

DAY: Final = 24 * 3_600_000


class Signs:
    """How old the signs of others are, and whether they come too often.

    Args:
        charter: the network's dials.
        me: this node.
        members: who is there.
    """

    def __init__(self, charter: Charter, me: NodeId, members: Members) -> None:
        self._charter = charter
        self._me = me
        self._members = members
        self._lively: dict[tuple[NodeId, object], tuple[int, int]] = {}

    def is_old(self, record: Record, now: int) -> bool:
        """Whether ``record`` says how things stood so long ago that it counts no more."""
        if type(record.body) not in AGEING:
            return False
        lifetime = self._lifetime(record)
        return lifetime is not None and self._age(record, now) > lifetime

    def is_forgotten(self, record: Record, now: int) -> bool:
        """Whether it need not even be remembered: after twice as long, or once a guest's place is another's."""
        if type(record.body) not in AGEING:
            return False
        author = record.envelope.author
        if self.is_guests(record) and author != self._me and not self._members.is_guest(author):
            return True
        lifetime = self._lifetime(record)
        return lifetime is not None and self._age(record, now) > 2 * lifetime

    def is_too_lively(self, record: Record, now: int) -> bool:
        """Whether its author says something new so often that passing it all on would flood the network."""
        body = record.body
        if type(body) not in AGEING and not isinstance(body, Card):
            return False
        what = body.branch if isinstance(body, Card) else type(body)
        key, interval = (record.envelope.author, what), self._charter.gossip.presence_interval
        since, count = self._lively.get(key, (now, 0))
        if now - since >= interval:
            since, count = now, 0
        if len(self._lively) >= 4096:
            self._lively.clear()
        self._lively[key] = (since, count + 1)
        return count >= SIGNS_OF_LIFE

    def is_guests(self, record: Record) -> bool:
        """Whether a guest shows with this that it is there."""
        body = record.body
        if self._charter.admission != "open" or not isinstance(body, Presence | State):
            return False
        return is_guest(body.credential, self._charter)

    def _lifetime(self, record: Record) -> int | None:
        """How long (ms) a record of one of the kinds that age counts."""
        match record.body:
            case Presence():
                return self._charter.gossip.presence_lifetime
            case State():
                return max(DAY, STATE_LIFETIME * self._charter.round.deadline)
        return None

    def _age(self, record: Record, now: int) -> int:
        """ms since a record was signed; a presence is as fresh as its author's last sign of life."""
        time = record.envelope.time
        if isinstance(record.body, Presence):
            time = self._members.last_sign(record.envelope.author, time)
        return now - time
