"""Devices and desired states in the database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from device_agent.protocol.activation import AT_ONCE, Activation
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reports import Reported
from edgeops.domain.errors import Conflict
from edgeops.domain.fleet import DesiredState, DesiredVersion, Device, Presence
from edgeops.store.schema import desired, devices


class FleetStore:
    """The fleet's rows, seen through one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        """Work in the transaction that is open on ``connection``."""
        self._connection = connection

    def add(self, device: Device) -> None:
        """Enter a device.

        Raises:
            Conflict: its id is taken.
        """
        if self.get(device.id) is not None:
            raise Conflict(
                f"device {device.id} is enrolled already",
                next_step=f"edgeops devices remove {device.id}, or choose another name",
            )
        self._connection.execute(sa.insert(devices).values(**_device_row(device)))

    def put(self, device: Device) -> None:
        """Store what changed of an enrolled device."""
        self._connection.execute(
            sa.update(devices).where(devices.c.id == device.id).values(**_device_row(device))
        )

    def remove(self, device: DeviceId) -> bool:
        """Forget a device and what was desired of it; False if there is none.

        The generation is kept and grows: the broker still retains the last desired state, and
        a device that is enrolled under this name again may have obeyed it.
        """
        state = self.desired_of(device)
        if state.generation:
            self.put_desired(DesiredState(device=device, generation=state.generation + 1))
        gone = self._connection.execute(sa.delete(devices).where(devices.c.id == device))
        return bool(gone.rowcount)

    def get(self, device: DeviceId) -> Device | None:
        """Return a device, if it is enrolled."""
        row = self._connection.execute(
            sa.select(devices).where(devices.c.id == device)
        ).one_or_none()
        return _device(row) if row is not None else None

    def all(self) -> tuple[Device, ...]:
        """Return every device, by id."""
        rows = self._connection.execute(sa.select(devices).order_by(devices.c.id)).all()
        return tuple(_device(row) for row in rows)

    def desired_of(self, device: DeviceId) -> DesiredState:
        """Return what is desired of a device (nothing, generation 0, at first)."""
        row = self._connection.execute(
            sa.select(desired).where(desired.c.device == device)
        ).one_or_none()
        if row is None:
            return DesiredState(device=device)
        return DesiredState(device=device, generation=row.generation, models=_wishes(row.models))

    def put_desired(self, state: DesiredState) -> None:
        """Store a desired state; it counts as unpublished until ``mark_published``."""
        values = {
            "generation": state.generation,
            "models": {name: _wish_document(wish) for name, wish in state.models.items()},
            "published": False,
        }
        changed = self._connection.execute(
            sa.update(desired).where(desired.c.device == state.device).values(**values)
        )
        if changed.rowcount == 0:
            self._connection.execute(sa.insert(desired).values(device=state.device, **values))

    def unpublished(self, *, limit: int) -> tuple[DeviceId, ...]:
        """Return the devices whose newest desired state is not with the broker."""
        rows = self._connection.execute(
            sa.select(desired.c.device).where(desired.c.published.is_(False)).limit(limit)
        ).all()
        return tuple(DeviceId(row.device) for row in rows)

    def mark_published(self, device: DeviceId, generation: int) -> None:
        """Note that the broker took a generation; a newer one stays unpublished."""
        self._connection.execute(
            sa.update(desired)
            .where(desired.c.device == device, desired.c.generation == generation)
            .values(published=True)
        )

    def publish_again(self, device: DeviceId | None = None) -> None:
        """Have one device's desired state, or everybody's, published again."""
        query = sa.update(desired).values(published=False)
        if device is not None:
            query = query.where(desired.c.device == device)
        self._connection.execute(query)


def _device_row(device: Device) -> dict[str, Any]:
    presence, reported = device.presence, device.reported
    return {
        "id": device.id,
        "profile": device.profile,
        "enrolled_s": device.enrolled_s,
        "password_hash": device.password_hash,
        "labels": dict(device.labels),
        "online": presence.online,
        "session": presence.session,
        "instance": presence.instance,
        "last_seen_s": presence.last_seen_s,
        "clock_offset_s": presence.clock_offset_s,
        "duplicate": presence.duplicate,
        "previous_instance": presence.previous_instance,
        "previous_session": presence.previous_session,
        "late_instance": presence.late_instance,
        "late_since_s": presence.late_since_s,
        "reported": json.dumps(reported.to_document()) if reported else None,
    }


def _device(row: sa.Row[Any]) -> Device:
    return Device(
        id=DeviceId(row.id),
        profile=row.profile,
        enrolled_s=row.enrolled_s,
        password_hash=row.password_hash,
        labels=row.labels,
        presence=Presence(
            online=row.online,
            session=row.session,
            instance=row.instance,
            last_seen_s=row.last_seen_s,
            clock_offset_s=row.clock_offset_s,
            duplicate=row.duplicate,
            previous_instance=row.previous_instance,
            previous_session=row.previous_session,
            late_instance=row.late_instance,
            late_since_s=row.late_since_s,
        ),
        reported=_reported(row.reported),
    )


def _reported(text: str | None) -> Reported | None:
    """Read a report as stored; one of an older schema is forgotten, the device will report."""
    try:
        return Reported.from_document(json.loads(text)) if text else None
    except (ProtocolError, ValueError):
        return None


def _wish_document(wish: DesiredVersion) -> dict[str, object]:
    return {
        "number": wish.number,
        "rollout": wish.rollout,
        "probation": wish.probation.to_document(),
        "download_timeout_s": wish.download_timeout_s,
        "activation": wish.activation.to_document(),
    }


def _wishes(documents: Mapping[str, Any]) -> dict[ModelName, DesiredVersion]:
    return {
        ModelName(name): DesiredVersion(
            model=ModelName(name),
            number=document["number"],
            rollout=document["rollout"],
            probation=ProbationRules.from_fields(Fields(document["probation"], "probation")),
            download_timeout_s=document["download_timeout_s"],
            activation=(
                Fields(document, "wish").optional("activation", Activation.from_fields) or AT_ONCE
            ),
        )
        for name, document in documents.items()
    }
