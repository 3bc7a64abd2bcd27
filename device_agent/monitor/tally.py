"""A tally of one version's inferences: a total since it was activated, and a window.

Who infers only says what came of it, without a lock; many such answers are then counted together,
which costs half as much. All but ``observe`` is not thread-safe: the caller holds a lock.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from device_agent.core.counts import Counts
from device_agent.protocol.sketch import (
    CONFIDENCE_BINS,
    LATENCY_BINS,
    MAX_CLASSES,
    confidence_bin,
    latency_bin,
)

MANY_SEEN = 64
"""Answers that wait to be counted: more would only take memory."""

_Seen: TypeAlias = "tuple[float, int | None, float, bool]"
"""What ``observe`` takes, in its order."""


class Tally:
    """Counts inferences of one version. Costs a few list increments an inference."""

    def __init__(self, before: Counts | None = None) -> None:
        """Begin with the counts of an earlier run of this version, if there are any."""
        self._before = before or Counts()
        self._seen: deque[_Seen] = deque()
        self._begin_window()

    def observe(
        self, *, latency_us: float, class_index: int | None, confidence: float, finite: bool
    ) -> bool:
        """Take one inference that gave an answer; any thread may, at any time.

        Args:
            latency_us: microseconds in the runtime.
            class_index: predicted class, None without one.
            confidence: of the likeliest class, also of one below its threshold: how sure the
                model was is what drift and estimated accuracy are made of. 0 without classes.
            finite: whether every score is, or the row was not.

        Returns:
            Whether so many wait that ``count`` should be called.
        """
        self._seen.append((latency_us, class_index, confidence, finite))
        return len(self._seen) >= MANY_SEEN

    def count(self) -> None:
        """Count what was observed."""
        seen = self._seen
        for _ in range(len(seen)):  # more may come meanwhile
            self._count_one(seen.popleft())

    def _count_one(self, seen: _Seen) -> None:
        latency_us, class_index, confidence, finite = seen
        self._inferences += 1
        self._latency[latency_bin(latency_us)] += 1
        if not finite:
            self._nonfinite += 1
        elif class_index is None:
            if confidence > 0:
                self._confidence[confidence_bin(confidence)] += 1
        elif 0 <= class_index < MAX_CLASSES:
            classes = self._classes
            if class_index >= len(classes):
                classes.extend([0] * (class_index + 1 - len(classes)))
            classes[class_index] += 1
            self._confidence[confidence_bin(confidence)] += 1

    def observe_failure(self) -> None:
        """Count one inference that raised an error."""
        self._failures += 1

    def observe_label(self, *, correct: bool) -> None:
        """Count one inference whose true label became known."""
        self._labelled += 1
        self._labelled_correct += 1 if correct else 0  # also of numpy's bool, which JSON is not

    @property
    def inferences(self) -> int:
        """Inferences since the last ``close_window``; any thread may ask."""
        return self._inferences + len(self._seen)

    @property
    def window(self) -> Counts:
        """Counts since the last ``close_window``."""
        self.count()
        return Counts(
            inferences=self._inferences,
            failures=self._failures,
            nonfinite=self._nonfinite,
            classes=tuple(self._classes),
            confidence=tuple(self._confidence),
            latency=tuple(self._latency),
            labelled=self._labelled,
            labelled_correct=self._labelled_correct,
        )

    @property
    def total(self) -> Counts:
        """Counts since this version was activated on this device."""
        return self._before + self.window

    def close_window(self) -> Counts:
        """Return the window and begin a new one."""
        window = self.window
        self._before = self._before + window
        self._begin_window()
        return window

    def _begin_window(self) -> None:
        self._inferences = self._failures = self._nonfinite = 0
        self._labelled = self._labelled_correct = 0
        self._classes: list[int] = []
        self._confidence = [0] * CONFIDENCE_BINS
        self._latency = [0] * LATENCY_BINS
