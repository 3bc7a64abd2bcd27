"""5. Whether answers are still right."""

from __future__ import annotations

from edgeops.domain.drift import AlarmKind
from edgeops.reports.chapters.alarms import alarms_of
from edgeops.reports.chapters.desk import Desk
from edgeops.reports.document import Block, Picture, Section
from edgeops.reports.figures.accuracy import draw_accuracy

_ESTIMATED = (
    " Dashed lines are estimated from the model's own confidence, without labels: they are blind "
    "to concept drift, that is to the same inputs coming to mean something else."
)


def accuracy(desk: Desk) -> Section:
    """Return accuracy by cohort in time, and the alarms of harm."""
    facts = desk.facts
    blocks: list[Block] = []
    if any(series.points for series in (*facts.accuracy, *facts.estimated)):
        blocks.append(
            Picture(
                svg=desk.canvas.draw(
                    lambda: draw_accuracy(facts, desk.strokes, desk.moments),
                    "Accuracy by cohort over time",
                ),
                caption=(
                    "Share of labelled answers that were right, by cohort; the band is the 95 % "
                    "interval (Wilson), wide where few labels came. Dotted lines: a version has "
                    "reached its whole fleet. Solid lines: an alarm of harm."
                    + (_ESTIMATED if facts.estimated else "")
                ),
            )
        )
    return Section(
        anchor="accuracy",
        title="Accuracy by cohort",
        lead=(
            "Are answers still right? Where the true answer became known, it was compared with the "
            "model's; a line that falls means harm there, and should rise again after a mend."
        ),
        blocks=(*blocks, *alarms_of(desk, AlarmKind.HARM)),
    )
