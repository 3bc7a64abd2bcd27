"""What an act gives: the record after it, and what happened (None: not yet, look again)."""

from __future__ import annotations

from typing import TypeAlias

from device_agent.core.deployment import Happened
from device_agent.core.records import ModelRecord
from device_agent.core.states import EventType
from device_agent.protocol.errors import ModelRefused, RuntimeMissing, StorageFailed
from device_agent.protocol.reasons import Reason

Outcome: TypeAlias = tuple[ModelRecord, Happened | None]

DONE = Happened(type=EventType.DONE)
CORRUPT = Happened(type=EventType.CORRUPT, reason=Reason.CORRUPT_DOWNLOAD)


def failed_by(error: ModelRefused | RuntimeMissing | StorageFailed) -> Happened:
    """Return what an error is to a deployment."""
    failed = isinstance(error, StorageFailed)
    return Happened(
        type=EventType.STORAGE_FAILED if failed else EventType.REFUSED,
        reason=Reason.NO_VARIANT if isinstance(error, RuntimeMissing) else error.reason,
        detail=str(error),
    )
