"""A betting e-detector on shares: label errors, rows out of range, missing values.

The null of each stream is "the share of events is at most p0, whatever came before"; the
detector notices when it rises. One alternative is a share p1 > p0, its e-value for k events in n
rows is the likelihood ratio

    (p1/p0)^k ((1-p1)/(1-p0))^(n-k)

which is the capital of a gambler who bets against p0 on every row (Waudby-Smith, Ramdas 2024;
Shin, Ramdas, Rinaldo 2022 for the detector). Each factor is linear in the event and has a mean of
at most 1 whenever the chance of an event, given the past, is at most p0: so the run-length bound
is a theorem for every such stream, independent rows or not. Where rows cluster around a share
that itself wanders above p0 it does not hold; raise ``margin`` or ``inflation`` there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeops.statistics.intervals import wilson
from edgeops.statistics.shiryaev_roberts import DetectorState, Evidence, evidence_of

ODDS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0)
"""By how much the alternatives multiply the odds of an event. Their weights fall with the square
root: small rises need the evidence more than large ones, which are seen soon anyway."""
SMALLEST_NULL = 1e-9
CAP_NATS = 50.0


def bounded_share(events: float, rows: float, *, confidence: float = 0.99) -> float:
    """Return the upper end of the Wilson interval: a null that allows for a finite reference.

    With no event in n rows it is about 6.6 / n at 99 %. The chance that the true share of the
    reference lies above it is about (1 - confidence) / 2.
    """
    return wilson(events, rows, confidence=confidence).high


@dataclass(frozen=True, slots=True, eq=False)
class ShareDetector:
    """Watches D shares at once. Build it by ``of``; the state is a value beside it.

    Attributes:
        names: of the D streams.
        null: (D,) the shares p0, margin included.
        per_event: (D, A) log e-value of one event.
        per_other: (D, A) log e-value of one row without event.
        inflation: (D, 1) by which log e-values are divided.
    """

    names: tuple[str, ...]
    null: NDArray[np.float64]
    per_event: NDArray[np.float64]
    per_other: NDArray[np.float64]
    inflation: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        null: ArrayLike,
        *,
        margin: float = 0.0,
        inflation: ArrayLike = 1.0,
    ) -> ShareDetector:
        """Return a detector.

        Args:
            names: of the D streams.
            null: (D,) the share of events that is normal in each, in [0, 1).
            margin: added to every share: a rise that is not worth an alarm. The sum is below 1.
            inflation: scalar or (D,), variance inflation of dependent rows, at least 1. Tempering
                keeps the bound for independent rows; for dependent ones it is a heuristic.

        Raises:
            ValueError: shapes that do not fit, or numbers out of their ranges.
        """
        shares = np.asarray(null, dtype=np.float64)
        if shares.shape != (len(names),) or not len(names):
            raise ValueError(f"{len(names)} names for shares of shape {shares.shape}")
        if not np.all((shares >= 0) & (shares + margin < 1)) or margin < 0:
            raise ValueError("a share, and with its margin, lies in [0, 1)")
        vif = np.broadcast_to(np.asarray(inflation, dtype=np.float64), shares.shape)
        if not np.all(vif >= 1):
            raise ValueError("an inflation is at least 1")
        p0 = np.maximum(shares + margin, SMALLEST_NULL)[:, None]
        factors = np.asarray(ODDS)
        other = -np.log1p(p0 * (factors - 1))  # (1 - p1) / (1 - p0), where odds are multiplied
        event = np.log(factors) + other
        return cls(tuple(names), p0[:, 0], event, other, vif[:, None])

    def start(self) -> DetectorState:
        """Return the state before the first window."""
        return DetectorState.start(*self.per_event.shape)

    def step(self, state: DetectorState, counts: ArrayLike) -> tuple[DetectorState, Evidence]:
        """Return the state and the evidence after one window.

        A window is whatever is counted together: an hour, a day, one label. The run length is
        counted in windows. Counts of several devices may be added.

        Args:
            state: of this detector.
            counts: (D, 2) events and rows of each stream.

        Raises:
            ValueError: other shapes, negative counts, more events than rows.
        """
        table = np.asarray(counts, dtype=np.float64)
        if table.shape != (len(self.names), 2) or state.log_r.shape != self.per_event.shape:
            raise ValueError(f"counts of shape {table.shape} or the state are of other streams")
        events, rows = table[:, :1], table[:, 1:]
        if not np.all((events >= 0) & (events <= rows)):
            raise ValueError("events are not negative and at most as many as rows")
        log_e = (events * self.per_event + (rows - events) * self.per_other) / self.inflation
        state = state.advance(log_e, rows[:, 0] > 0, cap=CAP_NATS)
        return state, self.evidence(state)

    def evidence(self, state: DetectorState) -> Evidence:
        """Return what a state of this detector says."""
        weights = 1 / np.sqrt(np.asarray(ODDS))
        weights = np.tile(weights / weights.sum(), (len(self.names), 1))
        return evidence_of(state, weights, [("share+",) * len(ODDS)] * len(self.names))
