"""The database schema, as the list of steps that led to it.

Step *n* takes a database of version *n - 1* to version *n* (``PRAGMA user_version``), in one transaction
with the change of version. Steps that were released are never edited: a change of schema is a new step.
"""

from __future__ import annotations

import sqlite3

from banyan.node.store.errors import StoreTooNew

#: Marks the file as ours for ``file(1)`` and for us: "Bany" in ASCII.
APPLICATION_ID = 0x42616E79

STEPS: tuple[tuple[str, ...], ...] = (
    (
        # Signed envelopes, replayed to the core in the order in which they came.
        "CREATE TABLE records (position INTEGER PRIMARY KEY AUTOINCREMENT,"
        " id BLOB NOT NULL UNIQUE CHECK (length(id) = 32), data BLOB NOT NULL)",
        "CREATE TABLE state (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
        "CREATE TABLE events (position INTEGER PRIMARY KEY AUTOINCREMENT,"
        " time INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL)",
        "CREATE TABLE addresses (peer TEXT NOT NULL, address TEXT NOT NULL, seen INTEGER NOT NULL,"
        " PRIMARY KEY (peer, address)) WITHOUT ROWID",
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    ),
)

CURRENT = len(STEPS)


def migrate(connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...] = STEPS) -> int:
    """Bring the database to the newest version, step by step; return the version it had before.

    Raises :class:`StoreTooNew` when the file comes from a newer Banyan; it is then left untouched.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    version = int(found)
    if version > len(steps):
        raise StoreTooNew(
            f"This state directory was written by a newer Banyan (schema {version}, here {len(steps)})",
            "Upgrade with `pip install --upgrade banyan-fl`, or choose another directory with --home",
        )
    for number in range(version, len(steps)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in steps[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number + 1}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    return version
