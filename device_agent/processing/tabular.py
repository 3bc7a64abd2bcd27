"""Preparing table rows: missing values, bounds, logarithms, categories, by ``protocol.tabular``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from device_agent.protocol.errors import BadInput
from device_agent.protocol.tabular import FIRST, INDEX, LAST, Feature, TabularStep, nearest_float32

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TabularWork:
    """A ``TabularStep`` as arrays, one number for each feature."""

    def __init__(self, step: TabularStep) -> None:
        """Compute what is the same for each row.

        Args:
            step: what to do.
        """
        import numpy as np

        features = self._features = step.features
        fills = [math.nan if each.fill is None else each.fill for each in features]
        clips = [each.clip or (-math.inf, math.inf) for each in features]
        self._fills = np.array(fills, np.float32)
        self._lows, self._highs = np.array(clips, np.float32).T.copy()
        self._clips = any(each.clip for each in features)
        self._logs = np.flatnonzero([each.log1p for each in features])
        # Where each feature begins in what is made, and which of them are copied there.
        starts = np.cumsum([0, *(each.width for each in features)])
        self._width = int(starts[-1])
        self._plain = np.flatnonzero([not each.categories for each in features])
        self._plain_to = starts[self._plain]
        self._categories = [
            _Category(each, at, int(starts[at]))
            for at, each in enumerate(features)
            if each.categories
        ]

    def __call__(self, row: NDArray[Any]) -> NDArray[np.float32]:
        """Return one row made ready.

        Args:
            row: as many numbers as there are features, in any shape.

        Returns:
            float32 ``[width]``.

        Raises:
            BadInput: a number is missing and nothing fills it, or has no logarithm.
        """
        import numpy as np

        values = np.array(row, np.float32).reshape(-1)
        missing = np.isnan(values)
        if missing.any():
            values[missing] = self._fills[missing]
            self._refuse(np.isnan(values), "is missing (NaN), and nothing fills it")
        if self._clips:
            values = np.clip(values, self._lows, self._highs)
        if self._logs.size:
            logs = values[self._logs]
            if (logs <= -1.0).any():
                self._refuse(self._without_logarithm(values), "is -1 or less, log1p needs more")
            values[self._logs] = np.log1p(logs, dtype=np.float64)
        if not self._categories:
            return values
        made = np.zeros(self._width, np.float32)
        made[self._plain_to] = values[self._plain]
        for category in self._categories:
            category.put(float(values[category.at]), made)
        return made

    def _without_logarithm(self, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        import numpy as np

        found = np.zeros(len(values), bool)
        found[self._logs] = values[self._logs] <= -1.0
        return found

    def _refuse(self, found: NDArray[np.bool_], why: str) -> None:
        """Name the first feature of those that were found, if there are any."""
        if found.any():
            at = int(found.argmax())
            name = self._features[at].name
            shown = f"feature {at}" + (f" ({name})" if name else "")
            raise BadInput(f"{shown} {why}", next_step="give its preprocessing a fill or a clip")


class _Category:
    """One feature whose numbers are names."""

    def __init__(self, feature: Feature, at: int, start: int) -> None:
        self.at = at
        self._start = start
        self._is_index = feature.encoding == INDEX
        shift = int(feature.unknown == FIRST)
        self._places = {
            nearest_float32(value): number + shift
            for number, value in enumerate(feature.categories)
        }
        behind = len(feature.categories)
        self._unknown = {FIRST: 0, LAST: behind}.get(feature.unknown)

    def put(self, value: float, made: NDArray[np.float32]) -> None:
        """Write what the number becomes to its place in the row that is made."""
        place = self._places.get(value, self._unknown)
        if self._is_index:
            made[self._start] = place
        elif place is not None:
            made[self._start + place] = 1.0
