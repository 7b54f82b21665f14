"""Two nodes that compare what they have end with equal sets, whatever each had before."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from banyan.protocol.messages import (
    Bundle,
    CertifiedRelease,
    Inventory,
    Summary,
    Vote,
    Want,
    body_of,
    read_body,
)
from banyan.protocol.records import Added, Record, Records, committee_topic, record_of
from banyan.protocol.release import Release, Seat, opening
from banyan.protocol.sync import MARKS_A_MESSAGE, Sync
from banyan.security.envelope import open_envelope, seal
from banyan.security.identity import Identity

NETWORK = bytes(32)
ADA = Identity.from_seed(hashlib.sha256(b"ada").digest())
TOPIC = committee_topic("/en")


def vote(number: int, value: bytes = b"") -> Record:
    body = Vote("/en", 1, number, "prevote", value, "")
    kind, plain = body_of(body)
    return record_of(seal(ADA, network=NETWORK, kind=kind, seq=number, time=0, body=plain), body)


VOTES = [vote(number) for number in range(60)]


class Node:
    """Records and their sync, with no network between."""

    def __init__(self, held: set[int], message_bytes: int = 65_536) -> None:
        self.records = Records()
        for number in held:
            self.records.add(VOTES[number])
        self.sync = Sync(self.records, lambda: [TOPIC], lambda branch: None, message_bytes)

    def hear(self, message: object) -> list[object]:
        match message:
            case Summary():
                return list(self.sync.on_summary(message))
            case Inventory():
                return list(self.sync.on_inventory(message))
            case Want():
                return list(self.sync.on_want(message))
            case Bundle():
                for data in message.records:
                    envelope = open_envelope(data, network=NETWORK)
                    self.records.add(record_of(envelope, read_body(envelope, Vote)))
        return []


def exchange(a: Node, b: Node) -> int:
    """One comparison started by ``a``; returns the messages it took."""
    count, mail = 0, [(b, a, next(a.sync.summaries()))]
    while mail:
        receiver, sender, message = mail.pop(0)
        count += 1
        mail += [(sender, receiver, answer) for answer in receiver.hear(message)]
    return count


@given(st.sets(st.integers(0, 59)), st.sets(st.integers(0, 59)), st.sampled_from([4096, 65_536]))
@settings(max_examples=60)
def test_one_comparison_makes_any_two_sets_equal(
    first: set[int], second: set[int], message_bytes: int
) -> None:
    a, b = Node(first, message_bytes), Node(second, message_bytes)
    exchange(a, b)
    assert a.records.marks(TOPIC) == b.records.marks(TOPIC)
    assert len(a.records.marks(TOPIC)) == len(first | second)
    assert a.records.fingerprint(TOPIC) == b.records.fingerprint(TOPIC)


def test_equal_nodes_exchange_one_message() -> None:
    assert exchange(Node({1, 2, 3}), Node({1, 2, 3})) == 1


def test_asking_for_one_thing_many_times_brings_it_once() -> None:
    """A message of 56 kB could once have 4,000 copies of a record packed, signed and sent."""
    node = Node({1})
    assert [len(each.records) for each in node.hear(Want(TOPIC, (VOTES[1].mark,) * 4000, -1))] == [1]  # type: ignore[attr-defined]
    summary = next(Node({2}).sync.summaries())
    assert len(node.hear(Summary(summary.topics * 256))) == 1


def test_topics_that_are_not_followed_are_not_told() -> None:
    stranger = Summary(())
    assert Node({1}).hear(stranger) == []
    assert list(Node({1}).sync.on_inventory(Inventory("/other", 0, 255, ()))) == []


def test_a_second_content_in_one_slot_is_a_conflict_and_the_first_stays() -> None:
    records = Records()
    assert records.add(vote(1))[0] is Added.NEW
    assert records.add(vote(1))[0] is Added.KNOWN
    added, standing = records.add(vote(1, bytes(32)))
    assert added is Added.CONFLICT
    assert standing is not None
    assert standing.body == vote(1).body
    assert len(records.marks(TOPIC)) == 1


def test_long_lists_of_marks_are_split_into_ranges_that_cover_everything() -> None:
    records = Records()
    for number in range(MARKS_A_MESSAGE + 500):
        record = VOTES[0]
        mark = hashlib.sha256(str(number).encode()).digest()[:12]
        object.__setattr__(copy := _copy(record), "mark", mark)
        object.__setattr__(copy, "slot", ("vote", number))
        records.add(copy)
    sync = Sync(records, lambda: [TOPIC], lambda branch: None, 65_536)
    other = Sync(Records(), lambda: [TOPIC], lambda branch: None, 65_536)
    inventories = [m for m in sync.on_summary(next(other.summaries())) if isinstance(m, Inventory)]
    assert len(inventories) > 1
    assert [each.first for each in inventories[1:]] == [each.last + 1 for each in inventories[:-1]]
    assert (inventories[0].first, inventories[-1].last) == (0, 255)
    assert sorted(mark for each in inventories for mark in each.marks) == records.marks(TOPIC)


def _copy(record: Record) -> Record:
    return Record(record.envelope, record.body, record.topic, record.slot, record.mark)


def history(node: Node, first: int, last: int) -> Release:
    """Give ``node`` the releases of ``/en`` from height ``first`` on; returns its head."""
    for height in range(first, last + 1):
        head = replace(opening("/en", [Seat("ada", 0, "/en")], 0), height=height)
        body = CertifiedRelease(head, "ada", 0, (b"x",))
        kind, plain = body_of(body)
        node.records.add(
            record_of(seal(ADA, network=NETWORK, kind=kind, seq=height, time=0, body=plain), body)
        )
    return head


def follower(first: int, head: list[Release], start: int = 0) -> Node:
    """A node that follows ``/en`` and says that it needs nothing below ``start``."""
    node = Node(set())
    node.sync = Sync(
        node.records, lambda: ["/en"], lambda branch: head[0] if head else None, 65_536, lambda b: start
    )
    if head:
        history(node, first, head[0].height)
    return node


def test_who_begins_a_history_late_is_sent_nothing_from_before() -> None:
    head = history(Node(set()), 0, 9)
    old, new = follower(0, [head]), follower(0, [], start=7)
    (want,) = new.hear(next(old.sync.summaries()))
    assert isinstance(want, Want)
    assert want.above == 6
    (bundle,) = old.hear(next(new.sync.summaries()))
    assert isinstance(bundle, Bundle)
    assert len(bundle.records) == 3
    assert [*old.hear(want)] == [bundle]


def test_who_lacks_the_next_release_does_not_send_those_after_it() -> None:
    """A node that began late would send a latecomer the same useless releases at every comparison."""
    head = history(Node(set()), 0, 9)
    late, newcomer = follower(5, [head]), follower(0, [])
    assert late.hear(next(newcomer.sync.summaries())) == []
