"""The outbox: what was accepted here reaches the hub, or is still here.

SQLite with ``synchronous=FULL``: ``put`` returns when the item is on the disk. Items of a stream
carry consecutive numbers and leave only when the hub has acknowledged them; the stream's name
is made with the database, so that a hub never mixes two lives of one device.
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.reasons import Reason

logger = logging.getLogger(__name__)

STREAMS = ("event", "outcome", "telemetry", "sample")
MAX_ITEMS = 10_000
"""Items kept per stream; beyond, new ones are refused (and counted) until some left."""
RESEND_AFTER_S = 5.0
SEND_AT_ONCE = 16
DAMAGED = ("not a database", "malformed")
"""What SQLite says of a file that is no database any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item that the hub has not acknowledged."""

    kind: str
    stream: str
    sequence: int
    oldest: int
    body: bytes


class Outbox:
    """The durable queue towards the hub. Used by the agent's loop thread only.

    A disk that is full when the agent starts does not even let SQLite open the database: then
    each call tries again and raises ``StorageFailed``, so that the models serve all the same.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[], sqlite3.Connection] | None = None,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        """Open or make the database, now or as soon as the disk lets it.

        Args:
            path: its file.
            connect: opens another database instead.
            new_id: names streams.
        """
        self._path = path
        self._connect = connect or (
            lambda: sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        )
        self._new_id = new_id
        self._opened: sqlite3.Connection | None = None
        self._sent: dict[str, tuple[int, float]] = {}
        try:
            self._streams()
        except StorageFailed as error:
            logger.warning("outbox.not_opened", extra={"cause": str(error)})

    def put(self, kind: str, body: bytes) -> int:
        """Keep an item; return its sequence number. Durable when this returns.

        Raises:
            StorageFailed: the disk refuses, or ``MAX_ITEMS`` are waiting.
        """
        with self._door():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                last, acked = self._database.execute(
                    "SELECT last, acked FROM stream WHERE kind = ?", (kind,)
                ).fetchone()
                if last - acked >= MAX_ITEMS:
                    raise StorageFailed(
                        Reason.DISK_FULL, f"{MAX_ITEMS} {kind} items wait for the hub"
                    )
                self._database.execute(
                    "UPDATE stream SET last = ? WHERE kind = ?", (last + 1, kind)
                )
                self._database.execute("INSERT INTO item VALUES (?, ?, ?)", (kind, last + 1, body))
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # SQLite itself rolls back on some errors
                    self._database.execute("ROLLBACK")
                raise
        return int(last) + 1

    def due(self, now_s: float) -> list[Item]:
        """Return what should be sent now, oldest first: at most ``SEND_AT_ONCE`` a stream.

        Items are sent again when ``RESEND_AFTER_S`` passed without an acknowledgement.
        """
        items: list[Item] = []
        for kind, name, acked in self._streams():
            upto, sent_s = self._sent.get(kind, (0, now_s))
            start = acked if now_s - sent_s >= RESEND_AFTER_S else max(acked, upto)
            with self._door():
                rows = self._database.execute(
                    "SELECT sequence, body FROM item"
                    " WHERE kind = ? AND sequence > ? AND sequence <= ? ORDER BY sequence",
                    (kind, start, acked + SEND_AT_ONCE),
                ).fetchall()
            if rows:
                self._sent[kind] = (rows[-1][0], now_s)
            items += [
                Item(kind=kind, stream=name, sequence=number, oldest=acked + 1, body=body)
                for number, body in rows
            ]
        return items

    def resend_all(self) -> None:
        """Forget what was sent (a new connection): everything unacknowledged is due again."""
        self._sent.clear()

    def acknowledge(self, stream: str, sequence: int) -> None:
        """Drop everything of ``stream`` up to ``sequence``; an impossible number is ignored."""
        for kind, name, acked in self._streams():
            if name == stream:
                with self._door():
                    self._acknowledge(kind, acked, sequence)

    def depth(self) -> int:
        """Return how many items wait for an acknowledgement."""
        with self._door():
            (count,) = self._database.execute("SELECT count(*) FROM item").fetchone()
        return int(count)

    def close(self) -> None:
        """Close the database; everything accepted is on the disk already."""
        if self._opened is not None:
            self._opened.close()

    @property
    def _database(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = _open(self._connect(), self._new_id)
        return self._opened

    @contextmanager
    def _door(self) -> Iterator[None]:
        """Let every error of SQLite out as ``StorageFailed``; a damaged file is put aside."""
        try:
            yield
        except sqlite3.Error as error:
            damaged = any(sign in str(error) for sign in DAMAGED)
            if damaged:
                self._put_aside()
            full = "full" in str(error)
            raise StorageFailed(
                Reason.DISK_FULL if full else Reason.STORAGE_FAILED,
                f"outbox: {error}" + (", put aside as outbox.damaged" if damaged else ""),
                next_step="free space on this device" if full else "check the disk of this device",
            ) from error

    def _put_aside(self) -> None:
        """Begin anew, with new streams: what was in a damaged file is lost, the device is not."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._path.replace(self._path.with_name("outbox.damaged"))
        self._sent.clear()

    def _acknowledge(self, kind: str, acked: int, sequence: int) -> None:
        (last,) = self._database.execute(
            "SELECT last FROM stream WHERE kind = ?", (kind,)
        ).fetchone()
        if acked < sequence <= last:
            self._database.execute("UPDATE stream SET acked = ? WHERE kind = ?", (sequence, kind))
            self._database.execute(
                "DELETE FROM item WHERE kind = ? AND sequence <= ?", (kind, sequence)
            )

    def _streams(self) -> list[tuple[str, str, int]]:
        with self._door():
            return self._database.execute("SELECT kind, name, acked FROM stream").fetchall()


def _open(database: sqlite3.Connection, new_id: Callable[[], str]) -> sqlite3.Connection:
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(_SCHEMA)
        for kind in STREAMS:
            database.execute("INSERT OR IGNORE INTO stream VALUES (?, ?, 0, 0)", (kind, new_id()))
    except sqlite3.Error:
        database.close()
        raise
    return database


_SCHEMA = """
CREATE TABLE IF NOT EXISTS stream (
    kind TEXT PRIMARY KEY, name TEXT NOT NULL, last INTEGER NOT NULL, acked INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS item (
    kind TEXT NOT NULL, sequence INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, sequence)
) WITHOUT ROWID;
"""
