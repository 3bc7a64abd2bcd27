"""The audit log in the database: append and read, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from edgeops.domain.audit import AuditEntry, AuditHead, Json, next_entry
from edgeops.domain.errors import AuditBroken
from edgeops.store.schema import audit, audit_head

PAGE_ENTRIES = 500
HEAD_ID = 1


class AuditStore:
    """The audit's rows, seen through one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        """Work in the transaction that is open on ``connection``."""
        self._connection = connection

    def append(
        self, *, at_s: float, actor: str, act: str, subject: str, detail: Mapping[str, Json]
    ) -> AuditEntry:
        """Write the next entry and move the head, in the transaction of the act itself.

        The head's row is locked until the transaction ends, so two writers never fork the
        chain.

        Raises:
            InvalidInput: the detail is no JSON, or too large.
            AuditBroken: the head record is gone.
        """
        head = self._locked_head()
        entry = next_entry(head, at_s=at_s, actor=actor, act=act, subject=subject, detail=detail)
        self._connection.execute(
            sa.insert(audit).values(
                sequence=entry.sequence,
                at_s=entry.at_s,
                actor=actor,
                act=act,
                subject=subject,
                detail=encode(entry.detail).decode(),
                previous_hash=entry.previous_hash,
                hash=entry.hash,
            )
        )
        self._connection.execute(
            sa.update(audit_head)
            .where(audit_head.c.id == HEAD_ID)
            .values(entries=entry.sequence, hash=entry.hash)
        )
        return entry

    def entries(self, *, after: int = 0, limit: int | None = None) -> Iterator[AuditEntry]:
        """Yield the entries with a sequence above ``after`` in order, ``limit`` at most.

        They are read a page at a time while the transaction is open, so a log of any length
        fits in memory.
        """
        while limit is None or limit > 0:
            wanted = PAGE_ENTRIES if limit is None else min(limit, PAGE_ENTRIES)
            page = self._connection.execute(
                sa.select(audit)
                .where(audit.c.sequence > after)
                .order_by(audit.c.sequence)
                .limit(wanted)
            ).all()
            yield from map(_entry, page)
            if len(page) < wanted:
                return
            after = page[-1].sequence
            limit = None if limit is None else limit - len(page)

    def head(self) -> AuditHead | None:
        """Return the head record; ``None`` if somebody removed it."""
        return self._read_head(sa.select(audit_head).where(audit_head.c.id == HEAD_ID))

    def _locked_head(self) -> AuditHead:
        query = sa.select(audit_head).where(audit_head.c.id == HEAD_ID).with_for_update()
        head = self._read_head(query)
        if head is None:
            raise AuditBroken(
                "the head record of the audit is gone",
                next_step="restore the database from a copy; nothing is done without an audit",
            )
        return head

    def _read_head(self, query: sa.Select[*tuple[object, ...]]) -> AuditHead | None:
        row = self._connection.execute(query).one_or_none()
        return AuditHead(count=row.entries, hash=row.hash) if row is not None else None


def _entry(row: sa.Row[*tuple[object, ...]]) -> AuditEntry:
    return AuditEntry(
        sequence=row.sequence,
        at_s=row.at_s,
        actor=row.actor,
        act=row.act,
        subject=row.subject,
        detail=_detail(row.detail),
        previous_hash=row.previous_hash,
        hash=row.hash,
    )


def _detail(text: str) -> Mapping[str, Json]:
    """Read a detail; one that was edited into something else still reads (and fails its hash)."""
    try:
        return decode(str(text).encode())
    except (ProtocolError, UnicodeEncodeError):
        return {"unreadable": str(text)}
