"""What delivery published, over every life of the hub."""

from __future__ import annotations

import sqlalchemy as sa

from device_agent.protocol.ids import Digest
from edgeops.store.schema import deliveries


class DeliveryStore:
    """The deliveries' rows, seen through one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        """Work in the transaction that is open on ``connection``."""
        self._connection = connection

    def add(self, digest: Digest, size_bytes: int) -> None:
        """Add to the bytes that were published of a blob."""
        changed = self._connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.digest == digest)
            .values(bytes=deliveries.c.bytes + size_bytes)
        )
        if changed.rowcount == 0:
            self._connection.execute(sa.insert(deliveries).values(digest=digest, bytes=size_bytes))

    def all(self) -> dict[Digest, int]:
        """Return the bytes that were published of each blob."""
        rows = self._connection.execute(sa.select(deliveries)).all()
        return {Digest(row.digest): row.bytes for row in rows}
