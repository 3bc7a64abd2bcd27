"""Counting inputs: which bin each feature of each row falls into.

Rows wait in a small buffer and are counted together: that is several times cheaper than one by
one. Nothing of a row is kept after its buffer was counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.processing.features import bins_of, features_of
from device_agent.protocol.plan import SketchPlan

BUFFER_ROWS = 64


class InputSketch:
    """Counts of input features by a plan. Not thread-safe: the caller holds the model's lock."""

    def __init__(self, plan: SketchPlan) -> None:
        """Begin with zeros."""
        self.plan = plan
        self.rows = 0
        self._counts = [np.zeros(feature.bins, dtype=np.int64) for feature in plan.features]
        self._buffer = np.empty((BUFFER_ROWS, len(plan.features)))
        self._waiting = 0

    def observe(self, row: NDArray[Any]) -> None:
        """Count one input row; one that has another number of features is left out."""
        values = features_of(self.plan.source, row)
        if values.size != self._buffer.shape[1]:
            return
        self._buffer[self._waiting] = values
        self._waiting += 1
        if self._waiting == BUFFER_ROWS:
            self._flush()

    def take(self) -> tuple[int, tuple[int, ...]]:
        """Return rows and flat counts since the last ``take``, and begin anew."""
        self._flush()
        rows, self.rows = self.rows, 0
        flat = tuple(int(count) for part in self._counts for count in part)
        for part in self._counts:
            part[:] = 0
        return rows, flat

    def _flush(self) -> None:
        rows = self._buffer[: self._waiting]
        for index, feature in enumerate(self.plan.features):
            bins = bins_of(feature, rows[:, index])
            self._counts[index] += np.bincount(bins, minlength=feature.bins)
        self.rows += self._waiting
        self._waiting = 0
