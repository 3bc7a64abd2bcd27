"""The audit's chain of hashes: why nobody can edit the past unseen.

Each entry holds the hash of the entry before it, and its own hash is over everything in it::

    hash(n) = SHA-256(canonical JSON of {sequence, at_s, actor, act, subject, detail,
                                         previous_hash = hash(n-1)}),   hash(0) = 64 zeros

A head record beside the chain holds the count and the last hash, so a cut tail shows as well.
Whoever can write both can forge both: note the head elsewhere now and then (it is printed by
``edgeops audit verify``), and a forged past no longer leads to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from edgeops.domain.errors import InvalidInput

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

GENESIS = "0" * 64
"""The hash before the first entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One act: when (seconds since the epoch), who, what, on what, with what detail."""

    sequence: int
    at_s: float
    actor: str
    act: str
    subject: str
    detail: Mapping[str, Json]
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHead:
    """The end of the chain: how many entries, and the hash of the last."""

    count: int
    hash: str


EMPTY_HEAD = AuditHead(count=0, hash=GENESIS)


class Flaw(StrEnum):
    """How a chain was broken."""

    ALTERED = "altered"
    OUT_OF_ORDER = "missing or reordered"
    TRUNCATED = "truncated"
    HEAD_DIFFERS = "head differs"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What verifying found: the good entries, and the first flaw with its place, if any."""

    count: int
    flaw: Flaw | None = None
    broken_sequence: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the whole chain is as it was written."""
        return self.flaw is None

    @property
    def why(self) -> str:
        """The finding in one line."""
        match self.flaw:
            case None:
                return f"{self.count} entries, unbroken"
            case Flaw.ALTERED:
                return f"entry {self.broken_sequence} was altered"
            case Flaw.OUT_OF_ORDER:
                return f"entry {self.broken_sequence} is missing or not in its place"
            case Flaw.TRUNCATED:
                return f"the log ends before entry {self.broken_sequence}"
            case Flaw.HEAD_DIFFERS:
                return f"the head record does not belong to the {self.count} entries"


def entry_hash(
    *,
    sequence: int,
    at_s: float,
    actor: str,
    act: str,
    subject: str,
    detail: Mapping[str, Json],
    previous_hash: str,
) -> str:
    """Return the hash (64 hexadecimal digits) of an entry with this content.

    Raises:
        ProtocolError: a value that JSON cannot hold.
    """
    content = {
        "sequence": sequence,
        "at_s": at_s,
        "actor": actor,
        "act": act,
        "subject": subject,
        "detail": detail,
        "previous_hash": previous_hash,
    }
    return hashlib.sha256(encode(content)).hexdigest()


def next_entry(
    head: AuditHead,
    *,
    at_s: float,
    actor: str,
    act: str,
    subject: str,
    detail: Mapping[str, Json],
) -> AuditEntry:
    """Return the entry that follows ``head``.

    The detail goes through JSON once, so that what is stored reads back as what was hashed.

    Raises:
        InvalidInput: the detail is no JSON, too large (60 KiB) or too deep.
    """
    try:
        plain = decode(encode(detail))
        digest = entry_hash(
            sequence=head.count + 1,
            at_s=float(at_s),
            actor=actor,
            act=act,
            subject=subject,
            detail=plain,
            previous_hash=head.hash,
        )
    except ProtocolError as error:
        raise InvalidInput(f"{act} cannot be recorded: {error}") from error
    return AuditEntry(
        sequence=head.count + 1,
        at_s=float(at_s),
        actor=actor,
        act=act,
        subject=subject,
        detail=plain,
        previous_hash=head.hash,
        hash=digest,
    )


def verify_chain(entries: Iterable[AuditEntry], head: AuditHead | None) -> AuditReport:
    """Walk the log from its first entry and tell the first flaw.

    Args:
        entries: all of them, in the order of their sequence.
        head: the head record; ``None`` (it is gone) counts as a cut tail.
    """
    end = EMPTY_HEAD
    for entry in entries:
        flaw = _flaw_after(end, entry)
        if flaw is not None:
            return AuditReport(count=end.count, flaw=flaw, broken_sequence=end.count + 1)
        end = AuditHead(count=entry.sequence, hash=entry.hash)
    if head is None or head.count > end.count:
        return AuditReport(count=end.count, flaw=Flaw.TRUNCATED, broken_sequence=end.count + 1)
    if head != end:
        return AuditReport(count=end.count, flaw=Flaw.HEAD_DIFFERS, broken_sequence=end.count)
    return AuditReport(count=end.count)


def _flaw_after(end: AuditHead, entry: AuditEntry) -> Flaw | None:
    if entry.sequence != end.count + 1:
        return Flaw.OUT_OF_ORDER
    if not _is_own_hash(entry):
        return Flaw.ALTERED
    return None if entry.previous_hash == end.hash else Flaw.OUT_OF_ORDER


def _is_own_hash(entry: AuditEntry) -> bool:
    try:
        return entry.hash == entry_hash(
            sequence=entry.sequence,
            at_s=entry.at_s,
            actor=entry.actor,
            act=entry.act,
            subject=entry.subject,
            detail=entry.detail,
            previous_hash=entry.previous_hash,
        )
    except ProtocolError:
        return False
