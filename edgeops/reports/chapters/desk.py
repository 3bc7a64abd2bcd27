"""The desk: what every chapter works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeops.reports.facts import ReportFacts
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.figures.palette import Stroke, cohort_strokes
from edgeops.reports.moments import Moments, moments_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Facts, their times, how cohorts look, and something to draw on."""

    facts: ReportFacts
    moments: Moments
    strokes: Mapping[str, Stroke]
    canvas: Canvas

    def when(self, at_s: float | None) -> str:
        """Return a moment since the first event, a dash for none."""
        return "-" if at_s is None else self.moments.since_first(at_s)


def laid_out(facts: ReportFacts) -> Desk:
    """Return the desk for one report."""
    return Desk(
        facts=facts,
        moments=moments_of(facts),
        strokes=cohort_strokes(facts),
        canvas=Canvas(),
    )
