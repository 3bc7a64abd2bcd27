"""Making room in the outbox: what the rules of the backlog say, done in its database."""

from __future__ import annotations

import sqlite3

from device_agent.core.backlog import Label, Waiting, label_of, merged, to_drop, to_merge
from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.reasons import Reason
from device_agent.protocol.values import dataclass
from device_agent.shell.outbox_file import set_label

SEND_AT_ONCE = 16
"""Items of a stream under way. Not an option: what an agent once sent must not change later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How much of one stream may wait."""

    items: int
    size_bytes: int

    def __post_init__(self) -> None:
        """Refuse a bound that leaves nothing to give way."""
        if self.items < 2 * SEND_AT_ONCE:
            raise ValueError(f"an outbox holds at least {2 * SEND_AT_ONCE} items of a stream")


def make_room(
    database: sqlite3.Connection, kind: str, bound: Bound, size_bytes: int, label: Label
) -> None:
    """Have as much give way as one more item needs. Nothing is done if there is room.

    Args:
        database: in a transaction.
        kind: of the stream.
        bound: of the stream.
        size_bytes: of the item that arrives.
        label: of the item that arrives.

    Raises:
        StorageFailed: nothing that waits may give way.
        sqlite3.Error: the disk refuses.
    """
    while True:
        items, used = database.execute(
            "SELECT items, bytes FROM stream WHERE kind = ?", (kind,)
        ).fetchone()
        needs = (items + 1 - bound.items, used + size_bytes - bound.size_bytes)
        if max(needs) <= 0:
            return
        waiting = _waiting(database, kind)
        if kind == "telemetry":
            given_way = _merge(database, kind, waiting)
        else:
            given_way = _drop(database, kind, waiting, needs, label)
        if not given_way:
            raise StorageFailed(
                Reason.DISK_FULL, f"{items} {kind} items wait for the hub and none may give way"
            )


def _waiting(database: sqlite3.Connection, kind: str) -> list[Waiting]:
    """Return what was never sent of a stream."""
    rows = database.execute(
        "SELECT sequence, length(body), subject, is_outcome, weight, started_s, ended_s FROM item"
        " WHERE kind = ? ORDER BY sequence LIMIT -1 OFFSET ?",
        (kind, SEND_AT_ONCE),
    )
    return [
        Waiting(
            place=place,
            size_bytes=size,
            label=Label(
                group=group,
                is_outcome=bool(is_outcome),
                weight=weight,
                started_s=started_s,
                ended_s=ended_s,
            ),
        )
        for place, size, group, is_outcome, weight, started_s, ended_s in rows
    ]


def _merge(database: sqlite3.Connection, kind: str, waiting: list[Waiting]) -> int:
    """Add windows together; return how many found room in another one."""
    done = 0
    for one, two in to_merge(waiting):
        (first, _, _), (second, put_s, boot) = (
            database.execute(
                "SELECT body, put_s, boot FROM item WHERE kind = ? AND sequence = ?", (kind, place)
            ).fetchone()
            for place in (one, two)
        )
        body = merged(first, second)
        if body is None:
            continue
        database.execute("DELETE FROM item WHERE kind = ? AND sequence = ?", (kind, two))
        database.execute(
            "UPDATE item SET body = ?, put_s = ?, boot = ? WHERE kind = ? AND sequence = ?",
            (body, put_s, boot, kind, one),
        )
        set_label(database, kind, one, label_of(kind, body))
        freed = len(first) + len(second) - len(body)
        database.execute(
            "UPDATE stream SET items = items - 1, bytes = bytes - ?, merged = merged + 1"
            " WHERE kind = ?",
            (freed, kind),
        )
        done += 1
    return done


def _drop(
    database: sqlite3.Connection,
    kind: str,
    waiting: list[Waiting],
    needs: tuple[int, int],
    label: Label,
) -> int:
    """Drop what gives way, and count it; return how many items that were."""
    chosen = to_drop(kind, waiting, items=needs[0], size_bytes=needs[1], arriving=label) or []
    for each in chosen:
        database.execute("DELETE FROM item WHERE kind = ? AND sequence = ?", (kind, each.place))
        database.execute(
            "UPDATE stream SET items = items - 1, bytes = bytes - ?, dropped = dropped + ?"
            " WHERE kind = ?",
            (each.size_bytes, each.label.weight, kind),
        )
    return len(chosen)
