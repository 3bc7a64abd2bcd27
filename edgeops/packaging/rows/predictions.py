"""Predictions: the class and the confidence that a model gives each of many rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_agent.processing.scores import read_scores

NO_CLASS = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a model answers many rows.

    ``classes`` ``[n]`` int64 (``NO_CLASS`` where there is none), ``confidence`` ``[n]`` (0 where
    there are no classes at all), ``scores`` ``[n, ...]`` as they came, None if nobody kept them.
    """

    classes: NDArray[np.int64]
    confidence: NDArray[np.float64]
    scores: NDArray[np.generic] | None = None

    def first(self, count: int) -> Predictions:
        """Return those of the first rows."""
        scores = None if self.scores is None else self.scores[:count]
        return Predictions(
            classes=self.classes[:count], confidence=self.confidence[:count], scores=scores
        )

    @property
    def unsure(self) -> int:
        """How many are below the threshold of their class."""
        return int(((self.classes == NO_CLASS) & (self.confidence > 0)).sum())


def read_predictions(
    scores: NDArray[np.generic], thresholds: tuple[float, ...] = ()
) -> Predictions:
    """Return the predictions in the scores of many rows, ``[n, 1, C]`` or ``[n, C]``.

    Args:
        scores: as the model gives them.
        thresholds: least confidence of every class, or of each; below it there is no class.
    """
    read = [read_scores(row.reshape(1, -1), thresholds) for row in scores]
    return Predictions(
        classes=np.array(
            [NO_CLASS if each.class_index is None else each.class_index for each in read],
            dtype=np.int64,
        ),
        confidence=np.array([each.confidence for each in read]),
        scores=scores,
    )
