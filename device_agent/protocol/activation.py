"""When a staged version may be activated: at once, within a maintenance window, or on a word."""

from __future__ import annotations

import re
from collections.abc import Mapping

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.values import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_PER_DAY = 1440
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_TEXT = re.compile(r"(?:(?P<days>[a-z,]+) )?(?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceWindow:
    """Hours in which a device may exchange what serves, in the device's own zone.

    Attributes:
        days: days on which the window opens, of ``DAYS``, in the order of the week.
        start: minutes after midnight, local time, at which it opens.
        length: minutes that it stays open, 1 to 1440; it may end on the next day.
    """

    days: tuple[str, ...] = DAYS
    start: int
    length: int

    @property
    def text(self) -> str:
        """The form in which people write it, e.g. ``sat,sun 02:00-04:00``."""
        end = (self.start + self.length) % MINUTES_PER_DAY
        hours = f"{_clock(self.start)}-{_clock(end)}"
        return hours if self.days == DAYS else f"{','.join(self.days)} {hours}"

    @classmethod
    def from_text(cls, text: str) -> MaintenanceWindow:
        """Read what people write: ``02:00-04:00`` or ``sat,sun 22:00-04:00``.

        The same time twice is the whole day.

        Raises:
            ProtocolError: it is written in another way.
        """
        match = _TEXT.fullmatch(text.strip().lower())
        if match is None:
            raise ProtocolError(
                f"{text!r} is no maintenance window",
                next_step="write it as 02:00-04:00, or sat,sun 22:00-04:00",
            )
        named = match["days"]
        days = _days(tuple(named.split(","))) if named else DAYS
        start, end = _minutes(match["start"]), _minutes(match["end"])
        length = (end - start) % MINUTES_PER_DAY or MINUTES_PER_DAY
        return cls(days=days, start=start, length=length)

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"days": list(self.days), "start": _clock(self.start), "minutes": self.length}

    @classmethod
    def from_fields(cls, fields: Fields) -> MaintenanceWindow:
        """Read the JSON form."""
        return cls(
            days=_days(fields.texts("days", max_items=len(DAYS), max_length=3)),
            start=_minutes(fields.text("start", max_length=5)),
            length=fields.integer("minutes", minimum=1, maximum=MINUTES_PER_DAY),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """What a staged version waits for. The download waits for nothing.

    Attributes:
        hold: True: stay staged until a newer desired state lets go.
        window: hours in which it may be activated, None for any.
    """

    hold: bool = False
    window: MaintenanceWindow | None = None

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        window = self.window.to_document() if self.window else None
        return {"hold": self.hold, "window": window}

    @classmethod
    def from_fields(cls, fields: Fields) -> Activation:
        """Read the JSON form."""
        return cls(
            hold=fields.boolean("hold"),
            window=fields.optional("window", MaintenanceWindow.from_fields),
        )


AT_ONCE = Activation()

_ORDER: Mapping[str, int] = {day: number for number, day in enumerate(DAYS)}


def _days(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in _ORDER]
    if unknown or not names:
        raise ProtocolError(
            f"{', '.join(unknown) or 'nothing'} is no day of a maintenance window",
            next_step="days are " + ", ".join(DAYS),
        )
    return tuple(sorted(set(names), key=_ORDER.__getitem__))


def _minutes(text: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ProtocolError(f"{text!r} is no time of day", next_step="write it as 02:30")
    return int(match[1]) * 60 + int(match[2])


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
