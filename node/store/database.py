"""The node's state in one SQLite file: records, state, events, addresses and counters."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from banyan.node.store.errors import StoreDamaged, StoreError, disk_full, is_disk_full
from banyan.node.store.migrations import migrate

#: Events kept for `banyan status`, the dashboard and `events?after=`; older ones fall off the end.
KEEP_EVENTS = 10_000

#: The write-ahead log is folded back into the main file at this many pages (4 KiB each).
CHECKPOINT_PAGES = 1_000


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One line of the event log: its place in the log, when (ms), what kind, and its JSON-ready body.

    Places are given by the writer, rise by one from :meth:`Database.last_position`, and are never reused
    once stored.
    """

    position: int
    time: int
    kind: str
    body: dict[str, object]


@dataclass(slots=True)
class Batch:
    """Writes that become durable together or not at all. Applied in the order: puts, drops, the rest.

    Keep the core's order when filling it: a record that is put and later dropped must not come back, so
    :meth:`put_record` after :meth:`drop_record` of the same id withdraws the drop, and the reverse.
    """

    records: dict[bytes, bytes] = field(default_factory=dict)
    drops: set[bytes] = field(default_factory=set)
    state: dict[str, bytes] = field(default_factory=dict)
    events: list[StoredEvent] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)

    def put_record(self, record: bytes, data: bytes) -> None:
        """Keep the envelope ``data`` under its id ``record`` (32 bytes)."""
        self.drops.discard(record)
        self.records[record] = data

    def drop_record(self, record: bytes) -> None:
        """Forget the record; one that is not there is no error."""
        self.records.pop(record, None)
        self.drops.add(record)

    def count(self, name: str, by: int = 1) -> None:
        """Add ``by`` to the counter ``name``."""
        self.counters[name] = self.counters.get(name, 0) + by

    @property
    def must_be_durable(self) -> bool:
        """Whether something in here was promised to the core (events and counters can wait)."""
        return bool(self.records or self.drops or self.state)

    def __bool__(self) -> bool:
        return bool(self.records or self.drops or self.state or self.events or self.counters)


class Database:
    """The SQLite file of a node. Every method blocks: call it from a thread, never from the trio loop.

    One connection guarded by a lock; safe from any thread. Write-ahead log with ``synchronous=FULL``: when
    :meth:`apply` returns, its batch is on the disk.

    Raises :class:`StoreTooNew` and :class:`StoreDamaged` on opening, :class:`DiskFull` where there is no
    room for a write (the write is then undone as a whole, and may be tried again).
    """

    def __init__(self, path: Path, keep_events: int = KEEP_EVENTS) -> None:
        self.path = path
        self._keep_events = keep_events
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=10.0
            )
            self._open()
        except sqlite3.DatabaseError as error:
            if is_disk_full(error):
                raise disk_full("the node's database") from error
            raise StoreDamaged(
                f"The node's database {path} cannot be read ({error})",
                "Put back a copy of it, or move it away and start the node again: it keeps its identity and "
                "fetches the network's history from its peers",
            ) from error
        path.chmod(0o600)

    def _open(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute("PRAGMA cache_size = -2048")  # 2 MiB: the daemon's memory is budgeted
        migrate(connection)

    def close(self) -> None:
        """Close the file; the write-ahead log is folded in. Closing twice is harmless."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self, what: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._connection
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if is_disk_full(error):
                    raise disk_full(what) from error
                if isinstance(error, sqlite3.Error):
                    raise StoreError(
                        f"The node's database could not write {what} ({error})",
                        "Check the disk and the permissions of the state directory with `banyan doctor`",
                    ) from error
                raise

    def _read(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    # ------------------------------------------------------------------------------ the core's promises

    def apply(self, batch: Batch) -> None:
        """Make the whole batch durable, or none of it. An id already kept is kept once."""
        if not batch:
            return
        with self._transaction("the node's records") as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO records (id, data) VALUES (?, ?)", list(batch.records.items())
            )
            connection.executemany("DELETE FROM records WHERE id = ?", [(record,) for record in batch.drops])
            connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", list(batch.state.items()))
            self._insert_events(connection, batch.events)
            connection.executemany(
                "INSERT INTO counters VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                list(batch.counters.items()),
            )

    def records(self) -> list[bytes]:
        """Every kept envelope, in the order in which they were first put."""
        return [bytes(data) for (data,) in self._read("SELECT data FROM records ORDER BY position")]  # type: ignore[call-overload]

    def state(self) -> dict[str, bytes]:
        """Every key with its newest value."""
        return {str(key): bytes(value) for key, value in self._read("SELECT key, value FROM state")}  # type: ignore[call-overload]

    # -------------------------------------------------------------------------------------- the event log

    def _insert_events(self, connection: sqlite3.Connection, events: list[StoredEvent]) -> None:
        if not events:
            return
        connection.executemany(
            "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?)",
            [
                (event.position, event.time, event.kind, json.dumps(event.body, separators=(",", ":")))
                for event in events
            ],
        )
        connection.execute(
            "DELETE FROM events WHERE position <= (SELECT max(position) FROM events) - ?",
            (self._keep_events,),
        )

    def events(self, after: int = 0, limit: int = 1_000, kind: str | None = None) -> list[StoredEvent]:
        """At most ``limit`` events past position ``after``, oldest first, perhaps of one ``kind`` only."""
        rows = self._read(
            "SELECT position, time, kind, body FROM events WHERE position > ? AND (? IS NULL OR kind = ?)"
            " ORDER BY position LIMIT ?",
            (after, kind, kind, limit),
        )
        return [_event(row) for row in rows]

    def last_events(self, count: int) -> list[StoredEvent]:
        """The newest ``count`` events, oldest first."""
        rows = self._read(
            "SELECT position, time, kind, body FROM events ORDER BY position DESC LIMIT ?", (count,)
        )
        return [_event(row) for row in reversed(rows)]

    def last_position(self) -> int:
        """The place of the newest event ever logged (it never falls, not even when old events do)."""
        rows = self._read("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
        return int(rows[0][0]) if rows else 0  # type: ignore[call-overload]

    # ----------------------------------------------------------------------- address book and counters

    def remember_addresses(self, peers: Mapping[str, Iterable[str]], now: int, keep: int = 16) -> None:
        """Note that ``peers`` were heard of at these multiaddrs at ``now`` (ms); ``keep`` of each stay."""
        with self._transaction("the address book") as connection:
            for peer, addresses in peers.items():
                connection.executemany(
                    "INSERT OR REPLACE INTO addresses VALUES (?, ?, ?)",
                    [(peer, address, now) for address in addresses],
                )
                connection.execute(
                    "DELETE FROM addresses WHERE peer = ?1 AND address NOT IN (SELECT address FROM addresses"
                    " WHERE peer = ?1 ORDER BY seen DESC, address LIMIT ?2)",
                    (peer, keep),
                )

    def addresses(self) -> dict[str, tuple[str, ...]]:
        """The address book: for each peer its multiaddrs, the most recently seen first."""
        book: dict[str, list[str]] = {}
        for peer, address in self._read(
            "SELECT peer, address FROM addresses ORDER BY peer, seen DESC, address"
        ):
            book.setdefault(str(peer), []).append(str(address))
        return {peer: tuple(addresses) for peer, addresses in book.items()}

    def counters(self) -> dict[str, int]:
        """Every counter with its value."""
        return {str(name): int(value) for name, value in self._read("SELECT name, value FROM counters")}  # type: ignore[call-overload]


def _event(row: tuple[object, ...]) -> StoredEvent:
    position, time, kind, body = row
    return StoredEvent(int(position), int(time), str(kind), json.loads(str(body)))  # type: ignore[call-overload]
