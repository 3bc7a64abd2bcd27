"""The outbox: what was accepted here reaches the hub, or is still here.

SQLite with ``synchronous=FULL``: ``put`` returns when the item is on the disk. Items of a stream
wait in the order of their places and leave only when the hub has acknowledged them; the stream's
name is made with the database, so that a hub never mixes two lives of one device.

An item's number is its rank: the first one that waits has the number after the last that was
acknowledged. Only the first ``SEND_AT_ONCE`` are ever sent; as they may have been taken already,
they keep their number and content. What waits behind them has not been seen by anybody: when too
much waits, it is there that windows are added together and steps and samples give way
(``device_agent.core.backlog``), which leaves no gap in the numbers.
"""

from __future__ import annotations

import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent.core.backlog import label_of
from device_agent.core.pace import Pace
from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.reasons import Reason
from device_agent.protocol.values import dataclass
from device_agent.shell.outbox_file import prepare, set_label
from device_agent.shell.outbox_room import SEND_AT_ONCE, Bound, make_room

if TYPE_CHECKING:
    from device_agent.shell.doors import Doors

logger = logging.getLogger(__name__)

STREAMS = ("event", "outcome", "telemetry", "sample")
"""In the order in which they are sent."""
RESEND_AFTER_S = 5.0
MOST_RESEND_AFTER_S = 80.0
"""The pause doubles up to this while nothing is acknowledged."""
HEAD_BYTES = 256
"""What an item gets around it on the wire, at most: it counts for the pace."""
DAMAGED = ("not a database", "malformed")
"""What SQLite says of a file that is no database any more."""
READ_ONLY = "readonly"
"""What it says when it was refused the file for writing once, at the opening, and then opened it
for reading, for good: so it is opened anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxOptions:
    """Bounds and pace of an outbox."""

    events: Bound = field(default_factory=lambda: Bound(items=1_000, size_bytes=2 * 2**20))
    outcomes: Bound = field(default_factory=lambda: Bound(items=256, size_bytes=8 * 2**20))
    telemetry: Bound = field(default_factory=lambda: Bound(items=10_000, size_bytes=16 * 2**20))
    samples: Bound = field(default_factory=lambda: Bound(items=1_000, size_bytes=16 * 2**20))
    drain_bytes_per_s: float = 64 * 1024.0
    """How fast what waits is sent; the reported state does not wait behind it."""
    burst_bytes: float = 64 * 1024.0
    """What may be sent at once before that pace holds."""

    def bound(self, kind: str) -> Bound:
        """Return the bound of a stream."""
        bounds = (self.events, self.outcomes, self.telemetry, self.samples)
        return dict(zip(STREAMS, bounds, strict=True))[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item that the hub has not acknowledged.

    ``age_s`` is how long ago it was put, None if the machine was started anew since then.
    """

    kind: str
    stream: str
    sequence: int
    oldest: int
    body: bytes
    age_s: float | None = None


@dataclass(slots=True, kw_only=True)
class _Sent:
    """What of a stream is under way."""

    upto: int
    at_s: float
    patience_s: float = RESEND_AFTER_S


class Outbox:
    """The durable queue towards the hub. Used by the agent's loop thread only.

    A disk that is full when the agent starts does not even let SQLite open the database: then
    each call tries again and raises ``StorageFailed``, so that the models serve all the same.
    """

    def __init__(
        self,
        database: Path | Callable[[], sqlite3.Connection],
        *,
        options: OutboxOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        boot: str | None = None,
    ) -> None:
        """Open or make the database, now or as soon as the disk lets it.

        Args:
            database: a file, or what opens a connection (a damaged file is put aside, a damaged
                connection is not).
            options: bounds and pace.
            clock: seconds that only go forward, for as long as ``boot`` stays the same.
            new_id: gives the names of the streams.
            boot: names this start of the machine; by default what the kernel says.
        """
        self._path = database if isinstance(database, Path) else None
        self._connect = _connector(database) if isinstance(database, Path) else database
        self._options = options or OutboxOptions()
        self._clock = clock
        self._new_id = new_id
        self._boot = this_boot() if boot is None else boot
        self._opened: sqlite3.Connection | None = None
        self._sent: dict[str, _Sent] = {}
        self._last_sent: dict[str, int] = {}
        self._pace = Pace.of(self._options.drain_bytes_per_s, self._options.burst_bytes)
        try:
            self._streams()
        except StorageFailed as error:
            logger.warning("outbox.not_opened", extra={"cause": str(error)})

    def put(self, kind: str, body: bytes) -> None:
        """Keep an item. Durable when this returns; others may have given way to it.

        Raises:
            StorageFailed: the disk refuses, or too much waits and nothing of it may give way.
        """
        label = label_of(kind, body)
        with self._transaction() as database:
            make_room(database, kind, self._options.bound(kind), len(body), label)
            (last,) = database.execute(
                "SELECT last + 1 FROM stream WHERE kind = ?", (kind,)
            ).fetchone()
            database.execute(
                "UPDATE stream SET last = ?, items = items + 1, bytes = bytes + ? WHERE kind = ?",
                (last, len(body), kind),
            )
            database.execute(
                "INSERT INTO item (kind, sequence, body, put_s, boot) VALUES (?, ?, ?, ?, ?)",
                (kind, last, body, self._clock(), self._boot),
            )
            set_label(database, kind, last, label)

    def due(self, now_s: float) -> list[Item]:
        """Return what should be sent now, oldest first, within the pace.

        At most ``SEND_AT_ONCE`` of a stream are under way. They are sent again when
        ``RESEND_AFTER_S`` passed without an acknowledgement, then after twice as long, and so on.
        """
        items: list[Item] = []
        for kind, name, acked in self._streams():
            for number, body, put_s, boot in self._unsent(kind, acked, now_s):
                pace = self._pace.take(len(body) + HEAD_BYTES, now_s)
                if pace is None:
                    return items
                self._pace = pace
                self._note_sent(kind, number, now_s)
                age_s = max(0.0, self._clock() - put_s) if boot == self._boot else None
                item = Item(
                    kind=kind,
                    stream=name,
                    sequence=number,
                    oldest=acked + 1,
                    body=body,
                    age_s=age_s,
                )
                items.append(item)
        return items

    def resend_all(self) -> None:
        """Forget what was sent (a new connection): everything unacknowledged is due again."""
        self._sent.clear()

    def acknowledge(self, stream: str, sequence: int) -> None:
        """Drop everything of ``stream`` up to ``sequence``.

        Ignored is what was acknowledged before, and what this process never sent: of what an
        earlier one sent, the hub says it again when it is sent again.
        """
        for kind, name, acked in self._streams():
            if name == stream and acked < sequence <= self._last_sent.get(kind, acked):
                self._acknowledge(kind, acked, sequence)

    def depth(self) -> int:
        """Return how many items wait for an acknowledgement."""
        with self._door():
            (count,) = self._database.execute("SELECT sum(items) FROM stream").fetchone()
        return int(count)

    def given_way(self) -> Mapping[str, int]:
        """Return how much gave way since the outbox was made: nothing of it is silent.

        ``merged``: windows that were added to another one, whose counts are all there.
        ``events`` (with outcomes of commands) and ``samples``: what was dropped.
        """
        with self._door():
            rows = self._database.execute("SELECT kind, dropped, merged FROM stream").fetchall()
        dropped = {kind: int(count) for kind, count, _ in rows}
        return {
            "merged": sum(int(count) for _, _, count in rows),
            "events": dropped["event"] + dropped["outcome"],
            "samples": dropped["sample"],
        }

    def close(self) -> None:
        """Close the database; everything accepted is on the disk already."""
        if self._opened is not None:
            self._opened.close()

    # ---- sending

    def _unsent(self, kind: str, acked: int, now_s: float) -> list[tuple[int, bytes, float, str]]:
        """Return number, body, and when it was put, of what is due of a stream."""
        sent = self._sent.get(kind)
        if sent is not None and now_s - sent.at_s >= sent.patience_s:
            sent.upto = acked
            sent.patience_s = min(MOST_RESEND_AFTER_S, 2 * sent.patience_s)
        skip = max(0, sent.upto - acked) if sent is not None else 0
        with self._door():
            rows = self._database.execute(
                "SELECT body, put_s, boot FROM item WHERE kind = ? ORDER BY sequence"
                " LIMIT ? OFFSET ?",
                (kind, SEND_AT_ONCE - skip, skip),
            ).fetchall()
        return [(acked + skip + at, *row) for at, row in enumerate(rows, 1)]

    def _note_sent(self, kind: str, number: int, now_s: float) -> None:
        sent = self._sent.setdefault(kind, _Sent(upto=number, at_s=now_s))
        sent.upto, sent.at_s = number, now_s
        self._last_sent[kind] = max(number, self._last_sent.get(kind, 0))

    def _acknowledge(self, kind: str, acked: int, sequence: int) -> None:
        with self._transaction() as database:
            rows = database.execute(
                "SELECT sequence, length(body) FROM item WHERE kind = ? ORDER BY sequence LIMIT ?",
                (kind, sequence - acked),
            ).fetchall()
            if len(rows) < sequence - acked:
                return
            database.execute(
                "DELETE FROM item WHERE kind = ? AND sequence <= ?", (kind, rows[-1][0])
            )
            database.execute(
                "UPDATE stream SET acked = ?, items = items - ?, bytes = bytes - ? WHERE kind = ?",
                (sequence, len(rows), sum(size for _, size in rows), kind),
            )
        if (sent := self._sent.get(kind)) is not None:
            sent.patience_s = RESEND_AFTER_S

    # ---- the database

    @property
    def _database(self) -> sqlite3.Connection:
        if self._opened is None:
            database = self._connect()
            try:
                database.isolation_level = None
                prepare(database, STREAMS, self._new_id)
            except sqlite3.Error:
                database.close()
                raise
            self._opened = database
        return self._opened

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all of it or nothing, on the disk when it ends."""
        with self._door():
            database = self._database
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # SQLite itself rolls back on some errors
                    database.execute("ROLLBACK")
                raise

    @contextmanager
    def _door(self) -> Iterator[None]:
        """Let every error of SQLite out as ``StorageFailed``; a damaged file is put aside."""
        try:
            yield
        except sqlite3.Error as error:
            damaged = self._path is not None and any(sign in str(error) for sign in DAMAGED)
            if damaged:
                self._put_aside()
            elif READ_ONLY in str(error):
                self._forget_connection()
            full = "full" in str(error)
            raise StorageFailed(
                Reason.DISK_FULL if full else Reason.STORAGE_FAILED,
                f"outbox: {error}" + (", put aside as outbox.damaged" if damaged else ""),
                next_step="free space on this device" if full else "check the disk of this device",
            ) from error

    def _put_aside(self) -> None:
        """Begin anew, with new streams: what was in a damaged file is lost, the device is not."""
        self._forget_connection()
        if self._path is not None:
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._path.replace(self._path.with_name("outbox.damaged"))
        self._sent.clear()
        self._last_sent.clear()

    def _forget_connection(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _streams(self) -> list[tuple[str, str, int]]:
        """Return kind, name and last acknowledged number of each stream, in order of sending."""
        with self._door():
            rows = self._database.execute("SELECT kind, name, acked FROM stream").fetchall()
        return sorted(rows, key=lambda row: STREAMS.index(row[0]))


def open_outbox(root: Path, doors: Doors, options: OutboxOptions) -> Outbox:
    """Return the outbox of a state folder, or of what the doors say."""
    return Outbox(
        doors.outbox or root / "outbox.sqlite",
        options=options,
        clock=doors.clock.monotonic_s,
        new_id=doors.new_id,
        boot=doors.clock.boot,
    )


def this_boot() -> str:
    """Return what names this start of the machine; something new where nobody knows."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return uuid.uuid4().hex


def _connector(path: Path) -> Callable[[], sqlite3.Connection]:
    return lambda: sqlite3.connect(path, isolation_level=None, check_same_thread=False)
