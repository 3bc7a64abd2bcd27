"""Drift in time: the evidence of each device against the alarm line, a panel for each version."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgeops.domain.drift import AlarmKind
from edgeops.reports.facts import AlarmFacts, Series
from edgeops.reports.figures.canvas import (
    WIDTH_IN,
    blank,
    free_lines,
    place,
    thinned,
    time_axis,
)
from edgeops.reports.figures.legend import explain, handles_of, height_in
from edgeops.reports.figures.palette import BAD, BAD_INK, INK, QUIET, Stroke
from edgeops.reports.moments import Moments
from edgeops.reports.wording import drawn

FLOOR, CEILING = 1e-3, 1e12
"""Evidence is drawn between these; below the floor nothing speaks for a change at all."""
_MAX_PANELS = 6
_MAX_NAMES = 6
_MAX_MARKS = 8
_MAX_POINTS, _MIN_POINTS = 24_000, 40
"""Of all series together, and of each all the same: a page of a large fleet remains small."""
_LEFT_IN, _RIGHT_IN, _BOTTOM_IN = 0.62, 1.0, 0.5
_PANEL_IN, _GAP_IN = 1.85, 0.56
_MARK_IN = 1.2
"""Width that the name of a mark takes."""
_LINE_APART = 0.085
"""Least distance of two names beside a panel, as a share of its height."""
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def draw_evidence(
    drift: Sequence[Series],
    alarms: Sequence[AlarmFacts],
    strokes: Mapping[str, Stroke],
    moments: Moments,
) -> Figure:
    """Return the evidence of every device, newest versions only if there are very many."""
    numbers = sorted({each.number for each in drift})[-_MAX_PANELS:]
    there = [each for each in drift if each.number in numbers]
    handles = handles_of((each.cohort for each in there), strokes)
    top_in = height_in(handles) + _GAP_IN
    panels_in = len(numbers) * (_PANEL_IN + _GAP_IN) - _GAP_IN
    figure = blank(top_in + panels_in + _BOTTOM_IN)
    times = [at_s for each in there for at_s, _ in _shown(each, moments)]
    low_s, high_s = min(times, default=moments.first_s), max(times, default=moments.last_s)
    for i, number in enumerate(numbers):
        axes = place(
            figure,
            left_in=_LEFT_IN,
            top_in=top_in + i * (_PANEL_IN + _GAP_IN),
            width_in=WIDTH_IN - _LEFT_IN - _RIGHT_IN,
            height_in=_PANEL_IN,
        )
        at_most = max(_MIN_POINTS, _MAX_POINTS // len(there))
        _draw_panel(
            axes, [each for each in there if each.number == number], strokes, moments, at_most
        )
        raised = [each for each in alarms if each.number == number]
        own = [each for each in raised if each.kind == AlarmKind.DRIFT]
        _mark(axes, own[-_MAX_MARKS:], low_s, high_s - low_s, moments)
        axes.set_title(f"version {number}", loc="left", size=8.5, weight="bold", pad=17)
        time_axis(axes, moments, low_s, high_s)
        axes.tick_params(axis="x", labelbottom=i + 1 == len(numbers))
    axes.set_xlabel("time since the first event")
    explain(figure, handles)
    return figure


def outside(drift: Sequence[Series], moments: Moments) -> int:
    """Return how many points lie outside the report's time, and so are not drawn."""
    return sum(not moments.holds(at_s) for each in drift for at_s, _ in each.points)


def _shown(series: Series, moments: Moments) -> list[tuple[float, float]]:
    return [
        (at_s, min(CEILING, max(FLOOR, value)))
        for at_s, value in sorted(series.points)
        if moments.holds(at_s) and not math.isnan(value)
    ]


def _draw_panel(
    axes: Axes,
    drift: Sequence[Series],
    strokes: Mapping[str, Stroke],
    moments: Moments,
    at_most: int,
) -> None:
    highest = 10.0
    ends: list[tuple[float, float, str]] = []
    for series in drift:
        points = thinned(_shown(series, moments), at_most)
        if not points:
            continue
        stroke = strokes[series.cohort]
        times, values = zip(*points, strict=True)
        axes.plot(times, values, color=stroke.colour, linewidth=1.1, alpha=0.9)
        axes.plot(times[-1], values[-1], color=stroke.colour, marker=stroke.marker, markersize=3.2)
        highest = max(highest, *values)
        if max(values) >= 1.0:
            ends.append((values[-1], times[-1], drawn(series.device, 14)))
    axes.set_yscale("log")
    axes.set_ylim(FLOOR * 0.7, highest * 3)
    _label_decades(axes, highest)
    axes.axhline(1.0, color=BAD, linewidth=1.2, linestyle=(0, (6, 2)))
    axes.annotate(
        "alarm line",
        (0.0, 1.0),
        xycoords=axes.get_yaxis_transform(),
        xytext=(3, 2.5),
        textcoords="offset points",
        color=BAD_INK,
        size=7.5,
    )
    axes.grid(axis="y")
    axes.set_ylabel("evidence ÷ alarm threshold")
    _name_ends(axes, ends, highest)


def _label_decades(axes: Axes, highest: float) -> None:
    low, high = round(math.log10(FLOOR)), math.ceil(math.log10(highest * 3))
    step = max(1, math.ceil((high - low) / 6))
    decades = [each for each in range(low, high + 1) if each % step == 0]
    axes.set_yticks([10.0**each for each in decades], [_decade(each) for each in decades])
    axes.minorticks_off()
    axes.set_ylim(FLOOR * 0.7, highest * 3)


def _decade(power: int) -> str:
    if -3 <= power <= 3:
        return f"{10.0**power:g}"
    return "10" + str(power).translate(_SUPERSCRIPTS)


def _name_ends(axes: Axes, ends: Sequence[tuple[float, float, str]], highest: float) -> None:
    """Name the devices that crossed the line, beside where their lines end, without overlap."""
    bottom, top = math.log10(FLOOR * 0.7), math.log10(highest * 3)
    names = [
        ((math.log10(value) - bottom) / (top - bottom), at_s, name)
        for value, at_s, name in sorted(ends, reverse=True)[:_MAX_NAMES]
    ]
    if len(ends) > len(names):
        names.append((names[-1][0], names[-1][1], f"and {len(ends) - len(names)} more"))
    above = 1.0 + _LINE_APART
    for height, at_s, name in names:
        above = min(height, above - _LINE_APART)
        axes.text(
            at_s, above, f"   {name}", transform=axes.get_xaxis_transform(), va="center", size=7.5
        )


def _mark(
    axes: Axes, alarms: Sequence[AlarmFacts], low_s: float, span_s: float, moments: Moments
) -> None:
    """Mark when alarms were opened and since when; names that find no room above go inside."""
    ordered = sorted(alarms, key=lambda alarm: alarm.opened_s)
    width_s = _MARK_IN * span_s / (WIDTH_IN - _LEFT_IN - _RIGHT_IN)
    lines = free_lines([alarm.opened_s for alarm in ordered], width_s)
    for alarm, line in zip(ordered, lines, strict=True):
        since_s = max(low_s, min(alarm.since_s, alarm.opened_s))
        axes.axvspan(since_s, alarm.opened_s, color=BAD, alpha=0.12, linewidth=0)
        axes.axvline(since_s, color=INK, linewidth=0.9, linestyle=(0, (1.5, 1.5)))
        axes.axvline(alarm.opened_s, color=INK, linewidth=1.1)
        text = f" {drawn(alarm.id, 10)} opened {moments.since_first(alarm.opened_s)}"
        height = 1.02 - line * _LINE_APART
        above = axes.get_xaxis_transform()
        axes.text(alarm.opened_s, height, text, transform=above, size=7.5, va="bottom")
    if len(ordered) == 1:
        since_s = max(low_s, min(ordered[0].since_s, ordered[0].opened_s))
        axes.annotate(
            "since",
            (since_s, 1.02),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-3, 0),
            textcoords="offset points",
            size=7.5,
            ha="right",
            va="bottom",
            color=QUIET,
        )
