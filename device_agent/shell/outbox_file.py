"""The outbox's database: its tables, and how older ones become newer ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from device_agent.core.backlog import Label, label_of

FORMAT = 1
"""Of the tables, as SQLite's ``user_version``. 0 are the first ones, and no tables at all."""

_TABLES = """
CREATE TABLE IF NOT EXISTS stream (
    kind TEXT PRIMARY KEY, name TEXT NOT NULL, last INTEGER NOT NULL, acked INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS item (
    kind TEXT NOT NULL, sequence INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, sequence)
) WITHOUT ROWID;
"""
_STREAM_COLUMNS = (
    "items INTEGER NOT NULL DEFAULT 0",
    "bytes INTEGER NOT NULL DEFAULT 0",
    "dropped INTEGER NOT NULL DEFAULT 0",
    "merged INTEGER NOT NULL DEFAULT 0",
)
_ITEM_COLUMNS = (
    "subject TEXT NOT NULL DEFAULT ''",
    "is_outcome INTEGER NOT NULL DEFAULT 0",
    "weight INTEGER NOT NULL DEFAULT 1",
    "started_s REAL NOT NULL DEFAULT 0",
    "ended_s REAL NOT NULL DEFAULT 0",
    "put_s REAL",
    "boot TEXT",
)


def prepare(database: sqlite3.Connection, kinds: Sequence[str], new_id: Callable[[], str]) -> None:
    """Make the tables and the streams, or bring those of an older agent up to date.

    Args:
        database: in autocommit mode (``isolation_level`` None).
        kinds: of the streams.
        new_id: gives a name for each new stream.

    Raises:
        sqlite3.Error: the disk refuses, or the file is no database.
    """
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("BEGIN IMMEDIATE")
    try:
        (known,) = database.execute("PRAGMA user_version").fetchone()
        if known < FORMAT:
            _upgrade(database)
        for kind in kinds:
            if not database.execute("SELECT 1 FROM stream WHERE kind = ?", (kind,)).fetchone():
                database.execute(
                    "INSERT INTO stream (kind, name, last, acked) VALUES (?, ?, 0, 0)",
                    (kind, new_id()),
                )
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _upgrade(database: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";"):
        database.execute(statement)
    for table, columns in (("stream", _STREAM_COLUMNS), ("item", _ITEM_COLUMNS)):
        for column in columns:
            database.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    for kind, place, body in database.execute("SELECT kind, sequence, body FROM item").fetchall():
        set_label(database, kind, place, label_of(kind, body))
    database.execute(
        "UPDATE stream SET (items, bytes) = (SELECT count(*), coalesce(sum(length(body)), 0)"
        " FROM item WHERE item.kind = stream.kind)"
    )
    database.execute(f"PRAGMA user_version = {FORMAT}")


def set_label(database: sqlite3.Connection, kind: str, place: int, label: Label) -> None:
    """Write what the rules need to know of an item beside it."""
    database.execute(
        "UPDATE item SET subject = ?, is_outcome = ?, weight = ?, started_s = ?, ended_s = ?"
        " WHERE kind = ? AND sequence = ?",
        (label.group, label.is_outcome, label.weight, label.started_s, label.ended_s, kind, place),
    )
