"""Accuracy in time: a line with its interval for each cohort, and what happened meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edgeops.domain.drift import AlarmKind
from edgeops.domain.rollout import RolloutState
from edgeops.reports.facts import AccuracySeries, ReportFacts
from edgeops.reports.figures.canvas import WIDTH_IN, blank, free_lines, place, time_axis
from edgeops.reports.figures.legend import explain, handles_of, height_in
from edgeops.reports.figures.palette import BAD, BAD_INK, INK, QUIET, Stroke
from edgeops.reports.moments import Moments, ended_s
from edgeops.reports.wording import drawn
from edgeops.statistics.intervals import wilson

_LEFT_IN, _RIGHT_IN, _BOTTOM_IN = 0.75, 0.15, 0.5
_PANEL_IN = 2.6
_LINE_IN = 0.16
_MAX_MARKS = 12
_MAX_POINTS = 200
_MARK_IN = 1.15
"""Width that the name of a mark takes."""


def draw_accuracy(facts: ReportFacts, strokes: Mapping[str, Stroke], moments: Moments) -> Figure:
    """Return accuracy on labels with its band, estimated accuracy dashed."""
    labelled = [(each, pooled(each, moments)) for each in facts.accuracy]
    estimated = [(each, pooled(each, moments)) for each in facts.estimated]
    times = [point[0] for _, points in (*labelled, *estimated) for point in points]
    low_s, high_s = min(times, default=moments.first_s), max(times, default=moments.last_s)
    marks = [mark for mark in _marks(facts) if low_s <= mark[0] <= high_s][-_MAX_MARKS:]
    width_in = WIDTH_IN - _LEFT_IN - _RIGHT_IN
    name_s = _MARK_IN * (high_s - low_s or 1.0) / width_in
    lines = free_lines([mark[0] for mark in marks], name_s)
    handles = _handles(facts, strokes)
    top_in = height_in(handles) + _LINE_IN * (max(lines, default=0) + 1.6)
    figure = blank(top_in + _PANEL_IN + _BOTTOM_IN)
    axes = place(figure, left_in=_LEFT_IN, top_in=top_in, width_in=width_in, height_in=_PANEL_IN)
    for series, points in labelled:
        _draw_labelled(axes, points, strokes[series.cohort])
    for series, points in estimated:
        _draw_estimated(axes, points, strokes[series.cohort])
    for (at_s, text, is_harm), line in zip(marks, lines, strict=True):
        _draw_mark(axes, at_s, text, is_harm=is_harm, line=line)
    _frame(axes)
    time_axis(axes, moments, low_s, high_s)
    axes.set_xlabel("time since the first event")
    explain(figure, handles)
    return figure


def pooled(series: AccuracySeries, moments: Moments) -> list[tuple[float, int, int]]:
    """Return the points inside the report that have labels; many are added up by stretch."""
    points = [each for each in sorted(series.points) if each[2] > 0 and moments.holds(each[0])]
    together = -(-len(points) // _MAX_POINTS) or 1
    parts = [points[i : i + together] for i in range(0, len(points), together)]
    return [
        (part[-1][0], sum(each[1] for each in part), sum(each[2] for each in part))
        for part in parts
    ]


def _draw_labelled(axes: Axes, points: Sequence[tuple[float, int, int]], stroke: Stroke) -> None:
    times = [at_s for at_s, _, _ in points]
    intervals = [wilson(min(correct, rows), rows) for _, correct, rows in points]
    axes.fill_between(
        times,
        [each.low for each in intervals],
        [each.high for each in intervals],
        color=stroke.colour,
        alpha=0.16,
        linewidth=0,
    )
    axes.plot(
        times,
        [each.estimate for each in intervals],
        color=stroke.colour,
        marker=stroke.marker,
        markersize=3.0,
    )


def _draw_estimated(axes: Axes, points: Sequence[tuple[float, int, int]], stroke: Stroke) -> None:
    axes.plot(
        [at_s for at_s, _, _ in points],
        [correct / rows for _, correct, rows in points],
        color=stroke.colour,
        linestyle=(0, (4, 2)),
        linewidth=1.1,
    )


def _marks(facts: ReportFacts) -> list[tuple[float, str, bool]]:
    """Return what happened: ``(at_s, name, whether it is harm)``, in order."""
    marks = [
        (alarm.opened_s, f"{drawn(alarm.id, 8)} harm", True)
        for alarm in facts.alarms
        if alarm.kind == AlarmKind.HARM
    ]
    for rollout in facts.rollouts:
        at_s = ended_s(rollout)
        if rollout.state == RolloutState.COMPLETED and at_s is not None:
            marks.append((at_s, f"version {rollout.number} is out", False))
    return sorted(marks)


def _draw_mark(axes: Axes, at_s: float, text: str, *, is_harm: bool, line: int) -> None:
    colour = BAD if is_harm else INK
    height = 1.02 + line * _LINE_IN / _PANEL_IN
    axes.plot(
        [at_s, at_s],
        [0.0, height + 0.03],
        transform=axes.get_xaxis_transform(),
        color=colour,
        linewidth=1.0,
        linestyle="-" if is_harm else (0, (1.5, 1.5)),
        clip_on=False,
    )
    axes.text(
        at_s,
        height,
        f" {text}",
        transform=axes.get_xaxis_transform(),
        size=7.5,
        color=BAD_INK if is_harm else INK,
        weight="bold" if is_harm else "normal",
    )


def _frame(axes: Axes) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, min(low, 0.9)), min(max(high, 1.0), 1.015))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.grid(axis="y")
    axes.set_ylabel("answered right")


def _handles(facts: ReportFacts, strokes: Mapping[str, Stroke]) -> list[Line2D]:
    handles = handles_of((each.cohort for each in facts.accuracy + facts.estimated), strokes)
    if facts.estimated:
        handles.append(
            Line2D([], [], color=QUIET, linestyle=(0, (4, 2)), label="estimated, without labels")
        )
    return handles
