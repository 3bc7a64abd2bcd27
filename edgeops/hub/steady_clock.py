"""The hub's clock: wall time at the start, monotonic from there.

Timeouts of rollouts are counted with it, so a wall clock that jumps (NTP on a board without a
clock, somebody's `date`) neither ends a rollout nor stretches it. The jump is taken over at the
next start.
"""

from __future__ import annotations

import time


class SteadyClock:
    """Seconds since the epoch that never jump while the process lives."""

    def __init__(self) -> None:
        """Take the wall clock once."""
        self._offset_s = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Return now, in seconds since the epoch."""
        return self._offset_s + time.monotonic()
