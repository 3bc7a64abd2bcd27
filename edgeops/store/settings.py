"""Small facts that the hub must remember, by key."""

from __future__ import annotations

import sqlalchemy as sa

from edgeops.store.schema import settings


class SettingsStore:
    """The settings' rows, seen through one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        """Work in the transaction that is open on ``connection``."""
        self._connection = connection

    def get(self, key: str) -> str | None:
        """Return the value under ``key``, if there is one."""
        return self._connection.scalar(sa.select(settings.c.value).where(settings.c.key == key))

    def put(self, key: str, value: str) -> None:
        """Store ``value`` under ``key``, in place of what was there."""
        changed = self._connection.execute(
            sa.update(settings).where(settings.c.key == key).values(value=value)
        )
        if changed.rowcount == 0:
            self._connection.execute(sa.insert(settings).values(key=key, value=value))
