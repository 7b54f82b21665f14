"""The signed records a node holds, indexed for what the protocol asks of them.

Every record fills a *slot* (one update an author and round, one vote a member, view and phase, one release a
branch and height …) and belongs to one *topic*, the unit of gossip and sync:

- ``net``: what every node of the network must know (evidence, revocations, seasons, cards, branches founded since the
  charter);
- ``/en/medical``: a branch's members, and everyone below it: the opening, certified releases;
- ``/en/medical!``: the same, without those who follow the branch for a seat above it: presences;
- ``/en/medical#``: the branch's current committee: updates, drafts, trials, proposals, votes of the running round;
- ``/en/medical~``: those who mix with the branch's members: where their own models stand.

Two nodes with equal :meth:`Records.fingerprint` of a topic hold equal sets of its records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from banyan.protocol.card import Card
from banyan.protocol.messages import (
    Accusation,
    BranchFounding,
    CertifiedRelease,
    Consent,
    Draft,
    Opening,
    Presence,
    Proposal,
    State,
    Trial,
    Update,
    Vote,
)
from banyan.protocol.season import Season
from banyan.security.envelope import Envelope
from banyan.security.quick import quick
from banyan.security.revocation import Revocation

__all__ = [
    "MARK_BYTES",
    "NETWORK_TOPIC",
    "Added",
    "Record",
    "Records",
    "archive_topic",
    "committee_topic",
    "mixing_topic",
    "occasion_of",
    "presence_topic",
    "record_of",
    "slot_of",
]

NETWORK_TOPIC: Final = "net"
MARK_BYTES: Final = 12
Slot: TypeAlias = tuple[str | int, ...]


def presence_topic(branch: str) -> str:
    """The topic of who works on a branch."""
    return branch + "!"


def committee_topic(branch: str) -> str:
    """The topic of a branch's running round."""
    return branch + "#"


def mixing_topic(branch: str) -> str:
    """The topic of the models that a branch's members have reached on their own."""
    return branch + "~"


def archive_topic(branch: str) -> str:
    """Where the updates of a branch's last closed rounds wait for auditors."""
    return branch + "@"


@quick
@dataclass(frozen=True, slots=True)
class Record:
    """A verified envelope with its parsed ``body``, its place and its name in sync."""

    envelope: Envelope
    body: object
    topic: str
    slot: Slot
    mark: bytes

    @property
    def id(self) -> bytes:
        return self.envelope.id


def slot_of(author: str, body: object) -> Slot:
    """The slot that ``body`` of ``author`` fills. An honest author never fills one with two different bodies
    (but for presences, states and cards, where the newest counts)."""
    match body:
        case Presence():
            return ("presence", body.branch, author)
        case Update():
            return ("update", body.branch, body.height, author)
        case State():
            return ("state", body.branch, author)
        case Draft():
            return ("draft", body.branch, body.height, body.view, body.attempt, author)
        case Trial():
            return ("trial", body.branch, body.height, body.adapter.hex(), author)
        case Proposal():
            return ("proposal", body.branch, body.height, body.view, author)
        case Vote():
            return ("vote", body.branch, body.height, body.view, body.phase, author)
        case Opening():
            return ("release", body.release.branch, 0)
        case CertifiedRelease():
            return ("release", body.release.branch, body.release.height)
        case Accusation():
            return ("accusation", body.culprit)
        case Revocation():
            return ("revocation", body.subject)
        case Season():
            return ("season", body.number)
        case Card():
            return ("card", body.branch)
        case BranchFounding():
            return ("founding", author, body.number)
        case Consent():
            return ("consent", body.branch, author)
    raise TypeError(f"{type(body).__name__} is not kept")


def occasion_of(author: str, body: object) -> Slot | None:
    """What ``author`` may say one thing only about: two different bodies for it prove a cheat. None for bodies that
    may be said again in other words, or that are not one author's alone."""
    match body:
        case Update() | Draft() | Trial() | Proposal() | Vote() | Opening() | BranchFounding():
            return slot_of(author, body)
        case State():
            return (*slot_of(author, body), body.height, body.step)
    return None


def record_of(envelope: Envelope, body: object) -> Record:
    """Place a verified envelope. What different nodes may word differently (a certificate holds any quorum of
    votes, evidence any proof) is named by its substance, so that all nodes end with equal sets."""
    slot = slot_of(envelope.author, body)
    name = envelope.id
    match body:
        case Presence():
            topic = presence_topic(body.branch)
        case Update() | Draft() | Trial() | Proposal() | Vote():
            topic = committee_topic(body.branch)
        case State():
            topic = mixing_topic(body.branch)
        case Opening() | CertifiedRelease():
            topic, name = body.release.branch, body.release.digest
        case Card() | BranchFounding():
            topic = NETWORK_TOPIC
        case _:
            topic, name = NETWORK_TOPIC, hashlib.sha256(repr(slot).encode()).digest()
    return Record(envelope, body, topic, slot, name[:MARK_BYTES])


def _turn(record: Record) -> tuple[int, ...]:
    """Orders the records that follow each other in one slot; equal where only one may ever stand there."""
    match body := record.body:
        case Presence():
            return (record.envelope.seq,)
        case State():
            return (body.height, body.step)
        case Card():  # of two that were signed in one moment the same one counts everywhere
            return (record.envelope.time, int.from_bytes(record.mark, "big"))
    return ()


class Added(Enum):
    """What became of a record offered to :meth:`Records.add`."""

    NEW = "new"
    KNOWN = "known"
    OLDER = "older"
    CONFLICT = "conflict"


class Records:
    """The set of records of one node, in memory; the driver keeps them on disk by the core's effects."""

    def __init__(self) -> None:
        self._slots: dict[Slot, Record] = {}
        self._topics: dict[str, dict[bytes, Record]] = {}
        self._by_id: dict[bytes, Record] = {}
        self._fingerprints: dict[str, bytes] = {}

    def add(self, record: Record) -> tuple[Added, Record | None]:
        """Take ``record`` in, unless its slot is filled.

        Returns what happened and the record that stood in the slot before: replaced if NEW, still standing
        if OLDER or CONFLICT.
        """
        standing = self._slots.get(record.slot)
        if standing is not None:
            renewable = isinstance(record.body, Presence)
            if standing.mark == record.mark or (standing.body == record.body and not renewable):
                return Added.KNOWN, standing
            turn, before = _turn(record), _turn(standing)
            if turn == before and not renewable:
                return Added.CONFLICT, standing
            if turn <= before:
                return Added.OLDER, standing
            self.remove(standing)
        self._slots[record.slot] = record
        self._topics.setdefault(record.topic, {})[record.mark] = record
        self._by_id[record.id] = record
        self._fingerprints.pop(record.topic, None)
        return Added.NEW, standing

    def remove(self, record: Record) -> None:
        """Forget ``record`` if it is held."""
        if self._by_id.pop(record.id, None) is not None:
            del self._slots[record.slot]
            del self._topics[record.topic][record.mark]
            self._fingerprints.pop(record.topic, None)

    def archive(self, record: Record) -> None:
        """Keep ``record`` for auditors, out of sync: its round is over."""
        self.remove(record)
        topic = archive_topic(record.topic.removesuffix("#"))
        self.add(Record(record.envelope, record.body, topic, record.slot, record.mark))

    def __contains__(self, record_id: bytes) -> bool:
        return record_id in self._by_id

    def get(self, record_id: bytes) -> Record | None:
        """The record whose envelope has this id."""
        return self._by_id.get(record_id)

    def at(self, *slot: str | int) -> Record | None:
        """The record in a slot."""
        return self._slots.get(slot)

    def marked(self, topic: str, mark: bytes) -> Record | None:
        """The record of ``topic`` with this mark."""
        return self._topics.get(topic, {}).get(mark)

    def of(self, topic: str) -> list[Record]:
        """Every record of ``topic``, in the order of their marks."""
        held = self._topics.get(topic, {})
        return [held[mark] for mark in sorted(held)]

    def each(self, topic: str) -> Iterable[Record]:
        """Every record of ``topic``, in no order that nodes share."""
        return self._topics.get(topic, {}).values()

    def marks(self, topic: str, first: int = 0, last: int = 255) -> list[bytes]:
        """The sorted marks of ``topic`` (releases apart: those are synced by height) with first byte in range."""
        held = self._topics.get(topic, {})
        return sorted(
            mark for mark, record in held.items() if first <= mark[0] <= last and record.slot[0] != "release"
        )

    def fingerprint(self, topic: str) -> bytes:
        """Eight bytes that are equal exactly where the sets of :meth:`marks` are."""
        known = self._fingerprints.get(topic)
        if known is None:
            known = hashlib.sha256(b"".join(self.marks(topic))).digest()[:8]
            self._fingerprints[topic] = known
        return known

    def drop_where(self, topic: str, obsolete: Callable[[Record], bool]) -> list[Record]:
        """Forget the records of ``topic`` that are ``obsolete``; returns them in the order in which they came."""
        gone = [record for record in self._topics.get(topic, {}).values() if obsolete(record)]
        for record in gone:
            self.remove(record)
        return gone

    def drop_branch(self, branch: str) -> list[Record]:
        """Forget every record of ``branch``, in whatever topic; returns them."""
        topics = (branch, presence_topic(branch), committee_topic(branch), archive_topic(branch))
        return [record for topic in topics for record in self.drop_where(topic, lambda record: True)]

    def all(self) -> Iterable[Record]:
        return self._by_id.values()
