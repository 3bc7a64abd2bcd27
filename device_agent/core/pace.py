"""A pace: how much may be said a second, so that a backlog leaves room for what is new."""

from __future__ import annotations

from dataclasses import replace

from device_agent.protocol.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A bucket that fills with time. In any ``t`` seconds at most ``bound(t)`` bytes leave it.

    Attributes:
        bytes_per_s: how fast it fills.
        burst_bytes: what it holds when it is full. A larger item leaves a full bucket in debt.
        level_bytes: what it held at ``at_s``.
        at_s: seconds of a clock that only goes forward; None before the first item.
    """

    bytes_per_s: float
    burst_bytes: float
    level_bytes: float
    at_s: float | None = None

    @classmethod
    def of(cls, bytes_per_s: float, burst_bytes: float) -> Pace:
        """Return a full bucket."""
        return cls(bytes_per_s=bytes_per_s, burst_bytes=burst_bytes, level_bytes=burst_bytes)

    def take(self, size_bytes: int, now_s: float) -> Pace | None:
        """Return the pace after an item of this size left now; None if it has to wait."""
        passed_s = 0.0 if self.at_s is None else max(0.0, now_s - self.at_s)
        level = min(self.burst_bytes, self.level_bytes + passed_s * self.bytes_per_s)
        if level < min(size_bytes, self.burst_bytes):
            return None
        return replace(self, level_bytes=level - size_bytes, at_s=now_s)

    def bound(self, seconds: float, largest_bytes: int) -> float:
        """Return the most bytes that leave in so many seconds, of items of at most that size."""
        return max(self.burst_bytes, largest_bytes) + seconds * self.bytes_per_s
