"""The device's own time zone."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone, tzinfo
from functools import cached_property
from pathlib import Path

from device_agent.protocol.errors import BadInput

logger = logging.getLogger(__name__)

SYSTEM_ZONE = Path("/etc/localtime")


def find_zone(name: str, system: Path = SYSTEM_ZONE) -> tzinfo:
    """Return a zone by its IANA name; for an empty one the system's, else UTC.

    Raises:
        BadInput: no zone of that name is known here.
    """
    if not name:
        return _SystemZone(system)
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(
            f"{name!r} is no time zone that this device knows",
            next_step="give one as in /usr/share/zoneinfo, e.g. Europe/Oslo; "
            "the package tzdata has them",
        ) from error


class _SystemZone(tzinfo):
    """The system's zone, read when a maintenance window first asks: most devices have none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _zone(self) -> tzinfo:
        from zoneinfo import ZoneInfo

        try:
            with self._path.open("rb") as file:
                return ZoneInfo.from_file(file, key="local")
        except (OSError, ValueError) as error:
            logger.info("zone.utc", extra={"cause": str(error)})
            return timezone.utc

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return self._zone.utcoffset(when)

    def dst(self, when: datetime | None) -> timedelta | None:
        return self._zone.dst(when)

    def tzname(self, when: datetime | None) -> str | None:
        return self._zone.tzname(when)

    def fromutc(self, when: datetime) -> datetime:
        return self._zone.fromutc(when.replace(tzinfo=self._zone)).replace(tzinfo=self)
