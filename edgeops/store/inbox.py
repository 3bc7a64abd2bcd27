"""What devices sent through their outboxes: how far each stream has come, and their windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.items import Window
from edgeops.store.schema import inbox, windows


class InboxStore:
    """The streams' and windows' rows, seen through one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        """Work in the transaction that is open on ``connection``."""
        self._connection = connection

    def sequence_of(self, device: DeviceId, kind: str, stream: str) -> int | None:
        """Return the last number that was taken of a stream; None for a stream never seen."""
        return self._connection.scalar(
            sa.select(inbox.c.sequence).where(*_key(device, kind), inbox.c.stream == stream)
        )

    def advance(self, device: DeviceId, kind: str, stream: str, sequence: int) -> None:
        """Note that a stream was taken up to ``sequence``; a device has one stream a kind."""
        values = {"stream": stream, "sequence": sequence}
        changed = self._connection.execute(
            sa.update(inbox).where(*_key(device, kind)).values(**values)
        )
        if changed.rowcount == 0:
            self._connection.execute(sa.insert(inbox).values(device=device, kind=kind, **values))

    def add_windows(
        self, device: DeviceId, stream: str, sequence: int, added: Sequence[Window]
    ) -> None:
        """Store the windows of one telemetry message."""
        for part, window in enumerate(added):
            self._connection.execute(
                sa.insert(windows).values(
                    device=device,
                    stream=stream,
                    sequence=sequence,
                    part=part,
                    model=window.model,
                    version=window.version,
                    ended_s=window.ended_s,
                    document=window.to_document(),
                )
            )

    def forget_windows(self, before_s: float) -> int:
        """Remove the windows that ended before a moment; return how many."""
        gone = self._connection.execute(sa.delete(windows).where(windows.c.ended_s < before_s))
        return int(gone.rowcount)

    def windows_of(
        self, model: ModelName, device: DeviceId | None = None, *, limit: int
    ) -> tuple[tuple[DeviceId, Window], ...]:
        """Return the newest windows of a model, newest first."""
        query = sa.select(windows).where(windows.c.model == model)
        if device is not None:
            query = query.where(windows.c.device == device)
        order = (windows.c.ended_s, windows.c.sequence, windows.c.part, windows.c.device)
        newest = query.order_by(*(column.desc() for column in order)).limit(limit)
        rows = self._connection.execute(newest).all()
        return tuple(
            (DeviceId(row.device), Window.from_fields(Fields(row.document, "window")))
            for row in rows
        )


def _key(device: DeviceId, kind: str) -> tuple[Any, ...]:
    return (inbox.c.device == device, inbox.c.kind == kind)
