"""The page: chapters in their order, shown by the template."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined

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
from edgeops.reports.wording import visible

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
    template = Environment(
        loader=PackageLoader("edgeops.reports"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    moments = desk.moments
    return template.render(
        facts=facts,
        sections=[chapter(desk) for chapter in CHAPTERS],
        began=utc(moments.first_s),
        written=utc(facts.generated_s),
        span=duration(facts.generated_s - moments.first_s),
    )


def _shown(value: object) -> object:
    return visible(value) if type(value) is str else value
