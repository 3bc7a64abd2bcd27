"""When something happened on a device whose clock may be wrong by decades.

A board without a battery boots in 1970 and may stay there; another jumps by years and back. So a
time that a device claims is held against what cannot be otherwise:

- nothing happened after it was heard of, nor later than its age allows. A device says how old
  an item is by a clock that nobody sets; what waited in a broker is only older;
- nothing happened before its device was enrolled;
- a broker keeps what waits for the hub a day at most. What claims to be older than its age by more
  than that was timed by a clock that is slow.

A claim within these bounds is left as it is. One beyond them is moved, keeping its length, to where
the age says, or to when it was heard of if there is no age.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from device_agent.protocol.items import Event, Numbered, Window
from device_agent.protocol.outcomes import CommandOutcome
from device_agent.protocol.samples import Sample

AHEAD_S = 300.0
"""A clock that is ahead by less is not worth a correction."""
MAX_DELAY_S = 86400.0
"""What a broker keeps for a hub that is away is not older than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the hub knows of when an item can have happened.

    Attributes:
        received_s: when it was heard of, by the hub's clock.
        enrolled_s: when its device was enrolled.
        age_s: how old the item said it was when it was sent, None if it did not know.
    """

    received_s: float
    enrolled_s: float
    age_s: float | None

    def correction_s(self, claimed_s: float) -> float:
        """Return what to add to a claimed time, 0 for one that can be right."""
        known = self.age_s is not None and self.received_s - self.age_s >= self.enrolled_s - AHEAD_S
        latest_s = self.received_s - (self.age_s or 0.0) if known else self.received_s
        earliest_s = self.enrolled_s - AHEAD_S
        if known:
            earliest_s = max(earliest_s, latest_s - MAX_DELAY_S)
        if earliest_s <= claimed_s <= latest_s + AHEAD_S:
            return 0.0
        return latest_s - claimed_s


def put_right(numbered: Numbered, heard: Heard) -> tuple[Numbered, int]:
    """Return an item with times that can be right, and how many of its parts were moved."""
    body = numbered.body
    if isinstance(body, Event):
        moved_s = heard.correction_s(body.at_s)
        return replace(numbered, body=replace(body, at_s=body.at_s + moved_s)), int(moved_s != 0)
    if isinstance(body, CommandOutcome):
        return numbered, 0
    windows = [_window(each, heard) for each in body if isinstance(each, Window)]
    samples = _samples([each for each in body if isinstance(each, Sample)], heard)
    parts: tuple[Window | Sample, ...] = (*windows, *samples)
    moved = sum(one is not two for one, two in zip(parts, body, strict=True))
    return replace(numbered, body=parts), moved


def _window(window: Window, heard: Heard) -> Window:
    moved_s = heard.correction_s(window.ended_s)
    length_s = max(0.0, window.ended_s - window.started_s)
    if not moved_s and window.started_s >= heard.enrolled_s - AHEAD_S:
        return window
    ended_s = window.ended_s + moved_s
    started_s = max(ended_s - length_s, min(ended_s, heard.enrolled_s))
    return replace(window, started_s=started_s, ended_s=ended_s)


def _samples(samples: Sequence[Sample], heard: Heard) -> list[Sample]:
    """Move samples of one item together: between them they have the device's own times."""
    newest_s = max((each.at_s for each in samples), default=0.0)
    moved_s = heard.correction_s(newest_s) if samples else 0.0
    if not moved_s:
        return list(samples)
    return [replace(each, at_s=max(0.0, each.at_s + moved_s)) for each in samples]
