"""Alarms of one kind as a table; drift and accuracy both show theirs."""

from __future__ import annotations

from edgeops.domain.drift import AlarmKind
from edgeops.reports.chapters.desk import Desk
from edgeops.reports.document import Cell, Column, Table
from edgeops.reports.facts import AlarmFacts
from edgeops.reports.wording import listed

_MAX_FEATURES = 4
_COLUMNS = (
    ("alarm", False),
    ("version", True),
    ("began about", True),
    ("raised", True),
    ("closed", True),
    ("where", False),
)


def alarms_of(desk: Desk, kind: AlarmKind) -> tuple[Table, ...]:
    """Return a table of the alarms of a kind, nothing if there are none."""
    found = [alarm for alarm in desk.facts.alarms if alarm.kind == kind]
    if not found:
        return ()
    columns = [Column(title=title, is_figure=figure) for title, figure in _COLUMNS]
    explained = any(alarm.features for alarm in found)
    if explained:
        columns.append(Column(title="what changed most"))
    return (
        Table(
            columns=tuple(columns),
            rows=tuple(_row(desk, alarm, explained=explained) for alarm in found),
            note=(
                "PSI and KS say how far an input moved: 0 is not at all; PSI above 0.25 is much, "
                "KS goes up to 1. They explain an alarm and do not decide it."
                if explained
                else ""
            ),
        ),
    )


def _row(desk: Desk, alarm: AlarmFacts, *, explained: bool) -> tuple[Cell, ...]:
    is_open = alarm.closed_s is None
    where = f"{alarm.cohort}: " if alarm.cohort else ""
    cells = (
        Cell(text=alarm.id, is_code=True),
        Cell(text=str(alarm.number)),
        Cell(text=desk.when(alarm.since_s)),
        Cell(text=desk.when(alarm.opened_s)),
        Cell(text="open" if is_open else desk.when(alarm.closed_s), tone="bad" if is_open else ""),
        Cell(text=where + listed(alarm.devices)),
    )
    return (*cells, Cell(text=_features(alarm))) if explained else cells


def _features(alarm: AlarmFacts) -> str:
    return "; ".join(
        f"{name} {direction} (PSI {psi:.2f}, KS {ks:.2f})"
        for name, psi, ks, direction in alarm.features[:_MAX_FEATURES]
    )
