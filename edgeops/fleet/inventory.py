"""What a fleet runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from device_agent.protocol.ids import ModelName
from edgeops.domain.fleet import Device


def serving(devices: Iterable[Device], model: ModelName) -> int | None:
    """Return the number of the version of a model that most devices serve, None if none does.

    Of versions that as many serve, the newest.
    """
    active = Counter(
        held.active.version
        for device in devices
        if device.reported is not None
        and (held := device.reported.models.get(model)) is not None
        and held.active is not None
    )
    return max(active, key=lambda number: (active[number], number)) if active else None
