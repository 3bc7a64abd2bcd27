"""Accuracy of one artifact as it runs: by labels where there are any, else by confidence.

The estimate by confidence is blind to concept drift (``statistics.label_free``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.protocol.items import Window
from device_agent.protocol.reference import ReferenceProfile
from device_agent.protocol.sketch import CONFIDENCE_BINS
from edgeops.drift.packing import pack, unpack
from edgeops.statistics.label_free import CalibrationTable, estimate_accuracy

RECENT_WINDOWS = 24
"""Windows of a device that its accuracy is of: enough rows, and not diluted by long ago."""
_MOST = 2**31 - 1
"""More of one count in one window (a long outage, added together) is taken as this much."""
_LABELLED, _CORRECT = CONFIDENCE_BINS, CONFIDENCE_BINS + 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecentAnswers:
    """What the newest windows of a device say of its answers.

    Attributes:
        counts: (w, 34) a row for each window, the newest last: answers by confidence bin, then
            labelled ones, then right ones among these.
    """

    counts: NDArray[np.int32]

    @classmethod
    def start(cls) -> RecentAnswers:
        """Return what is known before the first window."""
        return cls(counts=np.zeros((0, CONFIDENCE_BINS + 2), np.int32))

    def after(self, window: Window) -> RecentAnswers:
        """Return what is known after one more window."""
        row = (*_whole(window.confidence), window.labelled, window.labelled_correct)
        fitted = np.minimum(np.array([row], np.int64), _MOST).astype(np.int32)
        kept = self.counts[-(RECENT_WINDOWS - 1) :]
        return RecentAnswers(counts=np.vstack([kept, fitted]))

    @property
    def windows(self) -> int:
        """How many windows these are."""
        return len(self.counts)

    @property
    def confidence(self) -> tuple[int, ...]:
        """Answers by confidence bin."""
        return tuple(self.counts[:, :CONFIDENCE_BINS].sum(axis=0, dtype=np.int64).tolist())

    @property
    def labelled(self) -> int:
        """Answers whose truth became known."""
        return int(self.counts[:, _LABELLED].sum(dtype=np.int64))

    @property
    def labelled_accuracy(self) -> float | None:
        """Share of them that were right, None if there are none."""
        right = int(self.counts[:, _CORRECT].sum(dtype=np.int64))
        return right / self.labelled if self.labelled else None

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return pack(self.counts)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> RecentAnswers:
        """Read the JSON form.

        Raises:
            ValueError: not one.
        """
        counts = unpack(document)
        if counts.ndim != 2 or counts.shape[1] != CONFIDENCE_BINS + 2:
            raise ValueError("these are no counts of recent answers")
        return cls(counts=counts)


def calibration_of(reference: ReferenceProfile) -> CalibrationTable | None:
    """Return how often the reference was right by confidence, None if it had no labels."""
    if not any(reference.correct) or not sum(reference.confidence):
        return None
    return CalibrationTable.of(_whole(reference.confidence), _whole(reference.correct))


def estimated_accuracy(table: CalibrationTable | None, confidence: Sequence[int]) -> float | None:
    """Return the estimated accuracy of answers, None without a table or without answers.

    Args:
        table: of the reference profile.
        confidence: answers by confidence bin; trailing zeros may be left out.
    """
    if table is None or not sum(confidence):
        return None
    return estimate_accuracy(_whole(confidence), table).estimate


def _whole(counts: Sequence[int]) -> tuple[int, ...]:
    return (*counts, *(0,) * (CONFIDENCE_BINS - len(counts)))
