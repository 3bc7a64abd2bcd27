"""Counting inputs: which bin each feature of each row falls into.

Rows wait in a small buffer until their features are computed together, and features wait in another
until they are counted together: that is several times cheaper than one by one. Nothing of a row is
used after its buffer was counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.monitor.thinning import Thinning
from device_agent.processing.features import bins_of, features_of_rows
from device_agent.protocol.plan import SketchPlan

MAX_WAITING_ELEMENTS = 16 * 1024
"""Of the rows that wait: their features are computed in float64, and so in 128 KiB at a time."""
BUFFER_ROWS = 256
"""How many rows of features are counted at once."""


class InputSketch:
    """Counts of input features by a plan. Not thread-safe, but for ``chooses``.

    Attributes:
        plan: what is counted.
        chooses: says whether the next row is one to ``observe``; see ``Thinning``.
    """

    def __init__(self, plan: SketchPlan) -> None:
        """Begin with zeros."""
        self.plan = plan
        self._thinning = Thinning()
        self.chooses = self._thinning.chooses
        self.rows = 0
        self._counts = [np.zeros(feature.bins, dtype=np.int64) for feature in plan.features]
        self._features = np.empty((BUFFER_ROWS, len(plan.features)))
        self._computed = 0
        self._raw: NDArray[Any] = np.empty((1, 0))
        self._waiting = 0

    def observe(self, row: NDArray[Any]) -> None:
        """Count one input row; one that has another number of features is left out."""
        flat, raw = row.reshape(-1), self._raw
        if raw.shape[1] != flat.size or raw.dtype is not flat.dtype:
            if self.plan.source == "elements" and flat.size != len(self.plan.features):
                return
            raw = self._new_buffer(flat)
        raw[self._waiting] = flat
        self._waiting += 1
        if self._waiting == len(raw):
            self._compute()

    def take(self) -> tuple[int, tuple[int, ...]]:
        """Return rows and flat counts since the last ``take``, and begin anew."""
        self._compute()
        self._count()
        self._thinning.close()
        rows, self.rows = self.rows, 0
        flat = tuple(int(count) for part in self._counts for count in part)
        for part in self._counts:
            part[:] = 0
        return rows, flat

    def _new_buffer(self, flat: NDArray[Any]) -> NDArray[Any]:
        """Compute what waits, and make a buffer for rows like this one."""
        self._compute()
        rows = min(BUFFER_ROWS, max(1, MAX_WAITING_ELEMENTS // max(1, flat.size)))
        self._raw = np.empty((rows, flat.size), flat.dtype)
        return self._raw

    def _compute(self) -> None:
        """Turn the rows that wait into features."""
        if not self._waiting:
            return
        features = features_of_rows(self.plan.source, self._raw[: self._waiting])
        self._waiting = 0
        if self._computed + len(features) > BUFFER_ROWS:
            self._count()
        self._features[self._computed : self._computed + len(features)] = features
        self._computed += len(features)

    def _count(self) -> None:
        """Turn features into counts."""
        rows = self._features[: self._computed]
        for index, feature in enumerate(self.plan.features):
            bins = bins_of(feature, rows[:, index])
            self._counts[index] += np.bincount(bins, minlength=feature.bins)
        self.rows += self._computed
        self._computed = 0
