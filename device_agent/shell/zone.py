"""The device's own time zone."""

from __future__ import annotations

import logging
from datetime import timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from device_agent.protocol.errors import BadInput

logger = logging.getLogger(__name__)

SYSTEM_ZONE = Path("/etc/localtime")


def find_zone(name: str, system: Path = SYSTEM_ZONE) -> tzinfo:
    """Return a zone by its IANA name; for an empty one the system's, else UTC.

    Raises:
        BadInput: no zone of that name is known here.
    """
    try:
        if name:
            return ZoneInfo(name)
        with system.open("rb") as file:
            return ZoneInfo.from_file(file, key="local")
    except (OSError, ValueError, KeyError) as error:
        if not name:
            logger.info("zone.utc", extra={"cause": str(error)})
            return timezone.utc
        raise BadInput(
            f"{name!r} is no time zone that this device knows",
            next_step="give one as in /usr/share/zoneinfo, e.g. Europe/Oslo; "
            "the package tzdata has them",
        ) from error
