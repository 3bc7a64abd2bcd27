"""Samples: a few raw rows that the device's owner lets go up, with their labels if they come.

Off by default. A row that was chosen waits for its label; then, or when the wait is over, it is
ready for the outbox. Chosen rows wait in memory: a killed process loses them, and no more.
"""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from device_agent.protocol.errors import BadInput
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.samples import MAX_SAMPLE_BYTES, Sample
from device_agent.protocol.values import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions:
    """What the owner of a device lets out.

    Attributes:
        share: chance of a row to be chosen, 0 to 1; 0 switches samples off.
        most_per_hour: rows that may be chosen within an hour.
        label_wait_s: how long a row waits for its label before it goes without.
        most_waiting: rows that wait; beyond, the oldest goes without its label.
    """

    share: float = 0.0
    most_per_hour: int = 120
    label_wait_s: float = 3600.0
    most_waiting: int = 1024

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            BadInput: a share beyond 0 to 1, or a bound below zero.
        """
        if not 0.0 <= self.share <= 1.0:
            raise BadInput(f"share of samples is {self.share}, not in 0..1")
        bounds = (self.most_per_hour, self.label_wait_s, self.most_waiting)
        if not all(bound >= 0 for bound in bounds):  # NaN is no bound either
            raise BadInput("a bound of samples is below 0")


class SampleDesk:
    """Chosen rows. Any thread may use it."""

    def __init__(
        self,
        options: SampleOptions,
        chance: random.Random,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin without any."""
        self._options = options
        self.is_on = options.share > 0
        self._chance = chance
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._waiting: OrderedDict[int, tuple[float, Sample]] = OrderedDict()
        self._ready: list[Sample] = []
        self._chosen = 0
        self._in_hour = 0
        self._hour_ends_s = clock() + _HOUR_S

    def offer(
        self,
        model: ModelName,
        version: int,
        digest: Digest,
        row: Any,
        class_index: int | None,
        confidence: float,
    ) -> int | None:
        """Choose a row, or not; return its ticket for ``label`` if it was chosen.

        Args:
            model: that answered.
            version: its number.
            digest: names its package.
            row: as the application gave it; it was answered, so it is an array.
            class_index: predicted class.
            confidence: of the prediction.
        """
        if not self.is_on or self._chance.random() >= self._options.share:
            return None
        array = _as_array(row)
        if array.nbytes > MAX_SAMPLE_BYTES:
            return None
        sample = Sample(
            model=model,
            version=version,
            digest=digest,
            at_s=max(0.0, self._wall_clock()),
            dtype=array.dtype.name,
            shape=tuple(int(size) for size in array.shape),
            data=array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(),
            class_index=class_index,
            confidence=min(1.0, max(0.0, confidence)),
            label=None,
        )
        return self._keep(sample)

    def label(self, ticket: int, label: int) -> None:
        """Note the true class of a row that still waits; others are gone already."""
        with self._lock:
            waiting = self._waiting.pop(ticket, None)
            if waiting is not None:
                self._ready.append(replace(waiting[1], label=label))

    def take(self, *, everything: bool = False) -> list[Sample]:
        """Return what is ready for the outbox: labelled, or waited for long enough.

        Args:
            everything: also what still waits: the process ends.
        """
        now_s = self._clock()
        with self._lock:
            for ticket, (until_s, sample) in list(self._waiting.items()):
                if not everything and until_s > now_s:
                    break
                del self._waiting[ticket]
                self._ready.append(sample)
            ready, self._ready = self._ready, []
        return ready

    def _keep(self, sample: Sample) -> int | None:
        now_s = self._clock()
        with self._lock:
            if now_s >= self._hour_ends_s:
                self._in_hour, self._hour_ends_s = 0, now_s + _HOUR_S
            if self._in_hour >= self._options.most_per_hour:
                return None
            self._in_hour += 1
            self._chosen += 1
            self._waiting[self._chosen] = (now_s + self._options.label_wait_s, sample)
            if len(self._waiting) > self._options.most_waiting:
                _, (_, oldest) = self._waiting.popitem(last=False)
                self._ready.append(oldest)
            return self._chosen


def _as_array(row: Any) -> NDArray[Any]:
    import numpy as np  # here: it comes with a runtime, and importing the agent needs none

    return np.ascontiguousarray(row)
