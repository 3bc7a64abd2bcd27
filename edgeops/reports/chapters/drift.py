"""4. Whether devices still see what the model was made for."""

from __future__ import annotations

from edgeops.domain.drift import AlarmKind
from edgeops.reports.chapters.alarms import alarms_of
from edgeops.reports.chapters.desk import Desk
from edgeops.reports.document import Block, Picture, Section
from edgeops.reports.figures.evidence import draw_evidence, outside
from edgeops.reports.wording import counted


def drift(desk: Desk) -> Section:
    """Return the evidence of every device in time, and the alarms of drift."""
    facts = desk.facts
    blocks: list[Block] = []
    if any(series.points for series in facts.drift):
        unseen = outside(facts.drift, desk.moments)
        blocks.append(
            Picture(
                svg=desk.canvas.draw(
                    lambda: draw_evidence(facts.drift, facts.alarms, desk.strokes, desk.moments),
                    "Evidence of drift over time",
                ),
                caption=(
                    "Each line is a device, each colour a cohort; the scale is logarithmic. "
                    "Below the alarm line evidence wanders by chance; chance alone hardly ever "
                    "brings it above. The shaded time lies between the estimated beginning of the "
                    "change and the alarm."
                    + (
                        f" {counted(unseen, 'point')} with a wrong clock left out."
                        if unseen
                        else ""
                    )
                ),
            )
        )
    return Section(
        anchor="drift",
        title="Drift",
        lead=(
            "Do devices still see what the model was measured on? Their counts are held against "
            "its reference profile; a line that rises over the alarm line says that the inputs "
            "have changed, though not yet that answers are wrong."
        ),
        blocks=(*blocks, *alarms_of(desk, AlarmKind.DRIFT)),
    )
