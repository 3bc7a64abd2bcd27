"""Counts of what one version did on this device: mergeable, and enough to judge it."""

from __future__ import annotations

from device_agent.protocol.sketch import CONFIDENCE_BINS, LATENCY_BINS, latency_quantile_us
from device_agent.protocol.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Counts over a stretch of inferences; two stretches merge by addition."""

    inferences: int = 0
    failures: int = 0
    nonfinite: int = 0
    classes: tuple[int, ...] = ()
    confidence: tuple[int, ...] = (0,) * CONFIDENCE_BINS
    latency: tuple[int, ...] = (0,) * LATENCY_BINS
    labelled: int = 0
    labelled_correct: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Return the merged counts."""
        return Counts(
            inferences=self.inferences + other.inferences,
            failures=self.failures + other.failures,
            nonfinite=self.nonfinite + other.nonfinite,
            classes=_add(self.classes, other.classes),
            confidence=_add(self.confidence, other.confidence),
            latency=_add(self.latency, other.latency),
            labelled=self.labelled + other.labelled,
            labelled_correct=self.labelled_correct + other.labelled_correct,
        )

    @property
    def latency_us_p50(self) -> float:
        """Median latency in microseconds, 0 without inferences."""
        return latency_quantile_us(self.latency, 0.5)

    @property
    def accuracy(self) -> float | None:
        """Share of labelled inferences that were right, None without labels."""
        return self.labelled_correct / self.labelled if self.labelled else None


def _add(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    width = max(len(left), len(right))
    pad_left = left + (0,) * (width - len(left))
    pad_right = right + (0,) * (width - len(right))
    return tuple(a + b for a, b in zip(pad_left, pad_right, strict=True))
