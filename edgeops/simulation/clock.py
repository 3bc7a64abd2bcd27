"""Virtual time: one heap of events, and the clocks of devices that run by it."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from edgeops.simulation.event_log import EventLog

Act = Callable[[], None]


@dataclass(order=True, slots=True)
class _Planned:
    at_s: float
    number: int
    act: Act = field(compare=False)


class VirtualTime:
    """Seconds since the world began. Nothing happens but what was planned.

    Attributes:
        now_s: the moment.
        events: how many acts have happened.
        log: what happened.
        faults: how often each kind of fault had its effect; those that changed nothing (a cut
            line that was not connected) are not counted.
    """

    def __init__(self) -> None:
        """Begin at 0."""
        self.now_s = 0.0
        self.events = 0
        self.log = EventLog()
        self.faults = Counter[str]()
        self._heap: list[_Planned] = []
        self._number = 0

    def after(self, delay_s: float, act: Act) -> None:
        """Plan an act; acts of one moment happen in the order in which they were planned."""
        self._number += 1
        heapq.heappush(self._heap, _Planned(self.now_s + max(0.0, delay_s), self._number, act))

    def next_event(self, until_s: float) -> bool:
        """Let the next act happen; False if none is planned before ``until_s``."""
        if not self._heap or self._heap[0].at_s >= until_s:
            return False
        planned = heapq.heappop(self._heap)
        self.now_s = planned.at_s
        self.events += 1
        planned.act()
        return True

    def note(self, who: str, what: str) -> None:
        """Write into the log."""
        self.log.add(self.now_s, who, what)
