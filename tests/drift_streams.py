"""Seeded streams of bin counts for the tests of the e-detectors: normal features, equal bins."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgeops.statistics.edetector import DriftDetector

_CDF = np.vectorize(NormalDist().cdf)


class NormalStream:
    """D standard normal features with quantile bins taken from ``rows`` reference rows."""

    def __init__(self, seed: int, *, features: int = 64, rows: int = 5000, bins: int = 16) -> None:
        """Draw the reference and choose the edges from it, as a packager does."""
        self.rng = np.random.default_rng(seed)
        values = self.rng.normal(size=(rows, features))
        inner = np.linspace(0, 1, bins + 1)[1:-1]
        self.edges: NDArray[np.float64] = np.quantile(values, inner, axis=0).T
        self.names = tuple(f"f{d}" for d in range(features))
        self.reference = self.binned(values)

    def binned(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the (D, K) counts of (n, D) values."""
        bins = self.edges.shape[1] + 1
        places = [np.searchsorted(e, v, side="right") for e, v in zip(self.edges, values.T)]
        return np.stack([np.bincount(place, minlength=bins) for place in places])

    def detector(self, **options: object) -> DriftDetector:
        """Return a detector against this reference."""
        return DriftDetector.of(self.names, list(self.reference), **options)  # type: ignore[arg-type]

    def shares(self, shifts: dict[int, float] | None = None) -> NDArray[np.float64]:
        """Return the true (D, K) shares, features shifted by so many standard deviations."""
        moved = np.zeros((len(self.names), 1))
        for feature, shift in (shifts or {}).items():
            moved[feature] = shift
        inner = _CDF(self.edges - moved)
        zeros, ones = np.zeros_like(moved), np.ones_like(moved)
        return np.diff(np.concatenate([zeros, inner, ones], axis=1), axis=1)

    def windows(
        self, count: int, rows: int, shifts: dict[int, float] | None = None
    ) -> NDArray[np.int64]:
        """Return (count, D, K) counts of windows of so many independent rows."""
        return self.rng.multinomial(rows, self.shares(shifts), size=(count, len(self.names)))
