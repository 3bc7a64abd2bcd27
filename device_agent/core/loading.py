"""Which slot of a model is loaded at a start, and which one if that cannot be."""

from __future__ import annotations

from collections.abc import Callable

from device_agent.core.records import ModelRecord
from device_agent.core.starts import Care
from device_agent.protocol.ids import Digest


def slots_to_load(
    record: ModelRecord,
    active: str | None,
    care: Care,
    *,
    is_suspect: Callable[[Digest], bool],
    is_unpaid: bool,
) -> list[str]:
    """Return letters of slots in the order in which they are tried.

    Args:
        record: the model's.
        active: the slot that the pointer names, None if it names none.
        care: how careful this start is.
        is_suspect: whether a package has ended the process too often.
        is_unpaid: whether the version in the active slot could not pay for its next trial.
    """
    if care is Care.NOTHING:
        return []
    # A slot that was never committed holds what the self-test or probation refused.
    others = [each for each in record.slots if each != active and record.slots[each].committed]
    if active is None:  # with a committed slot the pointer is damaged: the newest will do
        return sorted(others, key=lambda each: record.slots[each].version, reverse=True)
    if is_unpaid or is_suspect(record.slots[active].manifest.digest):
        return others
    if care is Care.FALLBACK:
        return others or [active]  # the only version is better than none, as long as may be
    return [active, *others]
