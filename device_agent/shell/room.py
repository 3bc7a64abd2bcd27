"""Room on the disk: one budget for every model of the device."""

from __future__ import annotations

from collections.abc import Iterable

from device_agent.core.records import ModelRecord
from device_agent.protocol.errors import ModelRefused
from device_agent.protocol.ids import Digest
from device_agent.protocol.reasons import Reason
from device_agent.shell import packages
from device_agent.shell.packages import Host
from device_agent.shell.storage import Storage


def check_room(
    storage: Storage, host: Host, record: ModelRecord, others: Iterable[ModelRecord]
) -> None:
    """Refuse a deployment for which there is no room beside everything else that is kept.

    Kept are the active and the previous version of every model, and what other deployments are
    fetching: room that is promised to one is not given to another.

    Args:
        storage: the disk.
        host: this device, with its budget and its reserve.
        record: whose deployment is to be fetched.
        others: the records of the other models.

    Raises:
        ModelRefused: ``disk_full``, with the numbers.
    """
    promised: dict[Digest, int] = {}
    for other in others:
        promised |= packages.sizes_of(storage, host, other)
    wanted = packages.sizes_of(storage, host, record)
    everything = promised | wanted
    missing = sum(
        size for digest, size in everything.items() if not packages.has_blob(storage, digest)
    )
    free = storage.free_bytes()
    if missing + host.reserve_bytes > free:
        raise ModelRefused(
            Reason.DISK_FULL,
            f"needs {missing} bytes and {host.reserve_bytes} in reserve, {free} free",
            next_step="free space on this device",
        )
    kept, budget = sum(everything.values()), host.disk_budget_bytes
    if budget is not None and kept > budget:
        raise ModelRefused(
            Reason.DISK_FULL,
            f"all models together would keep {kept} bytes, the budget is {budget}",
            next_step="give the agent a larger disk budget, or remove a model",
        )
