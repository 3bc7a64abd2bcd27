"""Accuracy of one artifact as it runs: by labels where there are any, else by confidence.

The estimate by confidence is blind to concept drift (``statistics.label_free``).
"""

from __future__ import annotations

from collections.abc import Sequence

from device_agent.protocol.reference import ReferenceProfile
from device_agent.protocol.sketch import CONFIDENCE_BINS
from edgeops.statistics.label_free import CalibrationTable, estimate_accuracy


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
