"""The drift e-detector: sequential evidence that bin counts no longer follow the reference.

Null: rows of the windows are independent and follow, in each feature, the reference up to its
sampling error and a stated tolerance (``alternatives`` says how the margin is paid).

Guaranteed: under that null the mean number of windows until the mean R reaches A is at least A,
whatever the dependence between the features, and however often one looks (``shiryaev_roberts``),
given that the margin covers the error of the reference; that it does so in all directions at once
is an approximation (chi-squared tails, Bonferroni) and measured: 64 normal features, windows of
60 rows, A = 24,000: no alarm in 5,000 device-days with 5,000 reference rows, none in 5,000 with
1,000 (40 references each).
The counts of several devices may be added, for the same evidence as if one device had counted all
rows.

Only measured, no theorem: rows that depend on one another. Dividing log e-values by the variance
inflation of healthy windows (``with_inflation``) keeps the budget on moderately dependent rows
(AR(1) up to about 0.9) and not on stronger ones; dependence between windows (day and night) is
not covered at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeops.statistics.alternatives import Family, directions_of, family_of
from edgeops.statistics.shiryaev_roberts import DetectorState, Evidence, evidence_of

REFERENCE_RISK = 0.01
"""Share of references whose error is outside the default margin in some direction."""
CAP_NATS = 50.0
MIN_HEALTHY_WINDOWS = 50


@dataclass(frozen=True, slots=True, eq=False)
class DriftDetector:
    """Watches the counts of D features at once. Build it by ``of``; the state is beside it.

    Attributes:
        names: of the D features.
        widths: number of bins of each.
        families: the alternatives of each.
        log_e: (D, K, A) log e-values of one row, padded with zeros.
        weights: (D, A) of the alternatives: equal within a feature, 0 in the padding.
        inflation: (D, A) by which log e-values are divided.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    families: tuple[Family, ...]
    log_e: NDArray[np.float64]
    weights: NDArray[np.float64]
    inflation: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        reference: Sequence[ArrayLike],
        *,
        ordered: bool | Sequence[bool] = True,
        z: float | None = None,
        tolerance: float = 0.0,
        inflation: ArrayLike = 1.0,
    ) -> DriftDetector:
        """Return a detector.

        Args:
            names: of the D features.
            reference: for each feature its (k,) counts of reference rows, bins in the order of
                their values; features may have different numbers of bins. About 1,000 rows are
                the least that leaves power.
            ordered: whether the bins have an order, for all features or each; classes have none.
            z: margin for the reference's error, in standard errors. By default about 99 % of
                references keep it in all directions together: 3.4 for one feature of 16 bins, 4.4
                for 64. A stream drawn from a finite pool of m rows (a demo, a replay) errs as
                well: multiply by sqrt(1 + n_ref / m).
            tolerance: further margin, in standard deviations of a row's score.
            inflation: scalar or (D,), variance inflation of dependent rows, at least 1.

        Raises:
            ValueError: lengths that do not fit, a feature with one bin or (nearly) without rows,
                numbers out of their ranges.
        """
        counts = [np.asarray(each, dtype=np.float64) for each in reference]
        if not counts or len(counts) != len(names):
            raise ValueError(f"{len(names)} names for the counts of {len(counts)} features")
        for name, each in zip(names, counts, strict=True):
            if each.ndim != 1 or each.size < 2 or not np.all(each >= 0) or not each.sum() > 0:
                raise ValueError(f"{name} has no reference: rows in two bins or more are needed")
        orders = [ordered] * len(counts) if isinstance(ordered, bool) else list(ordered)
        z = _margin(counts, orders) if z is None else z
        if z < 0 or tolerance < 0:
            raise ValueError("z and tolerance are not negative")
        families = tuple(
            family_of(each, ordered=order, z=z, tolerance=tolerance)
            for each, order in zip(counts, orders, strict=True)
        )
        log_e, weights = _padded(families)
        vif = np.broadcast_to(np.asarray(inflation, dtype=np.float64), (len(counts),))
        if not np.all(vif >= 1):
            raise ValueError("an inflation is at least 1")
        spread = np.repeat(vif[:, None], weights.shape[1], axis=1)
        widths = tuple(each.size for each in counts)
        return cls(tuple(names), widths, families, log_e, weights, spread)

    def with_inflation(self, healthy: Sequence[Sequence[ArrayLike]]) -> DriftDetector:
        """Return this detector, tempered by how much healthy windows vary.

        For each alternative the inflation is the variance of the standardised sum of a window's
        log e-values, over that of independent rows of the pooled healthy counts, at least 1.
        200 windows are recommended; with fewer it is noisy, so it is multiplied by
        1 + sqrt(2 / windows), one standard error.

        Args:
            healthy: windows in which nothing had changed, each with counts per feature.

        Raises:
            ValueError: fewer than 50 windows, or counts of other features.
        """
        if len(healthy) < MIN_HEALTHY_WINDOWS:
            raise ValueError(f"{len(healthy)} healthy windows are fewer than {MIN_HEALTHY_WINDOWS}")
        counts = np.stack([self.table(window) for window in healthy])
        sums = np.einsum("wdk,dka->wda", counts, self.log_e)
        rows = counts.sum(axis=2)[:, :, None]
        pooled = counts.sum(axis=0) / np.maximum(counts.sum(axis=(0, 2)), 1)[:, None]
        mean = np.einsum("dk,dka->da", pooled, self.log_e)
        variance = np.einsum("dk,dka->da", pooled, self.log_e**2) - mean**2
        squares = (sums - rows * mean) ** 2 / np.maximum(rows, 1)
        ratio = squares.mean(axis=0) / np.maximum(variance, 1e-12)
        error = 1 + np.sqrt(2 / len(healthy))
        return replace(self, inflation=np.maximum(self.inflation, ratio * error))

    @property
    def _even_shape(self) -> tuple[int, int] | None:
        """(D, K) if all features have K bins."""
        width = self.widths[0]
        even = self.widths.count(width) == len(self.widths)
        return (len(self.widths), width) if even else None

    def start(self) -> DetectorState:
        """Return the state before the first window."""
        return DetectorState.start(*self.weights.shape)

    def table(self, counts: Sequence[ArrayLike]) -> NDArray[np.float64]:
        """Return the counts of a window as (D, K), padded with zeros.

        Raises:
            ValueError: other features or bins than the reference has, or negative counts.
        """
        if len(counts) != len(self.widths):
            raise ValueError(f"counts of {len(counts)} features, not {len(self.widths)}")
        table = np.zeros(self.log_e.shape[:2])
        if isinstance(counts, np.ndarray) and counts.shape == table.shape == self._even_shape:
            table[:] = counts
        else:
            for d, (each, width) in enumerate(zip(counts, self.widths, strict=True)):
                row = np.asarray(each)
                if row.shape != (width,):
                    shape = row.shape
                    raise ValueError(f"{self.names[d]} has counts of {shape}, not ({width},)")
                table[d, :width] = row
        if not np.all(table >= 0):
            raise ValueError("counts are not negative")
        return table

    def step(
        self, state: DetectorState, counts: Sequence[ArrayLike]
    ) -> tuple[DetectorState, Evidence]:
        """Return the state and the evidence after one window.

        A feature without rows in the window keeps its evidence.

        Args:
            state: of this detector.
            counts: for each feature its (k,) counts, or all of them as (D, K) if widths are equal.

        Raises:
            ValueError: counts or state of other features or bins.
        """
        if state.log_r.shape != self.weights.shape:
            raise ValueError(f"the state is {state.log_r.shape}, not {self.weights.shape}")
        table = self.table(counts)
        log_e = np.matmul(table[:, None, :], self.log_e)[:, 0, :] / self.inflation
        state = state.advance(log_e, table.sum(axis=1) > 0, cap=CAP_NATS)
        return state, self.evidence(state)

    def evidence(self, state: DetectorState) -> Evidence:
        """Return what a state of this detector says."""
        return evidence_of(state, self.weights, [family.names for family in self.families])


def _margin(counts: Sequence[NDArray[np.float64]], orders: Sequence[bool]) -> float:
    """Return z so that the risk of the reference is shared by all directions (Bonferroni)."""
    pairs = zip(counts, orders, strict=True)
    directions = sum(directions_of(each.size, ordered=order) for each, order in pairs)
    return NormalDist().inv_cdf(1 - REFERENCE_RISK / directions)


def _padded(families: Sequence[Family]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bins = max(family.log_e.shape[0] for family in families)
    alternatives = max(family.log_e.shape[1] for family in families)
    log_e = np.zeros((len(families), bins, alternatives))
    weights = np.zeros((len(families), alternatives))
    for d, family in enumerate(families):
        k, a = family.log_e.shape
        log_e[d, :k, :a] = family.log_e
        weights[d, :a] = 1 / a
    return log_e, weights
