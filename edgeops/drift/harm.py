"""Harm: labelled inferences that are wrong more often than the package's evidence says."""

from __future__ import annotations

from dataclasses import dataclass

from device_agent.protocol.items import Window
from edgeops.drift.watch import Budget
from edgeops.statistics.bernoulli import ShareDetector, bounded_share
from edgeops.statistics.shiryaev_roberts import DetectorState

MARGIN = 0.02
"""A rise of the error rate by this much is not worth an alarm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmVerdict:
    """What the labels so far say.

    Attributes:
        harmed: whether the evidence has reached the threshold.
        evidence: the evidence.
        threshold: what it must reach.
        windows_back: how many windows ago the rise is estimated to have begun.
    """

    harmed: bool
    evidence: float
    threshold: float
    windows_back: int


class HarmWatcher:
    """Steps the evidence of harm of one version on one device."""

    def __init__(self, error_rate: float, rows: int, budget: Budget | None = None) -> None:
        """Take the error rate of the evidence.

        The null is its upper bound (it is an estimate from ``rows`` rows) and a margin: a device
        that is as good as the evidence says never looks harmed.
        """
        self.budget = budget or Budget()
        null = bounded_share(error_rate * rows, rows)
        self._detector = ShareDetector.of(["error"], [min(null, 0.9)], margin=MARGIN)

    def start(self) -> DetectorState:
        """Return the state before the first window."""
        return self._detector.start()

    def step(self, state: DetectorState, window: Window) -> tuple[DetectorState, HarmVerdict]:
        """Return state and verdict after one window; one without labels says nothing."""
        wrong = window.labelled - window.labelled_correct
        state, evidence = self._detector.step(state, [[wrong, window.labelled]])
        threshold = self.budget.threshold
        return state, HarmVerdict(
            harmed=evidence.alarms(threshold),
            evidence=evidence.value,
            threshold=threshold,
            windows_back=max(0, evidence.windows - evidence.since),
        )
