"""The database keeps promises: whole batches, in order, bounded logs, refusals in words."""

import sqlite3

import pytest

from banyan.node.store import Batch, Database, DiskFull, StoreDamaged, StoredEvent, StoreTooNew
from banyan.node.store.migrations import STEPS, migrate


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "node.sqlite")
    yield database
    database.close()


def record(number):
    return number.to_bytes(32, "big")


def test_a_batch_is_there_after_opening_again(tmp_path):
    first = Database(tmp_path / "node.sqlite")
    batch = Batch(state={"seq": b"7"})
    batch.put_record(record(2), b"two")
    batch.put_record(record(1), b"one")
    first.apply(batch)
    first.close()
    again = Database(tmp_path / "node.sqlite")
    assert again.records() == [b"two", b"one"]  # in the order of their arrival
    assert again.state() == {"seq": b"7"}
    again.close()


def test_a_record_put_and_dropped_in_one_batch_is_gone_and_the_reverse_is_kept(database):
    batch = Batch()
    batch.put_record(record(1), b"one")
    batch.drop_record(record(1))
    batch.drop_record(record(2))
    batch.put_record(record(2), b"two")
    database.apply(batch)
    assert database.records() == [b"two"]


def test_a_record_kept_twice_is_kept_once(database):
    for _ in range(2):
        database.apply(Batch(records={record(1): b"one"}))
    assert database.records() == [b"one"]


def test_a_batch_that_finds_no_room_is_undone_as_a_whole_and_can_be_tried_again(database):
    database.apply(Batch(state={"seq": b"1"}))
    (pages,) = database._connection.execute("PRAGMA page_count").fetchone()
    database._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    large = Batch(records={record(number): bytes(20_000) for number in range(5)}, state={"seq": b"2"})
    with pytest.raises(DiskFull, match="no room left"):
        database.apply(large)
    assert database.state() == {"seq": b"1"}
    assert database.records() == []
    database._connection.execute("PRAGMA max_page_count = 100000")
    database.apply(large)
    assert database.state() == {"seq": b"2"}


def event(position, kind="round-waiting"):
    return StoredEvent(position, 1_000 + position, kind, {"event": kind, "have": position})


def test_the_event_log_is_bounded_and_never_reuses_a_place(tmp_path):
    database = Database(tmp_path / "node.sqlite", keep_events=10)
    for first in range(1, 41, 5):
        database.apply(Batch(events=[event(position) for position in range(first, first + 5)]))
    assert [found.position for found in database.events()] == list(range(31, 41))
    assert database.last_position() == 40
    assert database.events(after=38) == [event(39), event(40)]
    assert [found.position for found in database.last_events(3)] == [38, 39, 40]
    database.close()


def test_events_can_be_read_by_kind(database):
    database.apply(Batch(events=[event(1), event(2, "release-certified"), event(3)]))
    assert [found.position for found in database.events(kind="release-certified")] == [2]


def test_counters_add_up_over_batches(database):
    for _ in range(3):
        batch = Batch()
        batch.count("refused.replay")
        batch.count("bytes.in", 100)
        database.apply(batch)
    assert database.counters() == {"refused.replay": 3, "bytes.in": 300}


def test_the_address_book_keeps_the_newest_addresses_of_each_peer(database):
    for now in range(5):
        database.remember_addresses(
            {"A": [f"/ip4/10.0.0.{now}/tcp/1"], "B": ["/ip4/10.1.0.1/tcp/1"]}, now, keep=3
        )
    book = database.addresses()
    assert book["A"] == ("/ip4/10.0.0.4/tcp/1", "/ip4/10.0.0.3/tcp/1", "/ip4/10.0.0.2/tcp/1")
    assert book["B"] == ("/ip4/10.1.0.1/tcp/1",)


def test_a_database_of_a_newer_banyan_is_left_alone(tmp_path):
    path = tmp_path / "node.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreTooNew, match="newer Banyan"):
        Database(path)


def test_a_damaged_database_is_named_with_a_cure(tmp_path):
    path = tmp_path / "node.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreDamaged, match="cannot be read") as caught:
        Database(path)
    assert "move it away" in caught.value.cure


def test_every_older_schema_migrates_and_a_failing_step_changes_nothing(tmp_path):
    connection = sqlite3.connect(tmp_path / "old.sqlite", isolation_level=None)
    assert migrate(connection) == 0
    connection.execute("INSERT INTO state VALUES ('seq', x'07')")
    broken = (*STEPS, ("CREATE TABLE extra (a)", "CREATE NONSENSE"))
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, broken)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone() == (0,)
    mended = (*STEPS, ("CREATE TABLE extra (a)",))
    assert migrate(connection, mended) == len(STEPS)
    assert connection.execute("SELECT value FROM state").fetchone() == (b"\x07",)
    connection.close()


def test_commits_are_synchronous(database):
    assert database._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_the_file_is_for_its_owner_only(database):
    assert database.path.stat().st_mode & 0o777 == 0o600
