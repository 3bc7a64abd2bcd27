"""The page: chapters in their order, shown by the template."""

from __future__ import annotations

from collections.abc import Callable

from edgeops.reports.chapters.accuracy import accuracy
from edgeops.reports.chapters.desk import Desk, laid_out
from edgeops.reports.chapters.drift import drift
from edgeops.reports.chapters.origin import origin
from edgeops.reports.chapters.quantization import quantization
from edgeops.reports.chapters.retraining import retraining
from edgeops.reports.chapters.rollouts import rollouts
from edgeops.reports.chapters.summary import summary
from edgeops.reports.chapters.traffic import traffic
from edgeops.reports.document import Section
from edgeops.reports.facts import ReportFacts
from edgeops.reports.moments import duration, utc
from edgeops.reports.template import shown

CHAPTERS: tuple[Callable[[Desk], Section], ...] = (
    summary,
    quantization,
    rollouts,
    drift,
    accuracy,
    retraining,
    traffic,
    origin,
)


def write(facts: ReportFacts) -> str:
    """Return the document."""
    desk = laid_out(facts)
    first_s, written_s = desk.moments.first_s, facts.generated_s
    return shown(
        title=facts.title,
        above=f"Report on the model {facts.model}",
        below=(
            f"First event {utc(first_s)}. Written {utc(written_s)}, "
            f"{duration(written_s - first_s)} later, by edgeops {facts.hub}."
        ),
        sections=[chapter(desk) for chapter in CHAPTERS],
    )
