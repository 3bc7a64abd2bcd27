"""Moments: times as a reader wants them, since the first event."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from edgeops.reports.facts import ReportFacts, RolloutFacts

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEPS_S = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE * n for n in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * n for n in (1, 2, 3, 6, 12)),
    *(_DAY * n for n in (1, 2, 7, 14, 28, 91, 365)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """From the first event to when the facts were gathered, both in seconds since the epoch."""

    first_s: float
    last_s: float

    def since_first(self, at_s: float) -> str:
        """Return ``m:ss`` since the first event, with hours and days where it takes them."""
        seconds = round(at_s - self.first_s)
        return ("\u2212" if seconds < 0 else "") + duration(abs(seconds))

    def holds(self, at_s: float) -> bool:
        """Tell whether a moment lies in the report; devices may have wrong clocks."""
        return self.first_s <= at_s <= self.last_s

    def ticks(self, low_s: float, high_s: float, *, at_most: int) -> list[float]:
        """Return round moments of an axis from ``low_s`` to ``high_s``."""
        span = high_s - low_s
        step = next((each for each in _STEPS_S if span / each < at_most), _STEPS_S[-1])
        while span / step >= at_most:
            step *= 2
        first = -(-(low_s - self.first_s) // step) * step
        count = int((high_s - self.first_s - first) // step) + 1
        return [self.first_s + first + step * i for i in range(count)]


def moments_of(facts: ReportFacts) -> Moments:
    """Return the span of a report; what the hub's own clock said counts before a device's."""
    own = list(_of_the_hub(facts))
    reported = [point[0] for each in facts.drift for point in each.points]
    reported += [point[0] for each in facts.accuracy + facts.estimated for point in each.points]
    first_s = min(own or reported, default=facts.generated_s)
    return Moments(first_s=first_s, last_s=max([facts.generated_s, *own]))


def ended_s(rollout: RolloutFacts) -> float | None:
    """Return when the last device of a rollout concluded, None if none did."""
    return max((each.ended_s for each in rollout.members if each.ended_s is not None), default=None)


def duration(seconds: float) -> str:
    """Return ``m:ss``, ``h:mm:ss`` or ``2 d 3:04:05``."""
    whole = round(seconds)
    days, rest = divmod(whole, _DAY)
    hours, rest = divmod(rest, _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    if not days and not hours:
        return f"{minutes}:{rest:02}"
    clock = f"{hours}:{minutes:02}:{rest:02}"
    return f"{days} d {clock}" if days else clock


def utc(at_s: float) -> str:
    """Return the date and time of day in UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _of_the_hub(facts: ReportFacts) -> Iterator[float]:
    yield from (version.created_s for version in facts.versions)
    yield from (rollout.created_s for rollout in facts.rollouts)
    yield from (alarm.opened_s for alarm in facts.alarms)
    yield from (retraining.started_s for retraining in facts.retrainings)
