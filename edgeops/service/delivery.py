"""Delivery's bytes, written down for reports."""

from __future__ import annotations

from edgeops.delivery.demand import Demand
from edgeops.service.context import Context


def record(context: Context, demand: Demand) -> None:
    """Add to the database what was published since the last time; nothing is counted twice.

    A hub that is killed loses what it published since its last tick.

    Raises:
        StoreFailed: nothing was written; the next call writes it.
    """
    unrecorded = demand.unrecorded()
    if not unrecorded:
        return
    with context.database.begin() as work:
        for digest, size_bytes in sorted(unrecorded.items()):
            work.delivery.add(digest, size_bytes)
    demand.recorded(unrecorded)
