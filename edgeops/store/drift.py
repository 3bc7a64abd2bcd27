"""Watches and alarms in the database."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from device_agent.protocol.ids import DeviceId, ModelName
from edgeops.domain.drift import Alarm, AlarmedFeature, AlarmKind
from edgeops.store.schema import alarms, watches


class DriftStore:
    """The watches' and alarms' rows, seen through one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        """Work in the transaction that is open on ``connection``."""
        self._connection = connection

    def watch(self, device: DeviceId, model: ModelName, number: int) -> dict[str, Any] | None:
        """Return the document of a device's watch of a version, if there is one."""
        document: dict[str, Any] | None = self._connection.scalar(
            sa.select(watches.c.document).where(*_key(device, model, number))
        )
        return document

    def put_watch(
        self, device: DeviceId, model: ModelName, number: int, document: Mapping[str, Any]
    ) -> None:
        """Store the document of a device's watch of a version."""
        values = {"document": dict(document)}
        changed = self._connection.execute(
            sa.update(watches).where(*_key(device, model, number)).values(**values)
        )
        if changed.rowcount == 0:
            self._connection.execute(
                sa.insert(watches).values(device=device, model=model, number=number, **values)
            )

    def watches_of(self, model: ModelName, number: int) -> dict[DeviceId, dict[str, Any]]:
        """Return the watch of every device of a version."""
        rows = self._connection.execute(
            sa.select(watches).where(watches.c.model == model, watches.c.number == number)
        ).all()
        return {DeviceId(row.device): row.document for row in rows}

    def next_alarm_id(self) -> str:
        """Return an id that no alarm has."""
        count = self._connection.scalar(sa.select(sa.func.count()).select_from(alarms))
        return f"a{(count or 0) + 1}"

    def put_alarm(self, alarm: Alarm) -> None:
        """Store an alarm, new or changed."""
        values = {
            "model": alarm.model,
            "number": alarm.number,
            "kind": str(alarm.kind),
            "opened_s": alarm.opened_s,
            "since_s": alarm.since_s,
            "closed_s": alarm.closed_s,
            "devices": dict(alarm.devices),
            "cohort": alarm.cohort,
            "features": [dataclasses.asdict(each) for each in alarm.features],
            "threshold": alarm.threshold,
        }
        changed = self._connection.execute(
            sa.update(alarms).where(alarms.c.id == alarm.id).values(**values)
        )
        if changed.rowcount == 0:
            self._connection.execute(sa.insert(alarms).values(id=alarm.id, **values))

    def alarms(self) -> tuple[Alarm, ...]:
        """Return every alarm, oldest first."""
        rows = self._connection.execute(sa.select(alarms).order_by(alarms.c.opened_s, alarms.c.id))
        return tuple(_alarm(row) for row in rows)


def _key(device: DeviceId, model: ModelName, number: int) -> tuple[Any, ...]:
    return (watches.c.device == device, watches.c.model == model, watches.c.number == number)


def _alarm(row: sa.Row[Any]) -> Alarm:
    return Alarm(
        id=row.id,
        model=ModelName(row.model),
        number=row.number,
        kind=AlarmKind(row.kind),
        opened_s=row.opened_s,
        since_s=row.since_s,
        closed_s=row.closed_s,
        devices={DeviceId(name): evidence for name, evidence in row.devices.items()},
        cohort=row.cohort,
        features=tuple(AlarmedFeature(**each) for each in row.features),
        threshold=row.threshold,
    )
