"""Anti-entropy: whoever was away, cut off or late ends with the same records as everyone else.

Pushing is the fast path; this is the guarantee. Every so often, and on every new connection, a node sends a
:class:`Summary` to one peer: per topic a fingerprint and the height of the branch's head. The peer answers with
what the two do not share: releases are compared by height, all else by the marks of its records. Two messages
bring any two nodes together, and equal nodes exchange 60 bytes a topic.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from banyan.protocol.messages import Bundle, Inventory, Summary, TopicSummary, Want
from banyan.protocol.records import Record, Records
from banyan.protocol.release import Release

__all__ = ["NO_RELEASES", "Sync", "room_in"]

MARKS_A_MESSAGE: Final = 2000
RELEASES_AN_ANSWER: Final = 64
NO_RELEASES: Final = 2**40
"""The ``above`` of a wish that asks for marked records only."""
TOPIC_BYTES: Final = 320
"""The most that one topic takes in a summary."""

OVERHEAD: Final = 2048
"""Bytes of a message that are not records: envelope, signature, lengths."""


def room_in(message_bytes: int) -> int:
    """The longest record, in bytes, that a bundle of ``message_bytes`` can bring."""
    return message_bytes - OVERHEAD


class Sync:
    """What to answer to another node's summary, inventory or wish. Pure: messages in, messages out.

    Args:
        records: the node's records.
        topics: the topics the node follows at the moment.
        head_of: the head of a branch, or None.
        message_bytes: the longest message of the network.
        start_of: the first height of a branch that is of use to a node without its head.
        asleep: topics that are answered for and not asked about.
    """

    def __init__(
        self,
        records: Records,
        topics: Callable[[], Iterable[str]],
        head_of: Callable[[str], Release | None],
        message_bytes: int,
        start_of: Callable[[str], int] = lambda branch: 0,
        asleep: Callable[[], Collection[str]] = lambda: (),
    ) -> None:
        self._records = records
        self._topics = topics
        self._head_of = head_of
        self._start_of = start_of
        self._asleep = asleep
        self._room = room_in(message_bytes)

    def summaries(self, presence: bytes = b"") -> Iterator[Summary]:
        """This node's side of a comparison: one message, unless it follows very many topics. Each shows ``presence``,
        since they may arrive in any order."""
        topics = sorted(set(self._topics()).difference(self._asleep()))
        step = max(1, min(256, (self._room - len(presence)) // TOPIC_BYTES))
        for first in range(0, len(topics), step):
            part = topics[first : first + step]
            yield Summary(tuple(self._summarise(topic) for topic in part), presence)

    def on_summary(self, theirs: Summary) -> Iterator[object]:
        """The messages that bring the sender and us together; nothing if we agree."""
        unanswered = set(self._topics())
        for other in theirs.topics:
            if other.topic not in unanswered:
                continue
            unanswered.remove(other.topic)  # who names a topic twice gets one answer
            mine = self._summarise(other.topic)
            ours, reach = _reach(mine), _reach(other)
            if mine.head and ours > reach:
                yield from self._bundles(self._releases_above(other.topic, reach))
            elif other.head and reach > ours:
                yield Want(other.topic, (), ours)
            elif (
                mine.head and other.head and other.head != mine.head
            ):  # two certified heads at one height: let both sides see
                yield from self._bundles(self._releases_above(other.topic, mine.height - 1))
            if other.fingerprint != mine.fingerprint:
                yield from self._inventories(other.topic)

    def on_inventory(self, theirs: Inventory, *, told: bool = False) -> Iterator[object]:
        """What they lack, and a wish for what we lack; no wish where they were ``told`` what we hold, since they answer
        that in the same way."""
        if theirs.topic not in set(self._topics()):
            return
        listed = set(theirs.marks)
        held = set(self._records.marks(theirs.topic, theirs.first, theirs.last))
        lacking = tuple(sorted(mark for mark in listed - held if theirs.first <= mark[0] <= theirs.last))
        if lacking and not told:
            yield Want(theirs.topic, lacking, NO_RELEASES)
        yield from self._bundles(self._marked(theirs.topic, sorted(held - listed)))

    def on_want(self, want: Want) -> Iterator[object]:
        """The records asked for, as far as we hold them, and a stretch of releases."""
        wanted = list(self._marked(want.topic, want.marks))
        yield from self._bundles(wanted + self._releases_above(want.topic, want.above))

    # -------------------------------------------------------------------------------------------------

    def _summarise(self, topic: str) -> TopicSummary:
        head = self._head_of(topic) if _is_branch(topic) else None
        fingerprint = self._records.fingerprint(topic)
        if head is None:
            return TopicSummary(topic, fingerprint, self._start_of(topic) if _is_branch(topic) else 0, b"")
        return TopicSummary(topic, fingerprint, head.height, head.digest)

    def _releases_above(self, branch: str, height: int) -> list[Record]:
        head = self._head_of(branch)
        if head is None:
            return []
        heights = range(height + 1, min(head.height, height + RELEASES_AN_ANSWER) + 1)
        found: list[Record] = []
        for each in heights:
            record = self._records.at("release", branch, each)
            if record is None:
                break  # we began later; what follows on a gap is of no use
            found.append(record)
        return found

    def _marked(self, topic: str, marks: Sequence[bytes]) -> Iterator[Record]:
        for mark in dict.fromkeys(marks):
            record = self._records.marked(topic, mark)
            if record is not None:
                yield record

    def _inventories(self, topic: str) -> Iterator[Inventory]:
        """The topic's marks in as many messages as they need, each covering a range of first bytes."""
        marks = self._records.marks(topic)
        first, part = 0, list[bytes]()
        for byte, same in groupby(marks, key=itemgetter(0)):
            bucket = list(same)
            if part and len(part) + len(bucket) > MARKS_A_MESSAGE:
                yield Inventory(topic, first, byte - 1, tuple(part))
                first, part = byte, []
            part += bucket
        yield Inventory(topic, first, 255, tuple(part))

    def _bundles(self, records: Iterable[Record]) -> Iterator[Bundle]:
        batch: list[bytes] = []
        size = 0
        for record in records:
            data = record.envelope.data
            if batch and (size + len(data) + 5 > self._room or len(batch) == 512):
                yield Bundle(tuple(batch))
                batch, size = [], 0
            batch.append(data)
            size += len(data) + 5
        if batch:
            yield Bundle(tuple(batch))


def _reach(summary: TopicSummary) -> int:
    """The height up to which the sender needs nothing."""
    return summary.height if summary.head else summary.height - 1


def _is_branch(topic: str) -> bool:
    return topic.startswith("/") and not topic.endswith(("#", "~", "!", "@"))
