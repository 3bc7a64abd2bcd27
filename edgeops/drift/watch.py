"""Watching one device, or one cohort, against a baseline: a step for each window.

An alarm comes only from the sequential test, with its stated budget of false alarms; effect
sizes (PSI, KS, JS) are shown beside it and never decide. Out of range, missing and unseen values
are bins like others, so a stuck or broken sensor alarms within a window or two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeops.drift.baseline import Baseline, Counts
from edgeops.drift.packing import pack, unpack
from edgeops.statistics.attribution import Attribution, attribute
from edgeops.statistics.edetector import DriftDetector
from edgeops.statistics.shiryaev_roberts import DetectorState, alarm_threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many false alarms are accepted, and how windows come."""

    false_alarms_per_1000_device_days: float = 1.0
    windows_per_day: float = 24.0
    tolerance: float = 0.05
    """A shift of up to this many standard deviations of a row's score is not worth an alarm."""

    @property
    def threshold(self) -> float:
        """What the evidence must reach."""
        return alarm_threshold(
            windows_per_day=self.windows_per_day,
            false_alarms_per_1000_device_days=self.false_alarms_per_1000_device_days,
        )


_ARRAYS = ("log_r", "age")
"""What a state's document holds an array under."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watch:
    """Where one watch stands.

    Attributes:
        state: of the detector.
        started_s: start times of the windows seen, seconds since the epoch, newest last, bounded.
        recent: counts since the estimated change, for effect sizes.
    """

    state: DetectorState
    started_s: tuple[float, ...] = ()
    recent: tuple[Counts, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form: numbers as they are, arrays packed."""
        state = self.state.to_document()
        return {
            "state": {**state, **{key: pack(np.array(state[key])) for key in _ARRAYS}},
            "started_s": pack(np.array(self.started_s, dtype=np.float64)),
            "recent": pack(np.concatenate(self.recent) if self.recent else np.zeros(0)),
            "widths": [part.size for part in self.recent],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Watch:
        """Read the JSON form, or the older one whose arrays are lists.

        Raises:
            ValueError: not one.
        """
        try:
            state = document["state"]
            return cls(
                state=DetectorState.from_document(
                    {**state, **{key: unpack(state[key]) for key in _ARRAYS}}
                ),
                started_s=tuple(unpack(document["started_s"]).tolist()),
                recent=_parts(document),
            )
        except (KeyError, TypeError) as error:
            raise ValueError("this is no watch") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the windows so far say.

    Attributes:
        drifted: whether the evidence has reached the threshold.
        evidence: the evidence, to be held against ``threshold``.
        threshold: the threshold.
        windows: windows seen.
        since_s: start of the window in which the change is estimated to have begun; None
            without an alarm.
        features: all of them, most evidence first; those that explain the alarm say so.
    """

    drifted: bool
    evidence: float
    threshold: float
    windows: int
    since_s: float | None
    features: tuple[Attribution, ...]


MAX_STARTS = 1024
"""Window starts that are remembered; an older change is dated to the oldest of them."""


class DriftWatcher:
    """Steps watches of one baseline. Holds no state of its own: that is in the ``Watch``."""

    def __init__(self, baseline: Baseline, budget: Budget | None = None) -> None:
        """Build the detector of a baseline.

        Raises:
            ValueError: the reference cannot be watched (no rows).
        """
        self.baseline = baseline
        self.budget = budget or Budget()
        self._detector = DriftDetector.of(
            baseline.names,
            baseline.counts,
            ordered=baseline.ordered,
            tolerance=self.budget.tolerance,
        )

    def start(self) -> Watch:
        """Return the watch before the first window."""
        return Watch(state=self._detector.start())

    def follow(
        self, state: DetectorState, counts: tuple[Counts, ...]
    ) -> tuple[DetectorState, float]:
        """Return state and evidence after one window, as ``step`` does, without what explains it.

        Several times faster: for drawing a curve through many windows. The evidence is in units
        of the threshold, so that 1 is the alarm.
        """
        state, evidence = self._detector.step(state, counts)
        return state, evidence.value / self.budget.threshold

    def step(
        self, watch: Watch, started_s: float, counts: tuple[Counts, ...]
    ) -> tuple[Watch, Verdict]:
        """Return the watch and the verdict after one window (or several, merged).

        Args:
            watch: as it stood.
            started_s: start of the window, seconds since the epoch.
            counts: from ``counts_of``.
        """
        state, evidence = self._detector.step(watch.state, counts)
        threshold = self.budget.threshold
        starts = (*watch.started_s, started_s)[-MAX_STARTS:]
        recent = counts if evidence.since >= evidence.windows - 1 else _sum(watch.recent, counts)
        verdict = Verdict(
            drifted=evidence.alarms(threshold),
            evidence=evidence.value,
            threshold=threshold,
            windows=evidence.windows,
            since_s=(
                starts[max(-len(starts), evidence.since - evidence.windows)]
                if evidence.alarms(threshold) and evidence.since < evidence.windows
                else None
            ),
            features=attribute(
                self.baseline.names,
                evidence,
                threshold,
                reference=self.baseline.counts,
                current=recent,
            ),
        )
        return Watch(state=state, started_s=starts, recent=recent), verdict


def _parts(document: Mapping[str, Any]) -> tuple[Counts, ...]:
    """Return the counts of each feature: joined in one array, or as lists in older documents."""
    recent = document["recent"]
    if not isinstance(recent, Mapping):
        return tuple(np.asarray(part, dtype=np.float64) for part in recent)
    joined, widths = unpack(recent), document["widths"]
    if sum(widths) != joined.size:
        raise ValueError("this is no watch")
    return tuple(np.split(joined, np.cumsum(widths)[:-1])) if widths else ()


def _sum(before: tuple[Counts, ...], now: tuple[Counts, ...]) -> tuple[Counts, ...]:
    if not before:
        return now
    return tuple(a + b for a, b in zip(before, now, strict=True))
