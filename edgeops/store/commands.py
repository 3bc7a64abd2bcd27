"""Commands in the database: the newest of each device, with what became of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import DeviceId
from device_agent.protocol.orders import Command
from device_agent.protocol.outcomes import CommandOutcome
from edgeops.domain.commands import GivenCommand
from edgeops.store.schema import commands

MAX_KEPT = 20
"""Commands that are kept of each device: an outcome may hold 40 KiB of log."""


class CommandStore:
    """The commands' rows, seen through one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        """Work in the transaction that is open on ``connection``."""
        self._connection = connection

    def add(self, given: GivenCommand) -> None:
        """Enter a command, and forget the oldest that its device has too many."""
        command = given.command
        self._connection.execute(
            sa.insert(commands).values(
                id=command.id,
                device=command.device,
                kind=command.kind,
                issued_s=command.issued_s,
                expires_s=command.expires_s,
                given_by=given.given_by,
            )
        )
        newest = _newest(command.device).with_only_columns(commands.c.id)
        kept = [row.id for row in self._connection.execute(newest.limit(MAX_KEPT))]
        self._connection.execute(
            sa.delete(commands).where(
                commands.c.device == command.device, commands.c.id.not_in(kept)
            )
        )

    def answer(self, device: DeviceId, outcome: CommandOutcome, at_s: float) -> bool:
        """Store an outcome; False if the command is unknown here, or was answered before."""
        changed = self._connection.execute(
            sa.update(commands)
            .where(
                commands.c.id == outcome.id,
                commands.c.device == device,
                commands.c.answered_s.is_(None),
            )
            .values(answered_s=at_s, outcome=outcome.to_document())
        )
        return bool(changed.rowcount)

    def of(self, device: DeviceId) -> tuple[GivenCommand, ...]:
        """Return the commands of a device, newest first."""
        return tuple(_given(row) for row in self._connection.execute(_newest(device)))

    def forget(self, device: DeviceId) -> None:
        """Remove the commands of a device."""
        self._connection.execute(sa.delete(commands).where(commands.c.device == device))


def _newest(device: DeviceId) -> sa.Select[Any]:
    order = (commands.c.issued_s.desc(), commands.c.id)
    return sa.select(commands).where(commands.c.device == device).order_by(*order)


def _given(row: sa.Row[Any]) -> GivenCommand:
    command = Command(
        device=DeviceId(row.device),
        id=row.id,
        kind=row.kind,
        issued_s=row.issued_s,
        expires_s=row.expires_s,
    )
    answered = row.answered_s is not None
    return GivenCommand(
        command=command,
        given_by=row.given_by,
        outcome=CommandOutcome.from_fields(Fields(row.outcome, "outcome")) if answered else None,
        answered_s=row.answered_s,
    )
