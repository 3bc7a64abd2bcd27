"""7. What delivery cost on the air."""

from __future__ import annotations

from edgeops.reports.chapters.desk import Desk
from edgeops.reports.document import Cell, Column, Section, Table
from edgeops.reports.facts import TrafficFacts
from edgeops.reports.wording import percent, size

_COLUMNS = (
    ("what", False),
    ("size", True),
    ("devices", True),
    ("sent", True),
    ("one by one", True),
    ("saved", True),
)


def traffic(desk: Desk) -> Section:
    """Return bytes sent against what sending to each device alone would have taken."""
    rows = [_row(each) for each in desk.facts.traffic]
    if len(rows) > 1:
        rows.append(_total(desk.facts.traffic))
    table = Table(
        columns=tuple(Column(title=title, is_figure=figure) for title, figure in _COLUMNS),
        rows=tuple(rows),
        note=(
            "One by one is size times devices. Sent is what the hub gave to the broker, with what "
            "it had to repeat; a hub that is killed forgets what it gave in its last moment."
        ),
    )
    return Section(
        anchor="traffic",
        title="Bytes over the air",
        lead=(
            "The hub sends each piece once to all devices that need it; beside what it sent stands "
            "what it would have sent to each device by itself."
        ),
        blocks=(table,) if rows else (),
    )


def _row(each: TrafficFacts) -> tuple[Cell, ...]:
    alone = each.size_bytes * each.devices
    return (
        Cell(text=each.what),
        Cell(text=size(each.size_bytes)),
        Cell(text=str(each.devices)),
        *_compared(each.sent_bytes, alone),
    )


def _total(traffic: tuple[TrafficFacts, ...]) -> tuple[Cell, ...]:
    alone = sum(each.size_bytes * each.devices for each in traffic)
    sent = sum(each.sent_bytes for each in traffic)
    return (Cell(text="together"), Cell(text=""), Cell(text=""), *_compared(sent, alone))


def _compared(sent: int, alone: int) -> tuple[Cell, ...]:
    saved = 1 - sent / alone if alone else 0.0
    return (
        Cell(text=size(sent)),
        Cell(text=size(alone)),
        Cell(text=percent(saved, 0), tone="good" if saved > 0 else "quiet"),
    )
